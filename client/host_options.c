#include "client/command.h"
#include "common/text.h"

enum { KEY_TIMEOUT = 256, TIMEOUT_MAX_S = 86400 };

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct host_options *o = state->input;
    uint64_t seconds = 0;
    switch (key) {
    case 'p':
        o->policy = text;
        return 0;
    case KEY_TIMEOUT:
        if (is_err(decimal_decode(&seconds, bytes_of_str(text), TIMEOUT_MAX_S)) || seconds == 0)
            argp_error(state, "--timeout takes seconds, 1 to %d, not '%s'", TIMEOUT_MAX_S, text);
        o->timeout_s = (unsigned)seconds;
        return 0;
    case ARGP_KEY_ARG: /* where the command has not taken it */
        if (o->url != NULL)
            argp_error(state, "one URL, please: '%s' is a second", text);
        o->url = text;
        return 0;
    case ARGP_KEY_END:
        if (o->url == NULL)
            argp_error(state, "a URL is needed");
        if (o->policy == NULL)
            argp_error(state, "--policy FILE is needed: it says what you believe");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"policy", 'p', "FILE", 0, "What you believe: log, TPM roots, model, code (docs/FORMATS.md, 7)",
     0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0,
     "For each step, in place of 10 to connect, 60 for evidence, 120 between tokens", 0},
    {0},
};

const struct argp host_argp = {.options = options, .parser = parse_option};

struct err host_options_open(struct policy *policy, struct connection **connection,
                             const struct host_options *o)
{
    struct connection_limits limits = {.connect_s = 10, .answer_s = 60, .idle_s = 120};
    if (o->timeout_s > 0)
        limits = (struct connection_limits){o->timeout_s, o->timeout_s, o->timeout_s};
    struct url url;
    TRY(url_parse(&url, o->url));
    struct policy p;
    TRY(policy_load(&p, o->policy));
    struct err e = connection_open(connection, &url, &limits);
    if (is_err(e)) {
        policy_cleanup(&p);
        return e;
    }
    *policy = p;
    return err_ok();
}
