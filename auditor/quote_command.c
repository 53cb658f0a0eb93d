/*
 * blindllama-audit quote: one quote, from the files that tools write.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "attest/ak_file.h"
#include "attest/quote_check.h"
#include "auditor/command.h"
#include "common/file.h"
#include "common/text.h"

enum { NONCE_MAX = 64 };

struct options {
    const char *ak, *attest, *signature, *pcrs, *bank, *select, *nonce;
    bool json;
};

enum { KEY_AK = 256, KEY_ATTEST, KEY_SIGNATURE, KEY_PCRS, KEY_BANK, KEY_SELECT, KEY_NONCE };

static const struct argp_option argp_options[] = {
    {"ak", KEY_AK, "FILE", 0, "The attestation key: PEM, TPM2B_PUBLIC or TPMT_PUBLIC", 0},
    {"attest", KEY_ATTEST, "FILE", 0, "What was signed: TPMS_ATTEST", 0},
    {"signature", KEY_SIGNATURE, "FILE", 0, "TPMT_SIGNATURE, or raw: RSA, or ECDSA as DER or r||s",
     0},
    {"pcrs", KEY_PCRS, "FILE", 0, "PCR values, plain or as tpm2_quote --pcr writes them", 0},
    {"bank", KEY_BANK, "NAME", 0, "sha256, sha384 or sha512", 0},
    {"select", KEY_SELECT, "LIST", 0, "The PCRs, as 0,1,2: exactly these must be quoted", 0},
    {"nonce", KEY_NONCE, "HEX", 0, "The challenge, 1 to 64 bytes: exactly this must be quoted", 0},
    {"json", 'j', NULL, 0, "JSON instead of text", 0},
    {0},
};

/* Where an option's text goes; NULL for a key that is none of ours. */
static const char **option_place(struct options *o, int key)
{
    const char **places[] = {&o->ak,   &o->attest, &o->signature, &o->pcrs,
                             &o->bank, &o->select, &o->nonce};
    return key >= KEY_AK && key <= KEY_NONCE ? places[key - KEY_AK] : NULL;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    const char **place = option_place(o, key);
    if (place != NULL) {
        *place = arg;
        return 0;
    }
    if (key == 'j') {
        o->json = true;
        return 0;
    }
    if (key != ARGP_KEY_END)
        return ARGP_ERR_UNKNOWN;
    for (int k = KEY_AK; k <= KEY_NONCE; k++)
        if (*option_place(o, k) == NULL)
            argp_error(state, "--%s is needed", argp_options[k - KEY_AK].name);
    return 0;
}

static struct err parse_select(uint8_t select[PCR_SELECT_LEN], const char *list)
{
    struct bytes rest = bytes_of_str(list);
    for (;;) {
        const uint8_t *comma = rest.len > 0 ? memchr(rest.data, ',', rest.len) : NULL;
        size_t len = comma != NULL ? (size_t)(comma - rest.data) : rest.len;
        uint64_t pcr;
        struct err e = decimal_decode(&pcr, bytes_of(rest.data, len), PCR_COUNT - 1);
        if (is_err(e) || pcr_select_has(select, (unsigned)pcr))
            return err_set(ERR_USAGE,
                           "--select: '%s' is not a list of PCRs from 0 to 23, each "
                           "once, as 0,1,2",
                           list);
        select[pcr / 8] |= (uint8_t)(1u << pcr % 8);
        if (comma == NULL)
            return err_ok();
        rest = bytes_of(comma + 1, rest.len - len - 1);
    }
}

/* Capital letters are taken here: it is a person's argument, not evidence. */
static struct err parse_nonce(struct buf *out, const char *hex)
{
    size_t len = strlen(hex);
    if (len % 2 != 0 || len == 0 || len > 2 * NONCE_MAX)
        return err_set(ERR_USAGE, "--nonce: 1 to %d bytes in hex are needed", NONCE_MAX);
    for (size_t i = 0; i < len; i += 2) {
        char pair[2] = {hex[i], hex[i + 1]};
        uint8_t byte;
        for (size_t k = 0; k < 2; k++)
            if (pair[k] >= 'A' && pair[k] <= 'F')
                pair[k] = (char)(pair[k] - 'A' + 'a');
        if (is_err(hex_decode(&byte, 1, bytes_of(pair, 2))))
            return err_set(ERR_USAGE, "--nonce: '%s' is not hex", hex);
        buf_append_u8(out, byte);
    }
    return err_ok();
}

static const char *scheme_name(uint16_t scheme)
{
    switch (scheme) {
    case TPM_ALG_RSASSA_ID:
        return "rsassa";
    case TPM_ALG_RSAPSS_ID:
        return "rsapss";
    default:
        return "ecdsa";
    }
}

