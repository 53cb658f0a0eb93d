/*
 * How near the engine comes to what bounds it: the bytes that a decoded token reads against a plain
 * read of memory; a batch of 8 against one request alone, and against what reading and arithmetic
 * allow; the arithmetic of a prefill against dot products in registers. Random weights of real
 * models' shapes, or a model folder; one thread, and one per CPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/bench.h"
#include "bench/bench_model.h"
#include "bench/probes.h"
#include "engine/engine_internal.h"

enum { PROMPT_LEN = 512, BATCH = 8, N_TOKENS = 32 };
enum { READ_LEN = 512 << 20 }; /* of the read probe: many times what any cache holds */

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

/* What is asked of the engine at once. */
struct load {
    unsigned n, n_tokens;
    size_t n_prompt;
    unsigned seed; /* another one gives other prompts */
};

/* Seconds of requests that run together; the hash of their tokens. */
static double generate(struct engine *e, const struct load *load, char hash[17])
{
    struct engine_params params;
    engine_params_default(e, &params);
    params.temperature = 0;
    params.max_tokens = load->n_tokens;
    params.ignore_eos = true;
    uint32_t prompt[PROMPT_LEN];
    for (size_t i = 0; i < load->n_prompt; i++)
        prompt[i] = (uint32_t)((i * 7919 + 17) % engine_info(e)->vocab_size);
    struct answers a = {sha256_new(), load->n};
    for (unsigned i = 0; i < load->n; i++) {
        uint64_t id;
        prompt[0] = 20 + i + BATCH * load->seed; /* no prompt begins as another does */
        must(engine_submit(e, &id, prompt, load->n_prompt, &params, take_event, &a));
    }
    double start = seconds_now();
    while (a.n_open > 0)
        engine_step(e);
    double seconds = seconds_now() - start;
    hash_text(hash, a.hash);
    return seconds;
}

static uint64_t weight_bytes(const struct engine *e)
{
    const struct engine_info *info = &e->info;
    uint64_t n = 0;
    for (size_t i = 0; i < info->n_files; i++)
        if (strstr(info->files[i].name, ".safetensors") != NULL &&
            strstr(info->files[i].name, ".json") == NULL)
            n += info->files[i].size;
    return n;
}

/* Bytes read for one token while `n_tokens` are decoded after a prompt of one: all weights but an
 * embedding matrix that is not the output's too, and the cache up to there. */
static double bytes_per_token(const struct engine *e, unsigned n_tokens)
{
    const struct model_config *c = &e->config;
    double weights = (double)weight_bytes(e);
    if (!c->tied)
        weights *= 1 - (double)c->vocab_size * c->hidden_size / (double)e->info.n_parameters;
    double position = 2.0 * c->n_layers * c->n_kv_heads * c->head_dim * sizeof(float);
    return weights + position * (n_tokens + 1) / 2;
}

/* Operations of a prefill: two for every weight of the layers' matrices and every row, the output
 * matrix for one row, and attention's two products over the positions before each row. */
static double prefill_operations(const struct engine *e)
{
    const struct model_config *c = &e->config;
    double q = (double)c->n_heads * c->head_dim, kv = (double)c->n_kv_heads * c->head_dim;
    double layer = c->hidden_size * (2 * q + 2 * kv + 3.0 * c->intermediate_size);
    double positions = PROMPT_LEN * (PROMPT_LEN + 1) / 2.0;
    return 2 * (c->n_layers * (layer * PROMPT_LEN + 2 * q * positions) +
                (double)c->hidden_size * c->vocab_size);
}

/* The best that the set of instructions in use could do with one dot product after another. */
static double peak(const struct engine *e)
{
    const char *name = e->model.backend->name;
    if (strcmp(name, "avx512bf16") == 0)
        return probe_dot(e->pool);
    bool wide = strcmp(name, "avx2") != 0 && __builtin_cpu_supports("avx512f");
    return probe_fma(e->pool, wide ? 16 : 8);
}

/* One value a round of each. */
struct rates {
    struct series read, peak;                  /* bounds: bytes and operations a second */
    struct series decoded, decode_1, decode_8; /* bytes; tokens */
    struct series speedup, bound, prefill;     /* of 8 over 1, and what it could be; operations */
    char hash_1[17], hash_8[17], hash_prefill[17];
};

/* A batch reads the weights once and multiplies them for each row: whichever takes longer. */
static double batch_bound(const struct engine *e, double read, double peak)
{
    double operations_per_byte = 2.0 * (double)e->info.n_parameters / (double)weight_bytes(e);
    double bound = peak / (read * operations_per_byte);
    return bound < BATCH ? bound : BATCH;
}

static void same_as_before(const char *hash, const char *before)
{
    if (strcmp(hash, before) != 0)
        must(err_set(ERR_UNTRUE, "the same requests gave other tokens in another round"));
}

