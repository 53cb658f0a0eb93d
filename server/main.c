/*
 * blindllama-server: options in, exit code out. Reads the command line, checks what can be checked
 * without side effects, and hands over to the supervisor (or drafts a policy).
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "attest/statement.h"
#include "common/text.h"
#include "server/event_log.h"
#include "server/front_memory.h"
#include "server/front_policy.h"
#include "server/supervisor.h"

const char *argp_program_version = "blindllama-server " BL_VERSION;

static const char doc[] =
    "Answers OpenAI-style requests over HTTPS, and proves what it is: the TPM measures this "
    "program, the model and the TLS key, and signed quotes go into an append-only log."
    "\v"
    "What happens, in order: the TPM and the log are opened and checked; every file of the model "
    "is read once and hashed; a TLS key is made in memory; all of it is extended into PCRs 13 to "
    "15; the log gets the identity and a first quote; then, and only then, clients are let in and "
    "this line appears on standard output:\n\n"
    "  listening on https://127.0.0.1:8443\n\n"
    "A first start, on a machine with a TPM:\n\n"
    "  blindllama-server --model models/demo --ek-chain issuer.pem --ek-chain root.pem\n\n"
    "A client verifies before it sends a prompt: see `blindllama verify --help`. What it should "
    "believe stands in a policy; --print-policy drafts one from what is here, for you to compare "
    "with what you built yourself.\n\n"
    "SIGTERM stops cleanly: requests in flight get 10 seconds, and the log says that the host "
    "stops and for how long at most. Exit codes: 0 stopped cleanly, 1 failed while running, 2 "
    "could not start.";

enum {
    KEY_LISTEN = 256,
    KEY_TCTI,
    KEY_STATE,
    KEY_ORIGIN,
    KEY_INTERVAL,
    KEY_EK_CHAIN,
    KEY_EVENT_LOG,
    KEY_ACTIVATOR,
    KEY_THREADS,
    KEY_CONTEXT,
    KEY_REQUESTS,
    KEY_PROFILE,
    KEY_BACKEND,
    KEY_POLICY,
    KEY_STOP,
    KEY_TPM_FAILURE,
    KEY_AK_PROFILE,
};

static const struct argp_option argp_options[] = {
    {"model", 'm', "DIR", 0, "The model's folder: config.json, tokenizer.json, safetensors files",
     1},
    {"listen", KEY_LISTEN, "ADDRESS:PORT", 0, "Default 127.0.0.1:8443; :0 takes any free port", 1},
    {"threads", KEY_THREADS, "N", 0, "Compute threads; default: one per CPU", 1},
    {"max-context", KEY_CONTEXT, "TOKENS", 0, "Prompt and answer together; default: the model's",
     1},
    {"max-requests", KEY_REQUESTS, "N", 0, "Requests that decode together; default 16", 1},
    {"backend", KEY_BACKEND, "auto|cpu|cuda", 0,
     "What computes; default auto: a GPU if there is one that works, else the CPU. When a GPU "
     "fails "
     "later, its requests fail and the server ends",
     1},
    {"profile", KEY_PROFILE, "standard", 0, "The measured profile; there is one", 1},
    {"tcti", KEY_TCTI, "TCTI", 0, "The TPM, as tpm2-tss names it; default device:/dev/tpmrm0", 2},
    {"ek-chain", KEY_EK_CHAIN, "FILE", 0,
     "A certificate above the TPM's endorsement certificate (its maker publishes them); repeated, "
     "nearest first, root last; at least one",
     2},
    {"event-log", KEY_EVENT_LOG, "FILE|none", 0,
     "The firmware's event log, for the boot statement; default: where Linux shows that of the "
     "TPM device, if it is there",
     2},
    {"ak-profile", KEY_AK_PROFILE, "azure|gcp", 0,
     "Attest with the key that this cloud has made and certified; --ek-chain then names the "
     "issuers "
     "of its certificate",
     2},
    {"state", KEY_STATE, "DIR", 0,
     "The log, its key and the runtime log; default ./blindllama-state", 2},
    {"origin", KEY_ORIGIN, "NAME", 0, "The log's name; default blindllama.local/<host name>", 2},
    {"quote-interval", KEY_INTERVAL, "SECONDS", 0,
     "Between logged quotes; default 60. /health fails when the last one is older than three of "
     "them, and than 30 seconds",
     2},
    {"activator", KEY_ACTIVATOR, "VKEY", 0, "Whose activation notes the log takes; repeatable", 2},
    {"max-stop-duration", KEY_STOP, "SECONDS", 0,
     "How long a planned stop lasts at most, as the log is told; default 3600", 2},
    {"on-tpm-failure", KEY_TPM_FAILURE, "stop|serve", 0,
     "When the TPM fails: stop (the default), or serve on without attestation, which /health and "
     "/attestation tell; clients that verify then are refused",
     2},
    {"print-policy", KEY_POLICY, "test|production", 0,
     "Print a policy for this model, program and TPM, and exit", 3},
    {0},
};

enum { LIST_MAX = 64 };

struct command {
    struct server_options server;
    const char *policy_kind;    /* NULL: serve */
    const char *event_log_path; /* NULL: the standard place */
    const char *ek_chain[LIST_MAX];
    struct note_key activators[LIST_MAX];
    const char *activator_texts[LIST_MAX];
    char origin[NOTE_NAME_MAX + 1];
};