static void append_text(struct buf *out, const struct quote_input *in, const struct quote_facts *f)
{
    buf_printf(out, "true: signed by the key (%s, %s) over exactly %zu PCRs of %s and this nonce; ",
               scheme_name(f->scheme), pcr_bank_of(f->hash)->name, pcr_select_count(in->select),
               in->bank->name);
    buf_printf(out, "clock %llu ms%s, reset %u, restart %u; %s\n",
               (unsigned long long)f->attest.clock_ms, f->attest.safe ? "" : " (not safe)",
               (unsigned)f->attest.reset_count, (unsigned)f->attest.restart_count,
               f->name.len > 0 ? "its public area is an attestation key's; whose TPM it is in was "
                                 "not asked"
                               : "what kind of key it is, a PEM file does not tell");
}

static json_t *pcrs_json(const struct quote_input *in, const struct quote_facts *f)
{
    json_t *pcrs = json_object();
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        char key[12];
        BUF_AUTO hex = BUF_INIT;
        if (!pcr_select_has(in->select, i))
            continue;
        snprintf(key, sizeof key, "%u", i);
        buf_append_hex(&hex, bytes_of(f->values[i], in->bank->len));
        if (json_object_set_new(pcrs, key, json_string(buf_str(&hex))) != 0)
            abort();
    }
    return pcrs;
}

static void append_json(struct buf *out, const struct quote_input *in, const struct quote_facts *f)
{
    BUF_AUTO name = BUF_INIT;
    buf_append_hex(&name, bytes_of(f->name.bytes, f->name.len));
    command_json(out, json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:b}", "outcome", "true",
                                "reason", "", "scheme", scheme_name(f->scheme), "hash",
                                pcr_bank_of(f->hash)->name, "ak_name", buf_str(&name), "bank",
                                in->bank->name, "pcrs", pcrs_json(in, f), "clock",
                                (json_int_t)f->attest.clock_ms, "reset_count",
                                (json_int_t)f->attest.reset_count, "restart_count",
                                (json_int_t)f->attest.restart_count, "safe", (int)f->attest.safe));
}

/* The files; what is too large to be one of these is no fault of the quote. */
struct files {
    struct buf ak, attest, signature, pcrs, nonce;
};

static void files_cleanup(struct files *f)
{
    buf_cleanup(&f->ak);
    buf_cleanup(&f->attest);
    buf_cleanup(&f->signature);
    buf_cleanup(&f->pcrs);
    buf_cleanup(&f->nonce);
}

static struct err read_input(struct quote_input *in, struct files *f, const struct options *o)
{
    in->bank = pcr_bank_named(bytes_of_str(o->bank));
    if (in->bank == NULL)
        return err_set(ERR_USAGE, "--bank: '%s' is not sha256, sha384 or sha512", o->bank);
    TRY(parse_select(in->select, o->select));
    TRY(parse_nonce(&f->nonce, o->nonce));
    TRY(file_read(&f->ak, o->ak, AK_FILE_MAX));
    TRY(file_read(&f->attest, o->attest, AK_FILE_MAX));
    TRY(file_read(&f->signature, o->signature, AK_FILE_MAX));
    TRY(file_read(&f->pcrs, o->pcrs, PCR_FILE_MAX));
    in->ak = buf_bytes(&f->ak);
    in->attest = buf_bytes(&f->attest);
    in->signature = buf_bytes(&f->signature);
    in->pcrs = buf_bytes(&f->pcrs);
    in->nonce = buf_bytes(&f->nonce);
    return err_ok();
}

struct err quote_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Checks one TPM quote: that the key signed it, that a TPM made it, that it is over exactly "
        "these PCRs, values and nonce.\v"
        "A public area must be an attestation key's and fixes the scheme. A PEM file fixes none: "
        "scheme and hash are then those that a TPMT_SIGNATURE states; a raw signature is taken as "
        "RSASSA or ECDSA with SHA-256 (P-384: SHA-384). SHA-1 is refused. Whose key it is, and "
        "what "
        "the values mean, is not asked.\n\n"
        "Exit codes: 0 true, 1 false, 2 could not check.\n\n"
        "Example:\n"
        "  blindllama-audit quote --ak ak.pem --attest q.msg --signature q.sig \\\n"
        "    --pcrs q.pcrs --bank sha256 --select 0,1,2 --nonce 0123abcd";
    static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(files_cleanup))) struct files files = {0};
    struct quote_input in = {0};
    TRY(read_input(&in, &files, &o));
    struct quote_facts facts;
    BUF_AUTO text = BUF_INIT;
    struct err e = quote_check(&facts, &in);
    if (!is_err(e) && o.json)
        append_json(&text, &in, &facts);
    else if (!is_err(e))
        append_text(&text, &in, &facts);
    return command_end(exit_code, e, &text, o.json);
}
