/*
 * blindllama-audit ima: whether a measurement list holds together, and what PCR 10 it leads to.
 */
#include <string.h>

#include <jansson.h>

#include "attest/ima.h"
#include "auditor/command.h"
#include "common/file.h"
#include "common/text.h"

struct options {
    struct file_options file;
    const struct pcr_bank *bank;
    const char *pcr; /* hex, or NULL */
};

enum { KEY_BANK = 'b', KEY_PCR = 256 };

static const struct argp_option argp_options[] = {
    {"bank", KEY_BANK, "NAME", 0, "The bank of --pcr10: sha256 (default), sha384 or sha512", 0},
    {"pcr10", KEY_PCR, "HEX", 0, "A quoted PCR 10, to see how much of the list it attests", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->file;
        return 0;
    case KEY_BANK:
        o->bank = pcr_bank_named(bytes_of_str(arg));
        if (o->bank == NULL)
            argp_error(state, "'%s' is not a bank: sha256, sha384 or sha512", arg);
        return 0;
    case KEY_PCR:
        o->pcr = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct err add_bank(json_t *pcrs, struct ima_result *result, struct bytes list,
                           const struct pcr_bank *bank)
{
    BUF_AUTO hex = BUF_INIT;
    TRY(ima_replay(result, list, bank, NULL));
    buf_append_hex(&hex, bytes_of(result->pcr, bank->len));
    json_t *values = json_pack("{s:s}", "10", buf_str(&hex));
    return json_object_set_new(pcrs, bank->name, values) == 0
               ? err_ok()
               : err_set(ERR_MEMORY, "out of memory for JSON");
}

/* PCR 10 in each bank after the whole list. */
static struct err replay_banks(json_t *pcrs, struct ima_result *result, struct bytes list)
{
    static const uint16_t algs[] = {TPM_ALG_SHA1_ID, TPM_ALG_SHA256_ID, TPM_ALG_SHA384_ID,
                                    TPM_ALG_SHA512_ID};
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
        TRY(add_bank(pcrs, result, list, pcr_bank_of(algs[i])));
    return err_ok();
}

static void append_text(struct buf *out, const struct ima_result *r, const json_t *pcrs,
                        bool quoted)
{
    const char *name;
    json_t *values;
    buf_printf(out, "true: %llu entries, %llu violations; every template hash is that of its data",
               (unsigned long long)r->n_entries, (unsigned long long)r->n_violations);
    if (quoted)
        buf_printf(out, "; the first %llu lead to the quoted PCR 10, %llu are not attested",
                   (unsigned long long)r->n_attested,
                   (unsigned long long)(r->n_entries - r->n_attested));
    buf_append_str(out, "\n");
    json_object_foreach((json_t *)pcrs, name, values) buf_printf(
        out, "  %-6s PCR 10  %s\n", name, json_string_value(json_object_get(values, "10")));
}

static void append_json(struct buf *out, const struct ima_result *r, json_t *pcrs, bool quoted)
{
    json_t *root = json_pack("{s:I,s:I,s:O}", "entries", (json_int_t)r->n_entries, "violations",
                             (json_int_t)r->n_violations, "pcrs", pcrs);
    if (quoted)
        json_object_set_new(root, "attested", json_integer((json_int_t)r->n_attested));
    command_json(out, root);
}

static struct err judge(struct buf *out, const struct options *o, struct bytes list,
                        const uint8_t *quoted)
{
    struct ima_result result = {0}, met = {0};
    json_t *pcrs = json_object();
    struct err e = replay_banks(pcrs, &result, list);
    if (!is_err(e) && quoted != NULL)
        e = ima_replay(&met, list, o->bank, quoted);
    result.n_attested = met.n_attested;
    if (!is_err(e) && o->file.json)
        append_json(out, &result, pcrs, quoted != NULL);
    else if (!is_err(e))
        append_text(out, &result, pcrs, quoted != NULL);
    json_decref(pcrs);
    return e;
}

struct err ima_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Checks an IMA list, binary or text, as Linux shows it in "
        "/sys/kernel/security/ima/binary_runtime_measurements and ascii_runtime_measurements.\v"
        "Banks other than SHA-1 are replayed as Linux 5.8 and later extend them. A list may run "
        "past the quote: --pcr10 says how many entries are attested.\n\n"
        "Exit codes: 0 true, 1 false, 2 could not check.";
    static const struct argp_child children[] = {{&file_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "FILE", doc, children, NULL, NULL};
    struct options o = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID)};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    uint8_t quoted[PCR_DIGEST_MAX];
    if (o.pcr != NULL)
        TRY(err_context(hex_decode(quoted, o.bank->len, bytes_of_str(o.pcr)), "--pcr10"));
    BUF_AUTO data = BUF_INIT, text = BUF_INIT;
    TRY(file_read(&data, o.file.path, IMA_MAX));
    struct err e = judge(&text, &o, buf_bytes(&data), o.pcr != NULL ? quoted : NULL);
    return command_end(exit_code, e, &text, o.file.json);
}
