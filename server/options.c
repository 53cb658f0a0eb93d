#include "server/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"
#include "http/http.h"

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
    KEY_CACHE_IDLE,
    KEY_NO_CACHE,
    KEY_PROFILE,
    KEY_BACKEND,
    KEY_GPUS,
    KEY_GPU_FAILURE,
    KEY_POLICY,
    KEY_STOP,
    KEY_TPM_FAILURE,
    KEY_AK_PROFILE,
    KEY_WITNESSES,
    KEY_LOG,
    KEY_LOG_CA,
    KEY_LOG_PIN,
    KEY_CONNECTIONS,
};

const struct argp_option server_argp_options[] = {
    {"model", 'm', "DIR", 0, "The model's folder: config.json, tokenizer.json, safetensors files",
     1},
    {"listen", KEY_LISTEN, "ADDRESS:PORT", 0, "Default 127.0.0.1:8443; :0 takes any free port", 1},
    {"threads", KEY_THREADS, "N", 0, "Compute threads; default: one per CPU", 1},
    {"max-context", KEY_CONTEXT, "TOKENS", 0, "Prompt and answer together; default: the model's",
     1},
    {"max-requests", KEY_REQUESTS, "N", 0, "Requests that decode together; default 16", 1},
    {"max-connections", KEY_CONNECTIONS, "N", 0,
     "Clients that are connected at a time, half of them from one address; 16 to 16384, default "
     "256. "
     "Each takes an open file, and about 100 KiB of memory while it is answered",
     1},
    {"cache-idle", KEY_CACHE_IDLE, "SECONDS", 0,
     "How long computed prompts of clients with a cache_salt are kept when nobody uses them; at "
     "most, and by default, 300",
     1},
    {"no-prefix-cache", KEY_NO_CACHE, NULL, 0,
     "Keep nothing of any prompt behind its request's end; a cache_salt changes nothing", 1},
    {"backend", KEY_BACKEND, "auto|cpu|cuda", 0,
     "What computes; default auto: a GPU if there is one that works, else the CPU. When a GPU "
     "fails later, its requests fail and the server ends",
     1},
    {"gpus", KEY_GPUS, "N,N,...|all", 0,
     "The GPUs that compute, as CUDA counts them from 0: each has the whole model, and requests "
     "are "
     "spread over them; all of them must work. Default: the first, where --backend takes one",
     1},
    {"on-gpu-failure", KEY_GPU_FAILURE, "stop|serve", 0,
     "When one of several GPUs fails: stop (the default), or serve on with the others; its "
     "requests "
     "fail. When the last one does the server ends",
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
    {"log", KEY_LOG, "URL", 0,
     "A log service (blindllama-log serve) that keeps the log, in place of one of this host's own; "
     "--witnesses then names its key, and the quorum that its checkpoints must have",
     2},
    {"log-ca", KEY_LOG_CA, "FILE|system", 0,
     "Certificates of the CAs, in PEM, one of which must have certified the log service for the "
     "name "
     "in its URL; system: those that the system trusts. Default: none, as what counts is signed",
     2},
    {"log-pin", KEY_LOG_PIN, "HEX", 0,
     "SHA-256 of the log service's TLS key (its DER SubjectPublicKeyInfo), with --log-ca or "
     "without; "
     "repeat it for a key that is to come, at most 4",
     2},
    {"quote-interval", KEY_INTERVAL, "SECONDS", 0,
     "Between logged quotes; default 60. /health fails when the last one is older than three of "
     "them, and than 30 seconds",
     2},
    {"witnesses", KEY_WITNESSES, "FILE", 0,
     "A witness policy (C2SP tlog-policy): who is asked to cosign the log, and how many are enough",
     2},
    {"activator", KEY_ACTIVATOR, "VKEY", 0, "Whose activation notes the log takes; repeatable", 2},
    {"max-stop-duration", KEY_STOP, "SECONDS", 0,
     "How long a planned stop lasts at most, as the log is told; default 3600", 2},
    {"on-tpm-failure", KEY_TPM_FAILURE, "stop|serve", 0,
     "When the TPM fails: stop (the default), or serve on without attestation, which /health and "
     "/attestation tell; clients that verify then are refused. The TPM is tried again for about an "
     "hour; when it is back, all is measured again",
     2},
    {"print-policy", KEY_POLICY, "test|production", 0,
     "Print a policy for this model, program and TPM, and exit", 3},
    {0},
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

/* "0,2,3" or "all" */
static void parse_gpus(struct argp_state *state, struct command *c, const char *text)
{
    struct front_options *front = &c->server.front;
    front->gpus = c->gpus;
    front->n_gpus = 0;
    front->all_gpus = strcmp(text, "all") == 0;
    struct reader r = reader_of(bytes_of_str(text));
    while (!front->all_gpus && !r.failed) {
        const uint8_t *comma = memchr(r.at, ',', reader_left(&r));
        uint64_t index = 0;
        struct bytes word =
            read_bytes(&r, comma != NULL ? (size_t)(comma - r.at) : reader_left(&r));
        if (front->n_gpus == ENGINE_GROUP_MAX)
            argp_error(state, "--gpus %s: more than %d", text, ENGINE_GROUP_MAX);
        else if (is_err(decimal_decode(&index, word, 1023)))
            argp_error(state, "--gpus %s: numbers with commas between them, or all", text);
        c->gpus[front->n_gpus++] = (unsigned)index;
        if (comma == NULL)
            break;
        read_u8(&r);
    }
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
    case KEY_CONNECTIONS:
        front->max_connections = (unsigned)number(state, "max-connections", text,
                                                  FRONT_CONNECTIONS_MIN, FRONT_CONNECTIONS_MAX);
        return 0;
    case KEY_CACHE_IDLE:
        front->cache_idle_s =
            (unsigned)number(state, "cache-idle", text, 1, FRONT_CACHE_IDLE_MAX_S);
        return 0;
    case KEY_NO_CACHE:
        front->no_prefix_cache = true;
        return 0;
    case KEY_BACKEND:
        if (strcmp(text, "cuda") != 0 && strcmp(text, "auto") != 0 && strcmp(text, "cpu") != 0)
            argp_error(state, "--backend %s: only auto, cpu and cuda are known", text);
        front->backend = text;
        return 0;
    case KEY_GPUS:
        parse_gpus(state, c, text);
        return 0;
    case KEY_GPU_FAILURE:
        one_of(state, "on-gpu-failure", text, "stop", "serve");
        front->serve_without_gpu = strcmp(text, "serve") == 0;
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
    case KEY_LOG:
        c->server.front.log_url = c->server.publisher.log_url = text;
        return 0;
    case KEY_LOG_CA:
        c->log_ca_path = strcmp(text, "system") == 0 ? TLS_TRUST_SYSTEM : text;
        return 0;
    case KEY_LOG_PIN:
        if (is_err(tls_trust_pin(&c->log_trust, text)))
            argp_error(state, "--log-pin: %s", err_message());
        return 0;
    case KEY_WITNESSES:
        c->witnesses_path = text;
        return 0;
    case KEY_STATE:
        if (text[0] == '\0')
            argp_error(state, "--state: the name of the folder is empty");
        attester->state_dir = c->server.front.state_dir = c->server.publisher.state_dir = text;
        return 0;
    case KEY_ORIGIN:
        if (!note_name_valid(bytes_of_str(text)) || strlen(text) > NOTE_NAME_MAX)
            argp_error(state, "--origin %s: a log's name has 1 to %d bytes, no space and no +",
                       text, NOTE_NAME_MAX);
        attester->origin = text;
        c->origin_given = true;
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

/* Who names GPUs wants them, and no CPU in their stead. */
static void check_gpus(struct argp_state *state, struct front_options *front)
{
    bool named = front->n_gpus > 0 || front->all_gpus;
    if (named && strcmp(front->backend, "cpu") == 0)
        argp_error(state, "--gpus with --backend cpu: leave one of them out");
    if (named)
        front->backend = "cuda";
}

error_t server_parse_option(int key, char *text, struct argp_state *state)
{
    struct command *c = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "%s: options only; a model's folder goes with --model", text);
    if (key == ARGP_KEY_END && c->server.front.model_dir == NULL)
        argp_error(state, "--model DIR is missing: name the folder of a model");
    if (key == ARGP_KEY_END)
        check_gpus(state, &c->server.front);
    if (parse_model_options(key, text, state, c) == 0)
        return 0;
    return parse_host_options(key, text, state, c);
}

void server_set_defaults(struct command *c)
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
                                             .max_connections = HTTP_CONNECTIONS_MAX,
                                             .cache_idle_s = FRONT_CACHE_IDLE_MAX_S,
                                             .max_stop_duration_s = 3600};
    c->server.attester = (struct attester_options){.tcti = "device:/dev/tpmrm0",
                                                   .state_dir = "./blindllama-state",
                                                   .origin = c->origin,
                                                   .activators = c->activators,
                                                   .ek_chain = c->ek_chain,
                                                   .quote_interval_s = 60};
    c->server.publisher = (struct publisher_options){.state_dir = "./blindllama-state"};
    c->witnesses = TLOG_POLICY_INIT;
}

