#include "logservice/options.h"

#include <string.h>

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct log_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        o->db = "log.db";
        return 0;
    case 'd':
        o->db = text;
        return 0;
    case 'w':
        o->witnesses = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"db", 'd', "FILE", 0, "The log's file (default: log.db)", 0},
    {"witnesses", 'w', "FILE", 0,
     "A witness policy (C2SP tlog-policy): who cosigns this log, and how many are enough", 0},
    {0},
};

const struct argp log_argp = {.options = options, .parser = parse_option};

void store_free(struct store **s)
{
    store_close(*s);
}

struct err log_options_policy(struct tlog_policy *out, const struct log_options *o,
                              const char *vkey)
{
    if (o->witnesses == NULL)
        return tlog_policy_parse(out, bytes_of_str("quorum none\n"));
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    TRY(tlog_policy_load(&p, o->witnesses));
    struct note_key key;
    TRY(note_vkey_parse(&key, bytes_of_str(vkey)));
    TRY(err_context(tlog_policy_check_log(&p, &key), "%s", o->witnesses));
    *out = p;
    p = TLOG_POLICY_INIT;
    return err_ok();
}
