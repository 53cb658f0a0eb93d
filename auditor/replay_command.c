/*
 * blindllama-audit replay: a whole log under a policy, entry by entry.
 */
#include <stdio.h>

#include "auditor/audit.h"
#include "auditor/command.h"

struct options {
    const char *log_path, *policy_path;
    bool json, quiet, allow_not_a_proof;
};

enum { KEY_POLICY = 'p', KEY_JSON = 'j', KEY_QUIET = 'q', KEY_ALLOW = 256 };

static const struct argp_option argp_options[] = {
    {"policy", KEY_POLICY, "FILE", 0, "What you believe: log, roots, activators, models, code", 0},
    {"json", KEY_JSON, NULL, 0, "One JSON object instead of text", 0},
    {"quiet", KEY_QUIET, NULL, 0, "Only the verdict", 0},
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

static int print_end(struct output *o, const struct audit *a)
{
    BUF_AUTO text = BUF_INIT;
    if (o->json != NULL)
        audit_json_end(&text, o->json, a);
    else
        audit_text_end(&text, a, o->options->quiet);
    command_print(&text);
    enum outcome outcome = audit_outcome(a);
    bool good = outcome == OUTCOME_TRUE ||
                (outcome == OUTCOME_NOT_A_PROOF && o->options->allow_not_a_proof);
    return good ? EXIT_TRUE : EXIT_FALSE;
}

struct err replay_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Replays the log from its first entry: tree, checkpoints, blobs, then every statement by "
        "the rules of docs/FORMATS.md section 9.\v"
        "Exit codes: 0 true, 1 false or not a proof, 2 could not check.";
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
    *exit_code = print_end(&o, &a);
    return err_ok();
}
