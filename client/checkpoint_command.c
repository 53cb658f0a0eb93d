/*
 * blindllama checkpoint: the newest head of a host's log, checked against the policy's key.
 */
#include <stdio.h>

#include "client/api.h"
#include "client/command.h"
#include "transparency/checkpoint.h"

struct options {
    struct host_options host;
    bool note;
};

static const char doc[] = "Fetches the newest checkpoint of the log at URL and checks that the log "
                          "of the policy signed it, and that the policy's witnesses cosigned it."
                          "\vPrints the log's origin, size and root. The host itself is not "
                          "verified: what the log signed "
                          "can come from anywhere.\n\n"
                          "Exit codes: 0 signed by the policy's log and cosigned by its quorum, 1 "
                          "not, 2 could not check.\n\n"
                          "Example:\n"
                          "  blindllama checkpoint https://127.0.0.1:8443 --policy host.policy";

static const struct argp_option argp_options[] = {
    {"note", 'n', NULL, 0, "Print the signed note as it is", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    (void)text;
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->host;
        return 0;
    case 'n':
        o->note = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct err fetch(struct answer *answer, struct connection *c)
{
    const struct request request = {.path = "/log/checkpoint", .max = NOTE_MAX};
    TRY(connection_request(c, answer, &request));
    struct err e = api_status(answer, "checkpoint");
    if (e.code == ERR_UNTRUE)
        e.code = ERR_IO;
    return e;
}

struct err checkpoint_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&host_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "URL", doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    POLICY_AUTO policy = {0};
    CONNECTION_AUTO *connection = NULL;
    TRY(host_options_open(&policy, &connection, &o.host));
    ANSWER_AUTO answer = ANSWER_INIT;
    TRY(fetch(&answer, connection));
    struct checkpoint c;
    struct bytes note = buf_bytes(&answer.body);
    struct tlog_witnessed witnessed;
    struct err e = checkpoint_verify(&c, note, policy.log.name, &policy.log);
    if (!is_err(e))
        e = tlog_policy_check_quorum(&witnessed, &policy.witnesses, note);
    if (e.code == ERR_MALFORMED) /* whatever it is, the log did not sign it */
        e.code = ERR_UNTRUE;
    TRY(e);
    BUF_AUTO root = BUF_INIT;
    buf_append_hex(&root, bytes_of(c.root.bytes, SHA256_LEN));
    if (o.note)
        fwrite(note.data, 1, note.len, stdout);
    else
        printf("origin %s\nsize %llu\nroot %s\n", c.origin, (unsigned long long)c.size,
               buf_str(&root));
    *exit_code = EXIT_TRUE;
    return err_ok();
}