static uint64_t number(struct argp_state *state, const char *name, const char *text, uint64_t min,
                       uint64_t max)
{
    uint64_t value = 0;
    if (is_err(decimal_decode(&value, bytes_of_str(text), max)) || value < min)
        argp_error(state, "--%s %s: not a number from %llu to %llu", name, text,
                   (unsigned long long)min, (unsigned long long)max);
    return value;
}

static void one_of(struct argp_state *state, const char *name, const char *text, const char *a,
                   const char *b)
{
    if (strcmp(text, a) != 0 && strcmp(text, b) != 0)
        argp_error(state, "--%s %s: only %s%s%s is known", name, text, a,
                   strcmp(a, b) == 0 ? "" : " or ", strcmp(a, b) == 0 ? "" : b);
}

static void add_activator(struct argp_state *state, struct command *c, const char *text)
{
    size_t n = c->server.attester.n_activators;
    if (n == LIST_MAX)
        argp_error(state, "more than %d --activator", LIST_MAX);
    else if (is_err(note_vkey_parse(&c->activators[n], bytes_of_str(text))))
        argp_error(state, "--activator %s: %s", text, err_message());
    c->activator_texts[n] = text;
    c->server.attester.n_activators++;
}

static void add_ek_chain(struct argp_state *state, struct command *c, const char *path)
{
    if (c->server.attester.n_ek_chain == STATEMENT_CHAIN_MAX)
        argp_error(state, "more than %d --ek-chain", STATEMENT_CHAIN_MAX);
    else if (access(path, R_OK) != 0)
        argp_error(state, "--ek-chain %s: %s", path, strerror(errno));
    c->ek_chain[c->server.attester.n_ek_chain++] = path;
}