static void measure_round(struct rates *r, struct engine *e, const uint8_t *data, size_t len,
                          unsigned n_tokens, unsigned round)
{
    char hash_1[17], hash_8[17], hash[17];
    struct load one = {1, n_tokens, 1, 0}, eight = {BATCH, n_tokens, 1, 0};
    struct load prefill = {1, 1, PROMPT_LEN, round};
    double read = probe_read(e->pool, data, len), best = peak(e);
    double decode_1 = n_tokens / generate(e, &one, hash_1);
    double decode_8 = BATCH * n_tokens / generate(e, &eight, hash_8);
    double prefill_s = generate(e, &prefill, hash);
    series_add(&r->read, read);
    series_add(&r->peak, best);
    series_add(&r->decoded, decode_1 * bytes_per_token(e, n_tokens));
    series_add(&r->decode_1, decode_1);
    series_add(&r->decode_8, decode_8);
    series_add(&r->speedup, decode_8 / decode_1);
    series_add(&r->bound, batch_bound(e, read, best));
    series_add(&r->prefill, prefill_operations(e) / prefill_s);
    if (round == 0) {
        memcpy(r->hash_1, hash_1, sizeof hash_1);
        memcpy(r->hash_8, hash_8, sizeof hash_8);
        memcpy(r->hash_prefill, hash, sizeof hash);
    }
    same_as_before(hash_1, r->hash_1);
    same_as_before(hash_8, r->hash_8);
}

static void report(struct results *r, const struct rates *v)
{
    results_add_series(r, "plain read", &v->read, 1e-9, "GB/s", NULL, NULL, NULL);
    results_add_series(r, "dot-product peak", &v->peak, 1e-9, "GFLOP/s", NULL, NULL, NULL);
    results_add_series(r, "decode, batch 1", &v->decoded, 1e-9, "GB/s", "plain read", &v->read,
                       v->hash_1);
    results_add_series(r, "decode, batch 1, tokens", &v->decode_1, 1, "token/s", NULL, NULL,
                       v->hash_1);
    results_add_series(r, "decode, batch 8, tokens", &v->decode_8, 1, "token/s", "batch 1, tokens",
                       &v->decode_1, v->hash_8);
    results_add_series(r, "batch 8 over batch 1", &v->speedup, 1, "times",
                       "what plain read and peak allow", &v->bound, v->hash_8);
    results_add_series(r, "prefill of 512", &v->prefill, 1e-9, "GFLOP/s", "dot-product peak",
                       &v->peak, v->hash_prefill);
}

static void measure_engine(struct results *r, const struct bench_options *o, struct engine *e,
                           unsigned n_tokens)
{
    struct rates *rates = calloc(1, sizeof *rates);
    size_t len = weight_bytes(e) < READ_LEN ? (size_t)weight_bytes(e) : READ_LEN;
    uint8_t *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (rates == NULL || data == MAP_FAILED)
        must(err_set(ERR_MEMORY, "no memory for the read probe"));
    madvise(data, len, MADV_HUGEPAGE); /* as the weights have */
    memset(data, 1, len);
    for (unsigned round = 0; round < o->n_rounds; round++)
        measure_round(rates, e, data, len, n_tokens, round);
    report(r, rates);
    munmap(data, len);
    free(rates);
}

static void run(struct results *r, const struct bench_options *o, const char *model,
                const char *name, unsigned n_threads, unsigned n_tokens)
{
    struct engine *e;
    struct engine_options options = {
        .n_threads = n_threads, .max_requests = BATCH, .backend = o->backend};
    must(engine_open(&e, model, &options));
    unsigned n = pool_n_threads(e->pool);
    results_group(r, "engine, %s (%.0f MB), %s, %u thread%s", name, (double)weight_bytes(e) / 1e6,
                  e->info.numerics, n, n > 1 ? "s" : "");
    measure_engine(r, o, e, n_tokens);
    engine_free(e);
}

static void run_threads(struct results *r, const struct bench_options *o, const char *model,
                        const char *name, unsigned n_tokens)
{
    if (o->n_threads > 0) {
        run(r, o, model, name, o->n_threads, n_tokens);
        return;
    }
    run(r, o, model, name, 1, n_tokens);
    if (pool_cpus() > 1)
        run(r, o, model, name, pool_cpus(), n_tokens);
}

static void run_shape(struct results *r, const struct bench_options *o, const struct bench_shape *s)
{
    uint64_t len = bench_shape_len(s);
    char folder[200];
    must(bench_room_check(o->folder, len, len + READ_LEN + ((uint64_t)1 << 30)));
    must(bench_folder_make(folder, o->folder));
    must(bench_model_write(folder, s));
    run_threads(r, o, folder, s->name, s->n_tokens);
    bench_folder_remove(folder);
}

void bench_engine(struct results *r, const struct bench_options *o)
{
    if (o->backend != NULL && strcmp(o->backend, "cuda") == 0)
        bench_engine_gpu(r, o);
    else if (o->model != NULL)
        run_threads(r, o, o->model, o->model, N_TOKENS);
    else if (o->shape != NULL || o->tiny)
        run_shape(r, o, bench_shape_named(o->tiny ? "tiny" : o->shape));
    else
        for (size_t i = 0; bench_shape_at(i) != NULL; i++)
            run_shape(r, o, bench_shape_at(i));
}
