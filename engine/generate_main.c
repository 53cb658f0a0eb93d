/*
 * blindllama-generate: one prompt through the engine, on the command line. Streams the answer to
 * standard output, or prints one JSON object with all token ids.
 *
 * Exit codes: 0 done, 1 the engine failed while generating, 2 bad usage or unreadable input.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "engine/engine.h"

enum { INPUT_MAX = 16 << 20, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum option_key {
    KEY_MODEL = 0x100,
    KEY_PROMPT,
    KEY_PROMPT_IDS,
    KEY_CHAT,
    KEY_MAX_TOKENS,
    KEY_SEED,
    KEY_TEMPERATURE,
    KEY_TOP_P,
    KEY_TOP_K,
    KEY_STOP,
    KEY_THREADS,
    KEY_BACKEND,
    KEY_LOGITS_OUT,
    KEY_JSON,
};

static const struct argp_option option_list[] = {
    {"model", KEY_MODEL, "DIR", 0, "The model's folder (with config.json)", 0},
    {"prompt", KEY_PROMPT, "TEXT", 0, "Continue this text", 0},
    {"prompt-ids", KEY_PROMPT_IDS, "IDS", 0, "Continue these token ids: 1,2,3", 0},
    {"chat", KEY_CHAT, "FILE", 0, "Answer this JSON array of messages (role, content)", 0},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "Stop after N tokens (default 128)", 0},
    {"seed", KEY_SEED, "S", 0, "Seed of the random choice (default: drawn)", 0},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 is greedy (default: the model's)", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Keep the likeliest tokens with this mass", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Keep the K likeliest tokens", 0},
    {"stop", KEY_STOP, "TEXT", 0, "Stop before this text (may be repeated)", 0},
    {"threads", KEY_THREADS, "N", 0, "Threads (default: one per CPU)", 0},
    {"backend", KEY_BACKEND, "NAME", 0,
     "avx512bf16, avx512, avx2 or ref (default: the fastest here)", 0},
    {"logits-out", KEY_LOGITS_OUT, "FILE", 0,
     "Write the prompt's logits: float32, one row of vocab_size per token", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 0},
    {0},
};

struct arguments {
    const char *model, *prompt, *prompt_ids, *chat, *logits_out;
    const char *seed, *temperature, *top_p, *top_k, *max_tokens, *threads, *backend;
    const char *stop[ENGINE_STOP_MAX];
    size_t n_stop;
    bool json;
};

/* Where the text of an option goes; NULL for those that are more than one text. */
static const char **place_of(struct arguments *a, int key)
{
    switch (key) {
    case KEY_MODEL:
        return &a->model;
    case KEY_PROMPT:
        return &a->prompt;
    case KEY_PROMPT_IDS:
        return &a->prompt_ids;
    case KEY_CHAT:
        return &a->chat;
    case KEY_MAX_TOKENS:
        return &a->max_tokens;
    case KEY_SEED:
        return &a->seed;
    case KEY_TEMPERATURE:
        return &a->temperature;
    case KEY_TOP_P:
        return &a->top_p;
    case KEY_TOP_K:
        return &a->top_k;
    case KEY_THREADS:
        return &a->threads;
    case KEY_BACKEND:
        return &a->backend;
    case KEY_LOGITS_OUT:
        return &a->logits_out;
    default:
        return NULL;
    }
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *a = state->input;
    const char **place = place_of(a, key);
    if (place != NULL) {
        *place = value;
        return 0;
    }
    switch (key) {
    case KEY_STOP:
        if (a->n_stop == ENGINE_STOP_MAX)
            argp_error(state, "at most %d --stop are allowed", ENGINE_STOP_MAX);
        a->stop[a->n_stop++] = value;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_END:
        if (a->model == NULL)
            argp_error(state, "--model is missing");
        if ((a->prompt != NULL) + (a->prompt_ids != NULL) + (a->chat != NULL) != 1)
            argp_error(state, "give one of --prompt, --prompt-ids and --chat");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What the sink collects. */
struct answer {
    bool json;
    struct buf text;
    json_t *ids;
    enum engine_finish finish;
    char error[256];
    uint64_t seed;
};

static void answer_cleanup(struct answer *a)
{
    buf_cleanup_secret(&a->text);
    json_decref(a->ids);
}

static void collect(void *context, const struct engine_event *event)
{
    struct answer *a = context;
    if (!a->json) {
        fwrite(event->text.data, 1, event->text.len, stdout);
        fflush(stdout);
    }
    buf_append_bytes(&a->text, event->text);
    if (event->has_token)
        json_array_append_new(a->ids, json_integer(event->token.id));
    a->finish = event->finish;
    a->seed = event->seed;
    if (event->error != NULL)
        snprintf(a->error, sizeof a->error, "%s", event->error);
}

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
    if (end == text || *end != 0)
        return err_set(ERR_USAGE, "--%s is \"%.40s\"; it must be a number", option, text);
    return err_ok();
}

static struct err read_params(const struct arguments *a, const struct engine *e,
                              struct engine_params *p)
{
    uint64_t n = 128;
    engine_params_default(e, p);
    p->stop = a->stop;
    p->n_stop = a->n_stop;
    if (a->max_tokens != NULL)
        TRY(read_number("max-tokens", a->max_tokens, 1 << 20, &n));
    if (n == 0)
        return err_set(ERR_USAGE, "--max-tokens is 0; it must be at least 1");
    p->max_tokens = (unsigned)n;
    if (a->top_k != NULL) {
        TRY(read_number("top-k", a->top_k, 1 << 30, &n));
        p->top_k = (unsigned)n;
    }
    if (a->seed != NULL) {
        TRY(read_number("seed", a->seed, UINT64_MAX, &p->seed));
        p->has_seed = true;
    }
    if (a->temperature != NULL)
        TRY(read_float("temperature", a->temperature, &p->temperature));
    if (a->top_p != NULL)
        TRY(read_float("top-p", a->top_p, &p->top_p));
    return err_ok();
}

static struct err parse_ids(const char *text, struct buf *out)
{
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        uint64_t id = 0;
        if (is_err(decimal_decode(&id, bytes_of(at, len), UINT32_MAX)))
            return err_set(ERR_USAGE, "--prompt-ids is not a list such as 1,2,3");
        uint32_t id32 = (uint32_t)id;
        buf_append(out, &id32, sizeof id32);
        at += len;
        if (*at == 0)
            return err_ok();
    }
}