static error_t parse_model_options(int key, char *text, struct argp_state *state, struct command *c)
{
    struct front_options *front = &c->server.front;
    switch (key) {
    case 'm':
        front->model_dir = text;
        return 0;
    case KEY_LISTEN:
        c->server.listen = text;
        return 0;
    case KEY_THREADS:
        front->n_threads = (unsigned)number(state, "threads", text, 1, 1024);
        return 0;
    case KEY_CONTEXT:
        front->max_context = (unsigned)number(state, "max-context", text, 1, 1 << 24);
        return 0;
    case KEY_REQUESTS:
        front->max_requests = (unsigned)number(state, "max-requests", text, 1, 1024);
        return 0;
    case KEY_BACKEND:
        if (strcmp(text, "cuda") != 0 && strcmp(text, "auto") != 0 && strcmp(text, "cpu") != 0)
            argp_error(state, "--backend %s: only auto, cpu and cuda are known", text);
        front->backend = text;
        return 0;
    case KEY_PROFILE:
        one_of(state, "profile", text, "standard", "standard");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_host_options(int key, char *text, struct argp_state *state, struct command *c)
{
    struct attester_options *attester = &c->server.attester;
    switch (key) {
    case KEY_TCTI:
        attester->tcti = text;
        return 0;
    case KEY_EVENT_LOG:
        c->event_log_path = text;
        return 0;
    case KEY_STATE:
        if (text[0] == '\0')
            argp_error(state, "--state: the name of the folder is empty");
        attester->state_dir = c->server.front.state_dir = text;
        return 0;
    case KEY_ORIGIN:
        if (!note_name_valid(bytes_of_str(text)) || strlen(text) > NOTE_NAME_MAX)
            argp_error(state, "--origin %s: a log's name has 1 to %d bytes, no space and no +",
                       text, NOTE_NAME_MAX);
        attester->origin = text;
        return 0;
    case KEY_INTERVAL:
        attester->quote_interval_s = number(state, "quote-interval", text, 1, 86400);
        return 0;
    case KEY_STOP:
        c->server.front.max_stop_duration_s =
            (uint32_t)number(state, "max-stop-duration", text, 0, UINT32_MAX);
        return 0;
    case KEY_AK_PROFILE:
        one_of(state, "ak-profile", text, "azure", "gcp");
        attester->ak_certified =
            !is_err(ak_profile_parse(&attester->ak_profile, bytes_of_str(text)));
        return 0;
    case KEY_TPM_FAILURE:
        one_of(state, "on-tpm-failure", text, "stop", "serve");
        c->server.front.serve_without_tpm = strcmp(text, "serve") == 0;
        return 0;
    case KEY_EK_CHAIN:
        add_ek_chain(state, c, text);
        return 0;
    case KEY_ACTIVATOR:
        add_activator(state, c, text);
        return 0;
    case KEY_POLICY:
        one_of(state, "print-policy", text, "test", "production");
        c->policy_kind = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct command *c = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "%s: options only; a model's folder goes with --model", text);
    if (key == ARGP_KEY_END && c->server.front.model_dir == NULL)
        argp_error(state, "--model DIR is missing: name the folder of a model");
    if (parse_model_options(key, text, state, c) == 0)
        return 0;
    return parse_host_options(key, text, state, c);
}

static void set_defaults(struct command *c)
{
    char host[200] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "host");
    snprintf(c->origin, sizeof c->origin, "blindllama.local/%s", host);
    c->server.listen = "127.0.0.1:8443";
    c->server.front = (struct front_options){.state_dir = "./blindllama-state",
                                             .profile = "standard",
                                             .backend = "auto",
                                             .max_requests = 16,
                                             .max_stop_duration_s = 3600};
    c->server.attester = (struct attester_options){.tcti = "device:/dev/tpmrm0",
                                                   .state_dir = "./blindllama-state",
                                                   .origin = c->origin,
                                                   .activators = c->activators,
                                                   .ek_chain = c->ek_chain,
                                                   .quote_interval_s = 60};
}

static int print_policy(const struct command *c)
{
    BUF_AUTO text = BUF_INIT;
    struct err e = front_policy_draft(&text, &c->server.front, &c->server.attester,
                                      c->activator_texts, c->policy_kind);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    if (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        fprintf(stderr, "blindllama-server: cannot write the policy to standard output: %s\n",
                strerror(errno));
        return EXIT_NOT_STARTED;
    }
    return EXIT_CLEAN;
}

static struct err check_model_folder(const char *dir)
{
    struct stat status;
    if (stat(dir, &status) != 0)
        return err_errno("--model %s: cannot be opened (name a folder with config.json, "
                         "tokenizer.json and safetensors files)",
                         dir);
    if (!S_ISDIR(status.st_mode))
        return err_set(ERR_USAGE,
                       "--model %s: not a folder (name the folder that holds the "
                       "model's files)",
                       dir);
    return err_ok();
}

static void say_no_event_log(const char *why)
{
    fprintf(stderr,
            "blindllama-server: no firmware event log: %s; boot PCRs can be compared with golden "
            "values only\n",
            why);
}

/* A log that was asked for must be there. Without one in its usual place the host serves all the
 * same, and says so. */
static struct err load_event_log(struct buf *out, const char *path, const char *tcti)
{
    char usual[EVENT_LOG_PATH_MAX];
    if (path != NULL && strcmp(path, "none") == 0)
        return err_ok();
    if (path != NULL)
        return err_context(event_log_read(out, path), "--event-log");
    if (!event_log_path(usual, tcti))
        say_no_event_log("the TPM is no device of this machine");
    else if (is_err(event_log_read(out, usual)))
        say_no_event_log(err_message());
    return err_ok();
}

/* The environment is nobody's to measure: what libraries would read from it is taken away, and
 * OpenSSL reads no configuration file, which could load an engine or a provider. */
static struct err forget_environment(void)
{
    if (clearenv() != 0 || OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
        return err_set(ERR_IO, "the environment cannot be cleared");
    return err_ok();
}

static int serve(struct command *c)
{
    BUF_AUTO event_log = BUF_INIT;
    struct err e = load_event_log(&event_log, c->event_log_path, c->server.attester.tcti);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    c->server.attester.event_log = buf_bytes(&event_log);
    return supervisor_run(&c->server);
}

int main(int argc, char **argv)
{
    struct command c = {0};
    struct err e = front_memory_wipe_on_free();
    set_defaults(&c);
    argp_err_exit_status = EXIT_NOT_STARTED;
    const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &c);
    c.server.front.quote_interval_s = c.server.attester.quote_interval_s;
    if (!is_err(e))
        e = forget_environment();
    if (!is_err(e))
        e = front_memory_private();
    if (!is_err(e))
        e = check_model_folder(c.server.front.model_dir);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    if (c.policy_kind != NULL)
        return print_policy(&c);
    fprintf(stderr, "%s\n", argp_program_version);
    return serve(&c);
}
