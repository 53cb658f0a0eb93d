#include "bench/gemm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/kernel_set.h"

enum { SAMPLES = 96, BEFORE = 0x3f }; /* 3f3f3f3f is 0.747: what matmul_add adds to */

static const struct gemm_shape llama_8b[GEMM_SHAPES] = {{"q, k and v", GEMM_STORE, 6144, 4096},
                                                        {"o", GEMM_ADD, 4096, 4096},
                                                        {"gate and up", GEMM_SILU, 28672, 4096},
                                                        {"down", GEMM_ADD, 4096, 14336}};
static const struct gemm_shape small[GEMM_SHAPES] = {{"q, k and v", GEMM_STORE, 144, 72},
                                                     {"o", GEMM_ADD, 72, 128},
                                                     {"gate and up", GEMM_SILU, 160, 72},
                                                     {"down", GEMM_ADD, 72, 80}};

const struct gemm_shape *gemm_shape(size_t i, bool tiny)
{
    return tiny ? &small[i] : &llama_8b[i];
}

static struct gpu_tensor_map map_of(const struct rig *r, struct gpu_address at, uint64_t n_rows,
                                    uint64_t n_cols, unsigned box_rows, bool read_once)
{
    struct gpu_tensor_map map;
    const struct gpu_tensor t = {.base = at,
                                 .type = GPU_TENSOR_BF16,
                                 .swizzle = GPU_SWIZZLE_128,
                                 .rank = 2,
                                 .dims = {n_cols, n_rows},
                                 .strides = {n_cols * 2},
                                 .box = {MATMUL_K, box_rows},
                                 .read_once = read_once};
    must(r->driver->tensor_map(r->gpu, &map, &t));
    return map;
}

void gemm_init(struct gemm *g, struct rig *r, const struct gemm_shape *shape, uint32_t n_rows_max,
               size_t n_inputs)
{
    *g = (struct gemm){.r = r, .shape = shape, .n_rows_max = n_rows_max, .n_inputs = n_inputs};
    for (size_t i = 0; i < n_inputs; i++) {
        g->x[i] = rig_random(r, (size_t)n_rows_max * shape->n_cols);
        g->w[i] = rig_random(r, (size_t)shape->n_out * shape->n_cols);
    }
    g->out = rig_alloc(r, (size_t)n_rows_max * shape->n_out * sizeof(float));
}

static const struct kernel_set *const set = &kernel_set_sm90;

/* The last with so many rows; 0: what the engine takes. */
static unsigned tile_for(const struct gemm *g, unsigned tile_rows)
{
    for (unsigned i = set->n_tiles; i-- > 0;)
        if (set->tiles[i].n_rows == tile_rows)
            return i;
    return kernel_set_matmul_tile(set, g->r->info.n_multiprocessors, g->shape->n_out, g->n_rows);
}

static struct gpu_launch launch_of(const struct gemm *g)
{
    return kernel_set_matmul(set, g->r->info.n_multiprocessors, g->tile, g->shape->n_out,
                             g->n_rows);
}

void gemm_set(struct gemm *g, enum gemm_kind kind, uint32_t n_rows, unsigned tile_rows)
{
    static const char *const names[] = {"store", "add", "silu"};
    char name[KERNEL_NAME_MAX];
    const struct gemm_shape *s = g->shape;
    g->kind = kind;
    g->n_rows = n_rows;
    g->tile = tile_for(g, tile_rows);
    const struct matmul_tile *t = &set->tiles[g->tile];
    for (size_t i = 0; i < g->n_inputs; i++)
        g->args[i] = (struct cuda_matmul_args){
            .w = map_of(g->r, g->w[i], s->n_out, s->n_cols, t->n_outs,
                        kernel_set_matmul_few(set, g->tile)),
            .x = map_of(g->r, g->x[i], g->n_rows_max, s->n_cols, t->n_rows, false),
            .y = kind == GEMM_ADD ? NULL : rig_pointer(g->out),
            .sum_into = kind == GEMM_ADD ? rig_pointer(g->out) : NULL,
            .n_rows = n_rows,
            .n_out = s->n_out,
            .n_cols = s->n_cols};
    kernel_set_matmul_name(name, set, names[kind], g->tile);
    for (int code = 0; code < RIG_PROBES; code++)
        if (g->r->modules[code] != NULL)
            g->kernels[code] = rig_kernel(g->r, (enum rig_code)code, name, launch_of(g).shared_len);
}

void gemm_launch(const struct gemm *g, enum rig_code code, size_t turn)
{
    const struct gpu_launch how = launch_of(g);
    must(g->r->driver->launch(g->r->stream, g->kernels[code], &how, &g->args[turn % g->n_inputs],
                              sizeof g->args[0]));
}

void gemm_run(void *context, size_t turn)
{
    const struct gemm_run *run = context;
    gemm_launch(run->gemm, run->code, turn);
}

