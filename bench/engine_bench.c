/*
 * How near the engine comes to what bounds it, as ratios of numbers measured in turn in one run:
 * the bytes of weights that a decoded token reads against a plain read of as many bytes; a batch of
 * 8 against one request alone; prefill against decode. Prints a hash of what was generated, which
 * must not change from run to run.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/hash.h"
#include "engine/engine.h"

enum { ROUNDS = 5, N_TOKENS = 128, PROMPT_LEN = 256, BATCH = 8 };

struct options {
    const char *model;
    unsigned n_threads;
};

static void must(struct err e)
{
    if (!is_err(e))
        return;
    fprintf(stderr, "engine_bench: %s\n", err_message());
    exit(2);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

/* Bytes a second of reading `len` bytes over and over, on one core: the roof of a decode step. */
static double read_rate(const uint64_t *data, size_t len)
{
    uint64_t lanes[8] = {0};
    unsigned n_passes = 0;
    double start = now_s(), end;
    do {
        for (size_t i = 0; i + 8 <= len / 8; i += 8)
            for (size_t k = 0; k < 8; k++)
                lanes[k] += data[i + k];
        n_passes++;
        end = now_s();
    } while (end - start < 0.2);
    volatile uint64_t sink = 0; /* the sums must be wanted, or the loop would be dropped */
    for (size_t k = 0; k < 8; k++)
        sink ^= lanes[k];
    return (double)n_passes * (double)len / (end - start);
}

struct answers {
    struct sha256_stream *hash;
    unsigned n_open;
};

static void take_event(void *context, const struct engine_event *event)
{
    struct answers *a = context;
    if (event->has_token)
        sha256_update(a->hash, bytes_of(&event->token.id, sizeof event->token.id));
    a->n_open -= event->finish != ENGINE_UNFINISHED;
}

/* Tokens a second of `n` requests of `n_prompt` and `n_tokens` tokens that run together. */
static double generate(struct engine *e, struct answers *a, unsigned n, size_t n_prompt,
                       unsigned n_tokens)
{
    struct engine_params params;
    engine_params_default(e, &params);
    params.temperature = 0;
    params.max_tokens = n_tokens;
    params.ignore_eos = true;
    uint32_t prompt[PROMPT_LEN];
    for (size_t i = 0; i < n_prompt; i++)
        prompt[i] = (uint32_t)((i * 7919 + 17) % engine_info(e)->vocab_size);
    a->n_open = n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t id;
        prompt[0] = 20 + i;
        must(engine_submit(e, &id, prompt, n_prompt, &params, take_event, a));
    }
    double start = now_s();
    while (a->n_open > 0)
        engine_step(e);
    return (double)n * ((double)n_tokens + (double)n_prompt) / (now_s() - start);
}

static uint64_t weight_bytes(const struct engine_info *info)
{
    uint64_t n = 0;
    for (size_t i = 0; i < info->n_files; i++)
        if (strstr(info->files[i].name, ".safetensors") != NULL)
            n += info->files[i].size;
    return n;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;
    if (key == 'm')
        o->model = value;
    else if (key == 't')
        o->n_threads = (unsigned)atoi(value);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option known[] = {
        {"model", 'm', "DIR", 0, "Default models/demo", 0},
        {"threads", 't', "N", 0, "Default 1: the roof is one core's", 0},
        {0}};
    static const struct argp argp = {known, parse, NULL, "Engine benchmark", NULL, NULL, NULL};
    struct options o = {"models/demo", 1};
    argp_parse(&argp, argc, argv, 0, NULL, &o);

    struct engine *e;
    struct engine_options options = {.n_threads = o.n_threads, .max_requests = BATCH};
    must(engine_open(&e, o.model, &options));
    size_t len = (size_t)weight_bytes(engine_info(e));
    uint64_t *data = malloc(len);
    if (data == NULL)
        return 2;
    memset(data, 1, len);

    struct answers a = {sha256_new(), 0};
    double roof[ROUNDS], one[ROUNDS], eight[ROUNDS], prefill[ROUNDS];
    for (unsigned r = 0; r < ROUNDS; r++) {
        roof[r] = read_rate(data, len);
        one[r] = generate(e, &a, 1, 1, N_TOKENS);
        eight[r] = generate(e, &a, BATCH, 1, N_TOKENS);
        prefill[r] = generate(e, &a, 1, PROMPT_LEN, 1);
    }
    double roof_s = median(roof), one_s = median(one), eight_s = median(eight);
    double prefill_s = median(prefill);
    uint8_t hash[SHA256_LEN];
    sha256_final(a.hash, hash);
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(hash, 8));
    printf("{\"bench\":\"engine\",\"numerics\":\"%s\",\"threads\":%u,\"weight_bytes\":%zu,\n"
           " \"decode_read_rate_over_plain_read\":%.3f,\n"
           " \"batch_8_over_batch_1\":%.2f,\n"
           " \"prefill_over_decode\":%.2f,\n"
           " \"decode_tokens_per_s\":%.0f,\"plain_read_gb_per_s\":%.1f,\"output\":\"%s\"}\n",
           engine_info(e)->numerics, o.n_threads, len, one_s * (double)len / roof_s,
           eight_s / one_s, prefill_s / one_s, one_s, roof_s / 1e9, buf_str(&hex));
    sha256_free(a.hash);
    free(data);
    engine_free(e);
    return 0;
}
