/*
 * blindllama-log serve: the log as a service.
 */
#include <string.h>

#include "common/file.h"
#include "logservice/command.h"
#include "logservice/options.h"
#include "logservice/service.h"

struct options {
    struct log_options log;
    const char *key, *policy, *listen, *tls_certificate, *tls_key;
};

enum { KEY_TLS_CERTIFICATE = 256, KEY_TLS_KEY };

static const char doc[] =
    "Serves the log over HTTPS, takes statements from hosts that the policy allows, and asks the "
    "log's witnesses to cosign it."
    "\vA host is challenged before anything of it is taken (its TPM must hold both keys), and each "
    "statement is judged by the verifier's rules: that keeps rubbish out; no verifier relies on "
    "it. "
    "What is answered is on the disk and has the quorum of the witnesses. Without --policy the log "
    "is only read.\n\n"
    "The TLS key is made at each start and nobody need trust it: what the log says is signed. With "
    "--tls-certificate and --tls-key hosts can ask for more (--log-ca, --log-pin). For readers "
    "with "
    "browsers, serve an export of the log.\n\n"
    "Prints 'listening on URL'. SIGTERM stops it after the answers that are due. Exit codes: 0 "
    "stopped, 1 a witness knows a larger log or another history, 2 failed.\n\n"
    "Example:\n"
    "  blindllama-log serve --db log.db --key log.key --policy host.policy "
    "--witnesses witnesses.policy --listen 0.0.0.0:8444";

static const struct argp_option argp_options[] = {
    {"key", 'k', "FILE", 0, "The log's private key (default: log.key)", 0},
    {"policy", 'p', "FILE", 0, "Whose statements are taken (docs/FORMATS.md, 7)", 0},
    {"listen", 'l', "ADDRESS", 0, "Where to listen (default: 127.0.0.1:8444)", 0},
    {"tls-certificate", KEY_TLS_CERTIFICATE, "FILE", 0,
     "A certificate and its issuers, in PEM, in place of one made at each start", 0},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "Its private key, in PEM", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->log;
        return 0;
    case 'k':
        o->key = text;
        return 0;
    case 'p':
        o->policy = text;
        return 0;
    case 'l':
        o->listen = text;
        return 0;
    case KEY_TLS_CERTIFICATE:
        o->tls_certificate = text;
        return 0;
    case KEY_TLS_KEY:
        o->tls_key = text;
        return 0;
    case ARGP_KEY_END:
        if ((o->tls_certificate == NULL) != (o->tls_key == NULL))
            argp_error(state, "--tls-certificate and --tls-key go together");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The key's name is the log's origin, which the log's file says. */
static struct err load_signer(struct note_signer *out, struct buf *vkey, const struct options *o)
{
    STORE_AUTO *log = NULL;
    TRY(store_open_readonly(&log, o->log.db));
    buf_append_str(vkey, store_vkey(log));
    return note_signer_load(out, o->key, store_origin(log), false);
}

static struct err serve(const struct options *o, const struct policy *policy)
{
    __attribute__((cleanup(note_signer_cleanup))) struct note_signer signer = {0};
    TLOG_POLICY_AUTO witnesses = TLOG_POLICY_INIT;
    BUF_AUTO vkey = BUF_INIT;
    TRY(load_signer(&signer, &vkey, o));
    TRY(log_options_policy(&witnesses, &o->log, buf_str(&vkey)));
    const struct service_config config = {.db = o->log.db,
                                          .signer = &signer,
                                          .admission = policy,
                                          .witnesses = &witnesses,
                                          .listen = o->listen,
                                          .tls_certificate = o->tls_certificate,
                                          .tls_key = o->tls_key};
    struct service *s;
    TRY(service_open(&s, &config));
    struct err e = service_run(s);
    service_free(s);
    return e;
}

struct err serve_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&log_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, NULL, doc, children, NULL, NULL};
    struct options o = {.key = "log.key", .listen = "127.0.0.1:8444"};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    struct policy policy = {0};
    if (o.policy != NULL)
        TRY(policy_load(&policy, o.policy));
    struct err e = serve(&o, o.policy != NULL ? &policy : NULL);
    policy_cleanup(&policy);
    TRY(e);
    *exit_code = EXIT_TRUE;
    return err_ok();
}