static struct err chat_ids(const struct engine *e, const char *path, struct buf *out)
{
    BUF_AUTO text = BUF_INIT;
    TRY(file_read(&text, path, INPUT_MAX));
    if (text.len == 0)
        return err_set(ERR_USAGE, "%s is empty, so not JSON", path);
    json_error_t why;
    json_t *messages = json_loadb((const char *)text.data, text.len, 0, &why);
    if (messages == NULL)
        return err_set(ERR_USAGE, "%s is not JSON, line %d: %.120s", path, why.line, why.text);
    struct err err = engine_chat_tokens(e, messages, out);
    json_decref(messages);
    return err;
}

static struct err prompt_tokens(const struct arguments *a, const struct engine *e, struct buf *out)
{
    if (a->prompt_ids != NULL)
        return parse_ids(a->prompt_ids, out);
    if (a->chat != NULL)
        return chat_ids(e, a->chat, out);
    return engine_text_tokens(e, bytes_of_str(a->prompt), out);
}

static struct err write_logits(struct engine *e, const char *path, const uint32_t *tokens,
                               size_t n_tokens)
{
    size_t len = n_tokens * engine_info(e)->vocab_size * sizeof(float);
    float *logits = malloc(len);
    if (logits == NULL)
        return err_set(ERR_MEMORY, "no memory for the logits of %zu tokens", n_tokens);
    struct err err = engine_logits(e, tokens, n_tokens, logits);
    if (!is_err(err))
        err = file_write_durable(path, bytes_of(logits, len), 0600);
    free(logits);
    return err;
}

static struct err print_json(const struct answer *a, const uint32_t *prompt, size_t n_prompt)
{
    static const char *const finishes[] = {"unfinished", "stop", "length", "cancelled", "failed"};
    json_t *prompt_ids = json_array();
    for (size_t i = 0; i < n_prompt; i++)
        json_array_append_new(prompt_ids, json_integer(prompt[i]));
    json_t *root = json_pack("{s:o, s:O, s:s#, s:s}", "prompt_ids", prompt_ids, "ids", a->ids,
                             "text", a->text.len > 0 ? (const char *)a->text.data : "",
                             (int)a->text.len, "finish", finishes[a->finish]);
    /* A seed has 64 bits, more than JSON numbers carry everywhere: as text. */
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)a->seed);
    json_object_set_new(root, "seed", json_string(seed));
    int rc = root != NULL ? json_dumpf(root, stdout, JSON_COMPACT) : -1;
    json_decref(root);
    return rc == 0 ? err_ok() : err_set(ERR_IO, "cannot print the answer as JSON");
}

static struct err end_output(void)
{
    putchar('\n');
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(ERR_IO, "cannot write the answer to standard output");
    return err_ok();
}

static struct err run(const struct arguments *a, struct engine *e, struct answer *answer)
{
    BUF_AUTO prompt = BUF_INIT;
    struct engine_params params;
    uint64_t id;
    TRY(read_params(a, e, &params));
    TRY(prompt_tokens(a, e, &prompt));
    const uint32_t *tokens = (const uint32_t *)(const void *)prompt.data;
    size_t n = prompt.len / sizeof *tokens;
    TRY(engine_submit(e, &id, tokens, n, &params, collect, answer));
    while (engine_step(e)) {
        /* until the answer is complete */
    }
    if (answer->finish == ENGINE_FAILED)
        return err_set(ERR_UNTRUE, "%s", answer->error);
    if (a->logits_out != NULL)
        TRY(write_logits(e, a->logits_out, tokens, n));
    if (a->json)
        TRY(print_json(answer, tokens, n));
    return end_output();
}

static struct err open_and_run(const struct arguments *a)
{
    uint64_t n_threads = 0;
    if (a->threads != NULL)
        TRY(read_number("threads", a->threads, 1024, &n_threads));
    struct engine_options options = {
        .n_threads = (unsigned)n_threads, .max_requests = 1, .backend = a->backend};
    struct engine *e = NULL;
    TRY(engine_open(&e, a->model, &options));
    struct answer answer
        __attribute__((cleanup(answer_cleanup))) = {.json = a->json, .ids = json_array()};
    struct err err = run(a, e, &answer);
    engine_free(e);
    return err;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        option_list, parse_option, NULL, "Run one prompt through a model.", NULL, NULL, NULL};
    struct arguments arguments = {0};
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct err err = open_and_run(&arguments);
    if (!is_err(err))
        return EXIT_SUCCESS;
    fprintf(stderr, "blindllama-generate: %s\n", err_message());
    return err.code == ERR_UNTRUE ? EXIT_FAILED : EXIT_USAGE;
}
