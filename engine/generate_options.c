#include "engine/generate_options.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "engine/group.h"
#include "kernels/cuda/gpu_backend.h"

enum { MAX_TOKENS_DEFAULT = 128, GROUP_PROMPT = 1, GROUP_CHOICE, GROUP_END, GROUP_ENGINE };

static const struct argp_option option_list[] = {
    {"model", KEY_MODEL, "DIR", 0, "The model's folder (with config.json)", GROUP_PROMPT},
    {"prompt", KEY_PROMPT, "TEXT", 0, "Continue this text", 0},
    {"prompt-ids", KEY_PROMPT_IDS, "IDS", 0, "Continue these token ids: 1,2,3", 0},
    {"chat", KEY_CHAT, "FILE", 0,
     "Answer this JSON array of messages (role, content), or object with messages, tools and "
     "documents",
     0},
    {"seed", KEY_SEED, "S", 0, "Seed of the random choice (default: drawn)", GROUP_CHOICE},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 is greedy (default: the model's)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Keep the likeliest tokens with this mass", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Keep the K likeliest tokens; 0: all", 0},
    {"min-p", KEY_MIN_P, "P", 0, "Keep tokens at least P times as likely as the best", 0},
    {"repetition-penalty", KEY_REPETITION, "R", 0, "Divides logits of tokens seen; 1: off", 0},
    {"presence-penalty", KEY_PRESENCE, "P", 0, "Off the logits of tokens in the answer", 0},
    {"frequency-penalty", KEY_FREQUENCY, "F", 0,
     "Off the logit of a token for each time that it is in the answer", 0},
    {"logit-bias", KEY_LOGIT_BIAS, "ID:VALUE", 0,
     "Add VALUE (-100 to 100) to a token's logit (may be repeated)", 0},
    {"logprobs", KEY_LOGPROBS, "N", 0,
     "With --json: each token's logprob and the N (0 to 20) likeliest", 0},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "Stop after N tokens (default 128)", GROUP_END},
    {"min-tokens", KEY_MIN_TOKENS, "N", 0, "Only length ends the answer before N tokens", 0},
    {"stop", KEY_STOP, "TEXT", 0, "Stop before this text (may be repeated)", 0},
    {"stop-id", KEY_STOP_ID, "ID", 0, "Stop at this token (may be repeated)", 0},
    {"ignore-eos", KEY_IGNORE_EOS, NULL, 0, "The model's end tokens do not end the answer", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads (default: one per CPU)", GROUP_ENGINE},
    {"backend", KEY_BACKEND, "NAME", 0,
     "auto (a GPU if there is one that works, else the CPU; the default), cpu, cuda, or one set of "
     "the "
     "CPU: avx512bf16, avx512, avx2 or ref",
     0},
    {"gpu", KEY_GPU, "N", 0, "Which GPU, as CUDA counts them from 0; default 0", 0},
    {"context", KEY_CONTEXT, "N", 0, "Tokens of prompt and answer together", 0},
    {"kv-bytes", KEY_KV_BYTES, "N", 0, "Memory for the KV cache", 0},
    {"kv-mib", KEY_KV_MIB, "N", 0, "The same in MiB", 0},
    {"logits-out", KEY_LOGITS_OUT, "FILE", 0,
     "Write all logits: float32, one row of vocab_size for each token of the prompt and then of "
     "the answer",
     0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 0},
    {0},
};

static const char doc[] =
    "Run one prompt through a model.\v"
    "With --json, speeds are of this run: prompt_tokens_per_second is the prompt's tokens by the "
    "time from its start until the first token is chosen; decode_tokens_per_second is the other "
    "tokens by the time from the first to the last. bytes_per_token is what the computation of one "
    "of those has to read, on average: every weight matrix once (of the embedding matrix one row), "
    "and the keys and values of all positions that it sees, in all layers. gigabytes_per_second is "
    "bytes_per_token * decode_tokens_per_second / 10^9. The last three are null where there is but "
    "one token.\n\n"
    "--logits-out computes prompt and answer once more, after the answer, and holds 64 MiB of rows "
    "at most.\n\n"
    "Exit codes: 0 done; 1 the engine failed, or SIGINT ended the answer (what there is of it is "
    "printed); 2 bad usage, input that cannot be read, output that cannot be written.";

/* Where a number goes, and what it may be. */
enum number_kind { NUMBER_UNSIGNED, NUMBER_UINT64, NUMBER_FLOAT };
struct number_option {
    enum generate_key key;
    const char *name;
    enum number_kind kind;
    size_t offset;
    uint64_t max; /* of the first two kinds */
};

#define PARAM(field) offsetof(struct engine_params, field)
static const struct number_option param_options[] = {
    {KEY_MAX_TOKENS, "max-tokens", NUMBER_UNSIGNED, PARAM(max_tokens), 1 << 24},
    {KEY_MIN_TOKENS, "min-tokens", NUMBER_UNSIGNED, PARAM(min_tokens), 1 << 24},
    {KEY_SEED, "seed", NUMBER_UINT64, PARAM(seed), UINT64_MAX},
    {KEY_TOP_K, "top-k", NUMBER_UNSIGNED, PARAM(top_k), 1 << 30},
    {KEY_LOGPROBS, "logprobs", NUMBER_UNSIGNED, PARAM(n_logprobs), ENGINE_LOGPROBS_MAX},
    {KEY_TEMPERATURE, "temperature", NUMBER_FLOAT, PARAM(temperature), 0},
    {KEY_TOP_P, "top-p", NUMBER_FLOAT, PARAM(top_p), 0},
    {KEY_MIN_P, "min-p", NUMBER_FLOAT, PARAM(min_p), 0},
    {KEY_REPETITION, "repetition-penalty", NUMBER_FLOAT, PARAM(repetition_penalty), 0},
    {KEY_PRESENCE, "presence-penalty", NUMBER_FLOAT, PARAM(presence_penalty), 0},
    {KEY_FREQUENCY, "frequency-penalty", NUMBER_FLOAT, PARAM(frequency_penalty), 0},
};

#define ENGINE(field) offsetof(struct engine_options, field)
static const struct number_option engine_numbers[] = {
    {KEY_GPU, "gpu", NUMBER_UNSIGNED, ENGINE(gpu_index), ENGINE_GROUP_MAX - 1},
    {KEY_THREADS, "threads", NUMBER_UNSIGNED, ENGINE(n_threads), 1024},
    {KEY_CONTEXT, "context", NUMBER_UNSIGNED, ENGINE(max_context), 1 << 30},
    {KEY_KV_BYTES, "kv-bytes", NUMBER_UINT64, ENGINE(kv_bytes), (uint64_t)1 << 50},
    {KEY_KV_MIB, "kv-mib", NUMBER_UINT64, ENGINE(kv_bytes), (uint64_t)1 << 30},
};

static struct err read_number(const char *option, const char *text, uint64_t max, uint64_t *out)
{
    if (is_err(decimal_decode(out, bytes_of_str(text), max)))
        return err_set(ERR_USAGE, "--%s is \"%.40s\"; it must be a whole number up to %llu", option,
                       text, (unsigned long long)max);
    return err_ok();
}

static struct err read_float(const char *option, const char *text, float *out)
{
    char *end = NULL;
    *out = strtof(text, &end);
    if (end == text || *end != 0 || !isfinite(*out))
        return err_set(ERR_USAGE, "--%s is \"%.40s\"; it must be a number", option, text);
    return err_ok();
}

static struct err read_bias(struct engine_bias *out, const char *text)
{
    const char *colon = strchr(text, ':');
    uint64_t id = 0;
    if (colon == NULL ||
        is_err(decimal_decode(&id, bytes_of(text, (size_t)(colon - text)), UINT32_MAX)))
        return err_set(ERR_USAGE,
                       "--logit-bias is \"%.40s\"; it must be a token id, a colon and a "
                       "number, such as 17:-5",
                       text);
    out->id = (uint32_t)id;
    return read_float("logit-bias", colon + 1, &out->bias);
}

/* One more of an option that may be repeated. */
static struct err add_text(struct generate_options *o, int key, const char *text)
{
    uint64_t id = 0;
    switch (key) {
    case KEY_STOP:
        if (o->n_stops == ENGINE_STOP_MAX)
            return err_set(ERR_USAGE, "at most %d --stop are allowed", ENGINE_STOP_MAX);
        o->stops[o->n_stops++] = text;
        return err_ok();
    case KEY_STOP_ID:
        if (o->n_stop_ids == ENGINE_STOP_IDS_MAX)
            return err_set(ERR_USAGE, "at most %d --stop-id are allowed", ENGINE_STOP_IDS_MAX);
        TRY(read_number("stop-id", text, UINT32_MAX, &id));
        o->stop_ids[o->n_stop_ids++] = (uint32_t)id;
        return err_ok();
    default:
        if (o->n_biases == ENGINE_BIAS_MAX)
            return err_set(ERR_USAGE, "at most %d --logit-bias are allowed", ENGINE_BIAS_MAX);
        return read_bias(&o->biases[o->n_biases++], text);
    }
}

const char *generate_text(const struct generate_options *o, enum generate_key key)
{
    return o->texts[key - KEY_MODEL];
}

/* What needs the whole command line. */
static void check_all(const struct generate_options *o, struct argp_state *state)
{
    struct engine_params params = {0};
    struct engine_options options;
    if (generate_text(o, KEY_MODEL) == NULL)
        argp_error(state, "--model is missing");
    if ((generate_text(o, KEY_PROMPT) != NULL) + (generate_text(o, KEY_PROMPT_IDS) != NULL) +
            (generate_text(o, KEY_CHAT) != NULL) !=
        1)
        argp_error(state, "give one of --prompt, --prompt-ids and --chat");
    if (is_err(generate_params(o, &params)) || is_err(generate_engine_options(o, &options)))
        argp_error(state, "%s", err_message());
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct generate_options *o = state->input;
    if (key >= KEY_MODEL && key < KEY_TEXTS_END) {
        o->texts[key - KEY_MODEL] = value;
        return 0;
    }
    switch (key) {
    case KEY_LOGIT_BIAS:
    case KEY_STOP:
    case KEY_STOP_ID:
        if (is_err(add_text(o, key, value)))
            argp_error(state, "%s", err_message());
        return 0;
    case KEY_IGNORE_EOS:
        o->ignore_eos = true;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_END:
        check_all(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void generate_options_parse(struct generate_options *out, int argc, char **argv)
{
    static const struct argp argp = {option_list, parse_option, NULL, doc, NULL, NULL, NULL};
    argp_err_exit_status = GENERATE_EXIT_USAGE;
    *out = (struct generate_options){.n_stops = 0};
    argp_parse(&argp, argc, argv, 0, NULL, out);
}

/* Puts the numbers that were given into the struct at `to`. */
static struct err take_numbers(const struct generate_options *o, void *to,
                               const struct number_option *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *text = generate_text(o, list[i].key);
        char *place = (char *)to + list[i].offset;
        uint64_t number = 0;
        if (text == NULL)
            continue;
        if (list[i].kind == NUMBER_FLOAT) {
            TRY(read_float(list[i].name, text, (float *)(void *)place));
            continue;
        }
        TRY(read_number(list[i].name, text, list[i].max, &number));
        if (list[i].kind == NUMBER_UINT64)
            *(uint64_t *)(void *)place = number;
        else
            *(unsigned *)(void *)place = (unsigned)number;
    }
    return err_ok();
}

struct err generate_engine_options(const struct generate_options *o, struct engine_options *out)
{
    *out = (struct engine_options){
        .max_requests = 1, .backend = generate_text(o, KEY_BACKEND), .gpu = gpu_backend_built()};
    if (generate_text(o, KEY_KV_BYTES) != NULL && generate_text(o, KEY_KV_MIB) != NULL)
        return err_set(ERR_USAGE, "give --kv-bytes or --kv-mib, not both");
    TRY(take_numbers(o, out, engine_numbers, sizeof engine_numbers / sizeof *engine_numbers));
    if (generate_text(o, KEY_KV_MIB) != NULL)
        out->kv_bytes <<= 20;
    return err_ok();
}

struct err generate_params(const struct generate_options *o, struct engine_params *p)
{
    p->max_tokens = MAX_TOKENS_DEFAULT;
    TRY(take_numbers(o, p, param_options, sizeof param_options / sizeof *param_options));
    if (p->max_tokens == 0)
        return err_set(ERR_USAGE, "--max-tokens is 0; it must be at least 1");
    p->logprobs = generate_text(o, KEY_LOGPROBS) != NULL;
    if (p->logprobs && !o->json)
        return err_set(ERR_USAGE, "--logprobs needs --json, where they are printed");
    p->has_seed = generate_text(o, KEY_SEED) != NULL;
    p->stop = o->stops;
    p->n_stop = o->n_stops;
    p->stop_ids = o->stop_ids;
    p->n_stop_ids = o->n_stop_ids;
    p->ignore_eos = o->ignore_eos;
    p->logit_bias = o->biases;
    p->n_logit_bias = o->n_biases;
    return err_ok();
}
