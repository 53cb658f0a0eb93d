/*
 * How near the engine comes to what bounds it, as ratios of numbers measured in turn in one run:
 * the bytes of weights that a decoded token reads against a plain read of as many bytes; a batch of
 * 8 against one request alone; the arithmetic of a prefill against fused multiply-adds in
 * registers, or dot products of bf16 where the kernel set uses them. Prints a hash of what was
 * generated, which must not change from run to run. Without
 * --model, random weights of SmolLM2-135M's shapes in a temporary folder.
 */
#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/bench_model.h"
#include "bench/probes.h"
#include "common/hash.h"
#include "engine/engine_internal.h"

enum { ROUNDS = 7, PROBES = 5, N_TOKENS = 32, PROMPT_LEN = 512, BATCH = 8 };

struct options {
    const char *model, *backend, *json;
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

static double larger(double a, double b)
{
    return a > b ? a : b;
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

/* Seconds of `n` requests of `n_prompt` and `n_tokens` tokens that run together. */
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
    return now_s() - start;
}

static uint64_t weight_bytes(const struct engine_info *info)
{
    uint64_t n = 0;
    for (size_t i = 0; i < info->n_files; i++)
        if (strstr(info->files[i].name, ".safetensors") != NULL)
            n += info->files[i].size;
    return n;
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

/* The best of all rounds: what else the machine does only makes them smaller. */
struct rates {
    double read, fma; /* roofs: bytes and operations a second, by the set's own instruction */
    double decode_1, decode_8, prefill_512; /* tokens, tokens, operations a second */
};

static struct rates measure(struct engine *e, struct answers *a)
{
    struct rates r = {0};
    size_t len = (size_t)weight_bytes(engine_info(e));
    uint8_t *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        must(err_set(ERR_MEMORY, "no memory for the read probe"));
    madvise(data, len, MADV_HUGEPAGE); /* as the weights have */
    memset(data, 1, len);
    unsigned n_lanes =
        strcmp(engine_info(e)->numerics, "avx2-1") != 0 && __builtin_cpu_supports("avx512f") ? 16
                                                                                             : 8;
    bool dots = strcmp(engine_info(e)->numerics, "avx512bf16-1") == 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned j = 0; j < PROBES; j++) {
            r.read = larger(r.read, probe_read(e->pool, data, len));
            r.fma = larger(r.fma, dots ? probe_dot(e->pool) : probe_fma(e->pool, n_lanes));
        }
        r.decode_1 = larger(r.decode_1, N_TOKENS / generate(e, a, 1, 1, N_TOKENS));
        r.decode_8 = larger(r.decode_8, BATCH * N_TOKENS / generate(e, a, BATCH, 1, N_TOKENS));
        r.prefill_512 =
            larger(r.prefill_512, prefill_operations(e) / generate(e, a, 1, PROMPT_LEN, 1));
    }
    munmap(data, len);
    return r;
}

/* `of`: the entry that `value` is compared with, NULL for a roof. */
static void add_result(json_t *list, const char *name, double value, const char *unit,
                       const char *of, double ratio)
{
    json_array_append_new(list, json_pack("{s:s, s:f, s:s, s:s?, s:o}", "name", name, "value",
                                          value, "unit", unit, "of", of, "ratio",
                                          of != NULL ? json_real(ratio) : json_null()));
    printf("%-16s %10.3f %-9s", name, value, unit);
    if (of != NULL)
        printf(" %6.3f of %s", ratio, of);
    putchar('\n');
}

static json_t *results(const struct rates *r, double weight_len, const char *peak)
{
    json_t *list = json_array();
    double decoded = r->decode_1 * weight_len;
    add_result(list, "plain_read", r->read / 1e9, "GB/s", NULL, 0);
    add_result(list, peak, r->fma / 1e9, "GFLOP/s", NULL, 0);
    add_result(list, "decode_batch_1", decoded / 1e9, "GB/s", "plain_read", decoded / r->read);
    add_result(list, "decode_tokens_1", r->decode_1, "token/s", NULL, 0);
    add_result(list, "decode_tokens_8", r->decode_8, "token/s", "decode_tokens_1",
               r->decode_8 / r->decode_1);
    add_result(list, "prefill_512", r->prefill_512 / 1e9, "GFLOP/s", peak, r->prefill_512 / r->fma);
    return list;
}

static void run(const struct options *o, const char *model)
{
    struct engine *e;
    struct engine_options options = {
        .n_threads = o->n_threads, .max_requests = BATCH, .backend = o->backend};
    must(engine_open(&e, model, &options));
    const struct engine_info *info = engine_info(e);
    printf("engine: numerics %s, %u threads, %.0f MB of weights\n", info->numerics,
           pool_n_threads(e->pool), (double)weight_bytes(info) / 1e6);
    struct answers a = {sha256_new(), 0};
    struct rates r = measure(e, &a);
    const char *peak = strcmp(info->numerics, "avx512bf16-1") == 0 ? "dot_peak" : "fma_peak";
    json_t *list = results(&r, (double)weight_bytes(info), peak);
    uint8_t hash[SHA256_LEN];
    sha256_final(a.hash, hash);
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(hash, 8));
    printf("output %s\n", buf_str(&hex));
    if (o->json != NULL && json_dump_file(list, o->json, JSON_INDENT(1)) != 0)
        must(err_set(ERR_IO, "cannot write %s", o->json));
    json_decref(list);
    sha256_free(a.hash);
    engine_free(e);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;
    if (key == 'm')
        o->model = value;
    else if (key == 't')
        o->n_threads = (unsigned)atoi(value);
    else if (key == 'b')
        o->backend = value;
    else if (key == 'j')
        o->json = value;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option known[] = {
        {"model", 'm', "DIR", 0, "Default: random weights of SmolLM2-135M's shapes", 0},
        {"backend", 'b', "NAME", 0, "Default: the machine's best", 0},
        {"threads", 't', "N", 0, "Default: one per CPU", 0},
        {"json", 'j', "FILE", 0, "Write the list of results there", 0},
        {0}};
    static const struct argp argp = {known, parse, NULL, "Engine benchmark", NULL, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.model != NULL) {
        run(&o, o.model);
        return 0;
    }
    char dir[] = "/tmp/engine_bench.XXXXXX";
    if (mkdtemp(dir) == NULL)
        must(err_errno("cannot make a temporary folder"));
    struct err err = bench_model_write(dir, "models/demo");
    if (!is_err(err))
        run(&o, dir);
    bench_model_remove(dir);
    must(err);
    return 0;
}
