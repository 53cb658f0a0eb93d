/*
 * blindllama-log prove: the proof that an entry is in the log, as a file that anybody can check
 * offline.
 */
#include <stdio.h>

#include "common/file.h"
#include "common/text.h"
#include "logservice/command.h"
#include "logservice/options.h"
#include "logservice/published.h"

struct options {
    struct log_options log;
    const char *index, *output;
};

static const char doc[] =
    "Writes the inclusion proof of entry INDEX under the log's newest checkpoint as a "
    "tlog-proof@v1: with --witnesses, under the newest that has their quorum."
    "\vWhoever has the entry, the proof and a policy needs neither this log nor its operator.\n\n"
    "Exit codes: 0 written, 2 not (the log has no such entry, or no quorum covers it yet).\n\n"
    "Example:\n  blindllama-log prove 17 --db log.db -o 17.tlog-proof";

static const struct argp_option argp_options[] = {
    {"output", 'o', "FILE", 0, "Write to FILE, not to standard output", 0}, {0}};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->log;
        return 0;
    case 'o':
        o->output = text;
        return 0;
    case ARGP_KEY_ARG:
        if (o->index != NULL)
            argp_error(state, "one INDEX, please: '%s' is a second", text);
        o->index = text;
        return 0;
    case ARGP_KEY_END:
        if (o->index == NULL)
            argp_error(state, "the entry's INDEX is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct err prove(struct buf *out, const struct options *o)
{
    uint64_t index;
    TRY(err_context(decimal_decode(&index, bytes_of_str(o->index), MERKLE_SIZE_MAX), "INDEX"));
    STORE_AUTO *log = NULL;
    TRY(store_open_readonly(&log, o->log.db));
    TLOG_POLICY_AUTO witnesses = TLOG_POLICY_INIT;
    TRY(log_options_policy(&witnesses, &o->log, store_vkey(log)));
    PUBLISHED_AUTO p = PUBLISHED_INIT;
    TRY(published_find(&p, log, &witnesses));
    return published_prove(out, &p, log, index);
}

struct err prove_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&log_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "INDEX", doc,
                                     children,     NULL,         NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    BUF_AUTO text = BUF_INIT;
    TRY(prove(&text, &o));
    if (o.output != NULL)
        TRY(file_write_durable(o.output, buf_bytes(&text), 0644));
    else
        fwrite(text.data, 1, text.len, stdout);
    *exit_code = EXIT_TRUE;
    return err_ok();
}
