/*
 * blindllama-audit eventlog: what a firmware event log replays to.
 */
#include "attest/eventlog_policy.h"
#include "auditor/command.h"
#include "auditor/eventlog_text.h"
#include "common/file.h"

struct options {
    struct file_options file;
    bool policy_lines;
};

enum { KEY_POLICY_LINES = 256 };

static const struct argp_option argp_options[] = {
    {"policy-lines", KEY_POLICY_LINES, NULL, 0,
     "Lines boot-event for a policy: read what they allow before you use them", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->file;
        return 0;
    case KEY_POLICY_LINES:
        o->policy_lines = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* SHA-256 where the log has it, else its first bank. */
static const struct pcr_bank *shown_bank(const struct eventlog *log)
{
    const struct pcr_bank *shown = NULL;
    for (size_t i = 0; i < log->n_algs; i++) {
        const struct pcr_bank *bank = pcr_bank_of(log->algs[i].alg);
        if (bank != NULL && (shown == NULL || bank->alg == TPM_ALG_SHA256_ID))
            shown = bank;
    }
    return shown;
}

static struct err show(struct buf *out, const struct options *o, const struct eventlog *log)
{
    const struct pcr_bank *bank = shown_bank(log);
    if (o->policy_lines)
        return eventlog_policy_lines(out, log, EVENTLOG_POLICY_ALL);
    if (o->file.json)
        eventlog_json(out, log);
    else if (bank == NULL)
        return err_set(ERR_UNSUPPORTED, "event log: none of its algorithms is known here");
    else
        eventlog_text(out, log, bank);
    return err_ok();
}

struct err eventlog_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Replays a firmware event log, legacy or crypto-agile, as Linux shows it in "
        "/sys/kernel/security/tpm0/binary_bios_measurements.\v"
        "The log is a claim: compare the PCR values with a quote's. With --json "
        "{\"events\":N,\"pcrs\":{\"sha256\":{\"0\":\"<hex>\",...},...}}; a bank whose digest an "
        "event lacks is empty. SHA-1 is printed and never accepted by a rule.\n\n"
        "Exit codes: 0 it is a log, 1 it is not, 2 could not check.";
    static const struct argp_child children[] = {{&file_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "FILE", doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    BUF_AUTO data = BUF_INIT, text = BUF_INIT;
    TRY(file_read(&data, o.file.path, EVENTLOG_MAX));
    __attribute__((cleanup(eventlog_cleanup))) struct eventlog log = EVENTLOG_INIT;
    struct err e = eventlog_parse(&log, buf_bytes(&data));
    if (!is_err(e))
        e = show(&text, &o, &log);
    return command_end(exit_code, e, &text, o.file.json);
}