static struct err load_trust(struct command *c)
{
    if (c->log_ca_path == NULL && c->log_trust.n_pins == 0)
        return err_ok();
    if (c->server.publisher.log_url == NULL)
        return err_set(ERR_USAGE, "--log-ca or --log-pin without --log URL: they are about the log "
                                  "service that keeps the log");
    if (c->log_ca_path != NULL)
        TRY(err_context(tls_trust_load(&c->log_trust, c->log_ca_path), "--log-ca"));
    c->server.publisher.log_trust = &c->log_trust;
    return err_ok();
}

struct err server_load_witnesses(struct command *c)
{
    bool remote = c->server.publisher.log_url != NULL;
    TRY(load_trust(c));
    if (remote && c->witnesses_path == NULL)
        return err_set(ERR_USAGE, "--log without --witnesses: give a file with the lines 'log KEY' "
                                  "(the service's own) and 'quorum ...'");
    if (remote && c->origin_given)
        return err_set(ERR_USAGE, "--log with --origin: the service's log has its own name");
    if (c->witnesses_path == NULL)
        return err_ok();
    TRY(err_context(tlog_policy_load(&c->witnesses, c->witnesses_path), "--witnesses"));
    c->server.attester.witnesses = c->server.publisher.witnesses = &c->witnesses;
    struct err e = publisher_check_options(&c->server.publisher);
    if (remote)
        TRY(err_context(e, "--log and --witnesses %s", c->witnesses_path));
    TRY(err_context(e, "--witnesses %s", c->witnesses_path));
    c->server.attester.log_is_remote = remote;
    if (remote)
        c->server.attester.origin = c->witnesses.logs[0].key.name;
    return err_ok();
}
