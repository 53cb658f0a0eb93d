/*
 * blindllama-audit replay: a whole log under a policy, entry by entry.
 */
#include <stdio.h>

#include "auditor/audit.h"
#include "auditor/command.h"

struct options {
    const char *log_path, *policy_path, *host;
    bool json, quiet, allow_not_a_proof;
};

enum { KEY_POLICY = 'p', KEY_JSON = 'j', KEY_QUIET = 'q', KEY_ALLOW = 256, KEY_HOST };

static const struct argp_option argp_options[] = {
    {"policy", KEY_POLICY, "FILE", 0, "What you believe: log, roots, activators, models, code", 0},
    {"json", KEY_JSON, NULL, 0, "One JSON object instead of text", 0},
    {"quiet", KEY_QUIET, NULL, 0, "Only the verdict", 0},
    {"host", KEY_HOST, "NAME", 0,
     "Exit by the log and this host alone: the name of its attestation key, as it is shown, at "
     "least 8 hex digits",
     0},
    {"allow-not-a-proof", KEY_ALLOW, NULL, 0,
     "Exit 0 also when all that is missing are PCRs that the policy ignores", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case KEY_POLICY:
        o->policy_path = arg;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_HOST:
        o->host = arg;
        return 0;
    case KEY_QUIET:
        o->quiet = true;
        return 0;
    case KEY_ALLOW:
        o->allow_not_a_proof = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->log_path != NULL)
            argp_error(state, "one log at a time");
        o->log_path = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->log_path == NULL || o->policy_path == NULL)
            argp_error(state, "a log and --policy FILE are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct output {
    const struct options *options;
    struct audit_json *json; /* NULL for text */
};

static void on_entry(void *context, const struct replay_line *line)
{
    const struct output *o = context;
    if (o->json != NULL) {
        audit_json_entry(o->json, line);
    } else if (!o->options->quiet) {
        BUF_AUTO text = BUF_INIT;
        audit_text_entry(&text, line);
        command_print(&text);
    }
}

static void print_head(const struct options *o)
{
    BUF_AUTO text = BUF_INIT;
    audit_text_head(&text, o->log_path, o->policy_path);
    command_print(&text);
}

static bool is_good(const struct options *o, enum outcome outcome)
{
    return outcome == OUTCOME_TRUE || (outcome == OUTCOME_NOT_A_PROOF && o->allow_not_a_proof);
}

static int exit_of(const struct options *o, const struct audit *a,
                   const struct replay_verdict *host)
{
    if (host != NULL)
        return a->summary.log == OUTCOME_TRUE && is_good(o, host->outcome) ? EXIT_TRUE : EXIT_FALSE;
    if (is_good(o, audit_outcome(a)))
        return EXIT_TRUE;
    return audit_is_partly_true(a) ? EXIT_PARTLY : EXIT_FALSE;
}

/* Where the file is no log of the policy's key there are no hosts to find: it is false. */
static struct err print_end(int *exit_code, struct output *o, const struct audit *a)
{
    BUF_AUTO text = BUF_INIT;
    const struct replay_verdict *host = NULL;
    struct err e = err_ok();
    if (o->options->host != NULL && a->fault[0] == '\0')
        e = audit_host(&host, a, o->options->host);
    if (o->json != NULL)
        audit_json_end(&text, o->json, a);
    else
        audit_text_end(&text, a, o->options->quiet);
    if (host != NULL && o->json == NULL)
        audit_text_host(&text, a, host);
    command_print(&text);
    TRY(e);
    *exit_code = exit_of(o->options, a, host);
    return err_ok();
}

struct err replay_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Replays the log from its first entry: tree, checkpoints, blobs, then every statement by "
        "the rules of docs/FORMATS.md section 9.\v"
        "Each host has a verdict of its own, and so has the log: nothing that one host logs makes "
        "the log false, nor another host.\n\n"
        "Exit codes: 0 the log and all its hosts are true, 1 the log is false, or none of its "
        "hosts is true, or they are not a proof, 2 could not check, 3 the log is true and some of "
        "its hosts are, others are not. With --host: 0 the log and this host are true, 1 not.";
    static const struct argp argp = {argp_options, parse_option, "LOG.db", doc, NULL, NULL, NULL};
    struct options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    __attribute__((cleanup(audit_cleanup))) struct audit a = AUDIT_INIT;
    struct output o = {.options = &options, .json = options.json ? audit_json_new() : NULL};
    if (!options.json && !options.quiet)
        print_head(&options);
    struct err e = audit_run(&a, options.log_path, options.policy_path, on_entry, &o);
    if (is_err(e)) {
        audit_json_free(o.json);
        return e;
    }
    return print_end(exit_code, &o, &a);
}