double gemm_operations(const struct gemm *g)
{
    return 2.0 * g->n_rows * g->shape->n_out * g->shape->n_cols;
}

double gemm_weight_bytes(const struct gemm *g)
{
    return 2.0 * g->shape->n_out * g->shape->n_cols;
}

/* --- what must be true before a time is taken --- */

static double widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return (double)out;
}

static size_t n_results(const struct gemm *g)
{
    return (size_t)g->n_rows * (g->kind == GEMM_SILU ? g->shape->n_out / 2 : g->shape->n_out);
}

static size_t results_len(const struct gemm *g)
{
    return n_results(g) * (g->kind == GEMM_ADD ? sizeof(float) : sizeof(uint16_t));
}

/* A row of x times a row of w, of the first inputs. */
static double product(const struct gemm *g, size_t row, size_t out)
{
    const size_t len = g->shape->n_cols * sizeof(uint16_t);
    uint16_t *x = malloc(2 * len), *w = x + g->shape->n_cols;
    double sum = 0;
    if (x == NULL)
        must(err_set(ERR_MEMORY, "no memory for two rows"));
    rig_get(g->r, x, (struct gpu_address){g->x[0].at + row * len}, len);
    rig_get(g->r, w, (struct gpu_address){g->w[0].at + out * len}, len);
    for (size_t i = 0; i < g->shape->n_cols; i++)
        sum += widen(x[i]) * widen(w[i]);
    free(x);
    return sum;
}

static double expected(const struct gemm *g, size_t row, size_t at)
{
    float before;
    memset(&before, BEFORE, sizeof before);
    if (g->kind == GEMM_STORE)
        return product(g, row, at);
    if (g->kind == GEMM_ADD)
        return (double)before + product(g, row, at);
    double gate = product(g, row, at / 8 * 16 + at % 8),
           up = product(g, row, at / 8 * 16 + 8 + at % 8);
    return gate / (1 + exp(-gate)) * up;
}

static double result_at(const struct gemm *g, const void *results, size_t i)
{
    return g->kind == GEMM_ADD ? (double)((const float *)results)[i]
                               : widen(((const uint16_t *)results)[i]);
}

/* The first and the last, and others anywhere. bf16 rounds to 2^-9 of a number; sums of thousands
 * in float, each step cut toward zero, stay far below 1e-4. */
static void check_sample(const struct gemm *g, const void *results, const char *whose)
{
    const size_t n = n_results(g), n_cols = n / g->n_rows;
    const double most = g->kind == GEMM_ADD ? 1e-4 : 4e-3;
    double error = 0, size = 0;
    uint64_t random = 7;
    for (size_t i = 0; i < SAMPLES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t at = i == 0 ? 0 : i == 1 ? n - 1 : (size_t)((random >> 11) % n);
        double want = expected(g, at / n_cols, at % n_cols), by = result_at(g, results, at) - want;
        error += by * by;
        size += want * want;
    }
    if (!(sqrt(error / size) < most))
        must(err_set(ERR_UNTRUE,
                     "%s, %s of %u rows: results are %.2g off, relative; %.2g is the most", whose,
                     g->shape->name, g->n_rows, sqrt(error / size), most));
}

/* What a result holds before it is written; a NaN that is computed has other bits. */
static void check_written(const struct gemm *g, const void *results, const char *whose)
{
    const size_t n = n_results(g);
    size_t left = 0;
    uint32_t before;
    memset(&before, BEFORE, sizeof before);
    for (size_t i = 0; i < n; i++)
        left += g->kind == GEMM_ADD ? ((const uint32_t *)results)[i] == before
                                    : ((const uint16_t *)results)[i] == 0xffff;
    if (left > (g->kind == GEMM_ADD ? n / 1000 : 0)) /* a sum may be 0 */
        must(err_set(ERR_UNTRUE, "%s, %s of %u rows: %zu of %zu results were not written", whose,
                     g->shape->name, g->n_rows, left, n));
}

void gemm_check_results(const struct gemm *g, const char *whose, char hash[17])
{
    const size_t len = results_len(g);
    void *results = malloc(len);
    struct sha256_stream *stream = sha256_new();
    if (results == NULL)
        must(err_set(ERR_MEMORY, "no memory for results"));
    rig_get(g->r, results, g->out, len);
    check_written(g, results, whose);
    check_sample(g, results, whose);
    sha256_update(stream, bytes_of(results, len));
    hash_text(hash, stream);
    free(results);
}

void gemm_check(const struct gemm *g, enum rig_code code, char hash[17])
{
    rig_fill(g->r, g->out, g->kind == GEMM_ADD ? BEFORE : 0xff, results_len(g));
    gemm_launch(g, code, 0);
    must(g->r->driver->stream_wait(g->r->stream));
    gemm_check_results(g, code == RIG_EXACT ? "the product" : "the inexact product", hash);
}
