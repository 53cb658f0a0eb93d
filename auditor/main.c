/*
 * blindllama-audit: judges a copy of a log, offline. It reads two files, writes to the terminal,
 * and opens no socket. Exit codes: 0 true, 1 false, 2 could not check.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/report.h"
#include "auditor/audit.h"

enum { EXIT_TRUE = 0, EXIT_FALSE = 1, EXIT_COULD_NOT_CHECK = 2 };

const char *argp_program_version = "blindllama-audit " BL_VERSION;

struct options {
    const char *log_path, *policy_path;
    bool json, quiet, allow_not_a_proof;
};

enum { KEY_POLICY = 'p', KEY_JSON = 'j', KEY_QUIET = 'q', KEY_ALLOW = 256 };

static const struct argp_option replay_options[] = {
    {"policy", KEY_POLICY, "FILE", 0, "What you believe: log, roots, activators, models, code", 0},
    {"json", KEY_JSON, NULL, 0, "One JSON object instead of text", 0},
    {"quiet", KEY_QUIET, NULL, 0, "Only the verdict", 0},
    {"allow-not-a-proof", KEY_ALLOW, NULL, 0,
     "Exit 0 also when all that is missing are PCRs that the policy ignores", 0},
    {0},
};

static error_t parse_replay(int key, char *arg, struct argp_state *state)
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

static void print(struct buf *text)
{
    fwrite(text->data, 1, text->len, stdout);
}

static void on_entry(void *context, const struct replay_line *line)
{
    const struct output *o = context;
    if (o->json != NULL) {
        audit_json_entry(o->json, line);
    } else if (!o->options->quiet) {
        BUF_AUTO text = BUF_INIT;
        audit_text_entry(&text, line);
        print(&text);
    }
}

static void print_head(const struct options *o)
{
    BUF_AUTO text = BUF_INIT;
    audit_text_head(&text, o->log_path, o->policy_path);
    print(&text);
}

static int print_end(struct output *o, const struct audit *a)
{
    BUF_AUTO text = BUF_INIT;
    if (o->json != NULL)
        audit_json_end(&text, o->json, a);
    else
        audit_text_end(&text, a, o->options->quiet);
    print(&text);
    /* A long text can fail in fwrite, and then leave nothing for fflush to report. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("blindllama-audit: standard output");
        return EXIT_COULD_NOT_CHECK;
    }
    enum outcome outcome = audit_outcome(a);
    bool good = outcome == OUTCOME_TRUE ||
                (outcome == OUTCOME_NOT_A_PROOF && o->options->allow_not_a_proof);
    return good ? EXIT_TRUE : EXIT_FALSE;
}

static int run_replay(int argc, char **argv)
{
    static const struct argp argp = {
        replay_options,
        parse_replay,
        "LOG.db",
        "Replays the log from its first entry: tree, checkpoints, blobs, then every statement by "
        "the "
        "rules of docs/FORMATS.md section 9.\v"
        "Exit codes: 0 true, 1 false or not a proof, 2 could not check.",
        NULL,
        NULL,
        NULL};
    struct options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    __attribute__((cleanup(audit_cleanup))) struct audit a = AUDIT_INIT;
    struct output o = {.options = &options, .json = options.json ? audit_json_new() : NULL};
    if (!options.json && !options.quiet)
        print_head(&options);
    struct err e = audit_run(&a, options.log_path, options.policy_path, on_entry, &o);
    if (!is_err(e))
        return print_end(&o, &a);
    char why[1024];
    report_clean(why, sizeof why, err_message());
    audit_json_free(o.json);
    fflush(stdout);
    fprintf(stderr, "blindllama-audit: could not check: %s\n", why);
    return EXIT_COULD_NOT_CHECK;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"replay", run_replay},
};

struct command_line {
    int (*run)(int argc, char **argv);
    int at; /* where its name stands */
};

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
    struct command_line *line = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (strcmp(arg, commands[i].name) == 0)
                line->run = commands[i].run;
        if (line->run == NULL)
            argp_error(state, "'%s' is not a command", arg);
        line->at = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {NULL,
                                     parse_command,
                                     "COMMAND ...",
                                     "Judges a copy of a log, offline.\v"
                                     "Commands:\n  replay LOG.db --policy FILE   replay a whole "
                                     "log ('replay --help' for more)\n",
                                     NULL,
                                     NULL,
                                     NULL};
    argp_err_exit_status = EXIT_COULD_NOT_CHECK;
    struct command_line line = {0};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &line);
    static char name[] = "blindllama-audit replay";
    argv[line.at] = name;
    return line.run(argc - line.at, argv + line.at);
}
