/*
 * blindllama-log witness: cosigns others' logs while they only grow; and vouches for TPMs.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "logservice/command.h"
#include "logservice/witness_server.h"
#include "transparency/tlog_policy.h"

enum { KEY_INIT = 256, KEY_ACTIVATOR, KEY_POLICY };

struct options {
    const char *db, *key, *name, *logs, *listen, *activator, *policy;
    bool init;
};

static const char doc[] =
    "Cosigns the checkpoints of the logs that LOGS names, over HTTPS (C2SP tlog-witness), as long "
    "as each only grows."
    "\vLOGS is a witness policy (C2SP tlog-policy); its `log` lines count. The state must survive: "
    "a "
    "witness that forgets cosigns a second history. It is therefore made only with --init, "
    "once, together with the key.\n\n"
    "With --activator and --policy, it also challenges TPMs and signs activation statements for "
    "them; of the policy, the log and the TPM roots count. That key is another one than the "
    "witness's.\n\n"
    "Prints the witness's public key, for policies, then 'listening on URL'.\n\n"
    "Example:\n"
    "  blindllama-log witness --init --name witness.example.org --logs logs.policy";

static const struct argp_option argp_options[] = {
    {"db", 'd', "FILE", 0, "The witness's state (default: witness.db)", 0},
    {"key", 'k', "FILE", 0, "The witness's private key (default: witness.key)", 0},
    {"name", 'n', "NAME", 0, "The key's name", 0},
    {"logs", 'g', "LOGS", 0, "Which logs it knows", 0},
    {"listen", 'l', "ADDRESS", 0, "Where to listen (default: 127.0.0.1:8445)", 0},
    {"init", KEY_INIT, NULL, 0, "Make state and key if neither is there", 0},
    {"activator", KEY_ACTIVATOR, "FILE", 0, "The activator's key (`blindllama key` makes one)", 0},
    {"policy", KEY_POLICY, "FILE", 0, "The activator's policy (docs/FORMATS.md, 7)", 0},
    {0},
};

static void check_complete(const struct options *o, struct argp_state *state)
{
    if (o->name == NULL || o->logs == NULL)
        argp_error(state, "--name NAME and --logs LOGS are needed");
    if ((o->activator == NULL) != (o->policy == NULL))
        argp_error(state, "--activator and --policy go together");
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'd':
        o->db = text;
        return 0;
    case 'k':
        o->key = text;
        return 0;
    case 'n':
        o->name = text;
        return 0;
    case 'g':
        o->logs = text;
        return 0;
    case 'l':
        o->listen = text;
        return 0;
    case KEY_INIT:
        o->init = true;
        return 0;
    case KEY_ACTIVATOR:
        o->activator = text;
        return 0;
    case KEY_POLICY:
        o->policy = text;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is a word too many", text);
        return 0;
    case ARGP_KEY_END:
        check_complete(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One origin has one history here, whatever keys sign it. */
static struct err take_logs(struct witness_log *logs, size_t *n, const char *path)
{
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    TRY(tlog_policy_load(&p, path));
    if (p.n_logs == 0)
        return err_set(ERR_USAGE, "%s names no log, so there is nothing to cosign", path);
    for (size_t i = 0; i < p.n_logs; i++) {
        for (size_t j = 0; j < i; j++)
            if (strcmp(logs[j].origin, p.logs[i].key.name) == 0)
                return err_set(ERR_USAGE, "%s names two logs of origin '%s'", path, logs[j].origin);
        logs[i].key = p.logs[i].key;
        memcpy(logs[i].origin, p.logs[i].key.name, sizeof logs[i].origin);
    }
    *n = p.n_logs;
    return err_ok();
}

/* The state comes before the key, so that a key without a state is a witness that has lost its own:
 * with a new one it would cosign a second history under the same name. */
static struct err make_state(const struct options *o)
{
    if (!o->init || access(o->db, F_OK) == 0)
        return err_ok();
    if (access(o->key, F_OK) == 0)
        return err_set(
            ERR_USAGE,
            "the key %s is there and the witness's state %s is not: what it has cosigned "
            "is lost. Put the state back, or begin as another witness with a new key",
            o->key, o->db);
    return witness_db_create(o->db);
}

static struct err open_db(struct witness_db **out, const struct options *o,
                          const struct note_signer *cosigner)
{
    static struct witness_log logs[TLOG_POLICY_LOGS_MAX];
    size_t n_logs = 0;
    TRY(take_logs(logs, &n_logs, o->logs));
    return witness_db_open(out, o->db, cosigner, logs, n_logs);
}

static struct err load_activator(struct note_signer *out, const char *path)
{
    __attribute__((cleanup(buf_cleanup_secret))) struct buf text = BUF_INIT;
    TRY(file_read(&text, path, 1024));
    if (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    struct note_signer named;
    TRY(err_context(note_skey_parse(&named, buf_bytes(&text)), "%s", path));
    struct err e = note_signer_load(out, path, named.key.name, false);
    note_signer_cleanup(&named);
    return e;
}

static void print_key(const struct note_signer *cosigner)
{
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &cosigner->key);
    printf("key %s\n", buf_str(&vkey));
}

#define SIGNER_AUTO __attribute__((cleanup(note_signer_cleanup))) struct note_signer

static struct err run(const struct options *o, const struct policy *policy)
{
    SIGNER_AUTO cosigner = {0};
    SIGNER_AUTO activator = {0};
    TRY(make_state(o));
    TRY(note_cosigner_load(&cosigner, o->key, o->name, o->init));
    if (o->activator != NULL)
        TRY(load_activator(&activator, o->activator));
    if (o->activator != NULL &&
        memcmp(activator.key.public_key, cosigner.key.public_key, ED25519_PUBLIC_LEN) == 0)
        return err_set(ERR_USAGE, "the activator's key must be another one than the witness's");
    struct witness_db *db = NULL;
    TRY(open_db(&db, o, &cosigner));
    print_key(&cosigner);
    const struct witness_server_config config = {.db = db,
                                                 .activator =
                                                     o->activator != NULL ? &activator : NULL,
                                                 .policy = policy,
                                                 .listen = o->listen};
    struct err e = witness_server_run(&config);
    witness_db_close(db);
    return e;
}

struct err witness_command(int *exit_code, int argc, char **argv)
{
    static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
    struct options o = {.db = "witness.db", .key = "witness.key", .listen = "127.0.0.1:8445"};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    struct policy policy = {0};
    if (o.policy != NULL)
        TRY(policy_load(&policy, o.policy));
    struct err e = run(&o, o.policy != NULL ? &policy : NULL);
    policy_cleanup(&policy);
    TRY(e);
    *exit_code = EXIT_TRUE;
    return err_ok();
}
