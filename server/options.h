/*
 * The command line of blindllama-server.
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <argp.h>

#include "attest/statement.h"
#include "engine/group.h"
#include "server/supervisor.h"

enum { LIST_MAX = 64 };

struct command {
    struct server_options server;
    const char *policy_kind;    /* NULL: serve */
    const char *event_log_path; /* NULL: the standard place */
    const char *witnesses_path; /* NULL: nobody cosigns */
    struct tlog_policy witnesses;
    struct tls_trust log_trust;
    const char *log_ca_path; /* NULL: certificates of the log service do not matter */
    bool origin_given;
    unsigned gpus[ENGINE_GROUP_MAX];
    const char *ek_chain[LIST_MAX];
    struct note_key activators[LIST_MAX];
    const char *activator_texts[LIST_MAX];
    char origin[NOTE_NAME_MAX + 1];
};

extern const struct argp_option server_argp_options[];
/* An argp parser whose input is a struct command with its defaults. */
error_t server_parse_option(int key, char *text, struct argp_state *state);
void server_set_defaults(struct command *c);
/* What the options name is loaded and checked against each other. */
struct err server_load_witnesses(struct command *c) MUST_USE;

#endif
