#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

#include "kernels/ref/lanes.h"

/* Work below these is not worth another thread. */
enum { GRAIN_ELEMENTS = 8192, GRAIN_COLUMNS = 64 };

extern const struct lanes lanes_baseline;
#if KERNELS_X86
extern const struct lanes lanes_avx2, lanes_avx512;
#endif

size_t lanes_all(const struct lanes *out[LANES_VARIANTS_MAX])
{
    size_t n = 0;
    out[n++] = &lanes_baseline;
#if KERNELS_X86
    if (__builtin_cpu_supports("avx2"))
        out[n++] = &lanes_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        out[n++] = &lanes_avx512;
#endif
    return n;
}

const struct lanes *lanes_best(void)
{
    const struct lanes *all[LANES_VARIANTS_MAX];
    return all[lanes_all(all) - 1];
}

/* The arguments of any operation here, as its threads see them. */
struct job {
    const struct lanes *lanes;
    float *out;
    const float *x, *y;
    const struct weight *w;
    const uint32_t *tokens;
    size_t n_rows, n_cols;
    float eps;
};

static void embed_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    size_t n_cols = j->w->n_cols, row_len = n_cols * weight_type_size(j->w->type);
    for (size_t r = begin; r < end; r++)
        j->lanes->widen(j->out + r * n_cols, (const uint8_t *)j->w->data + j->tokens[r] * row_len,
                        j->w->type, n_cols);
}

static void embed(struct pool *pool, float *out, const struct weight *w, const uint32_t *tokens,
                  size_t n_rows)
{
    struct job j = {.lanes = lanes_best(), .out = out, .w = w, .tokens = tokens};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / w->n_cols, embed_rows, &j);
}

static void rmsnorm_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    for (size_t r = begin; r < end; r++) {
        const float *x = j->x + r * j->n_cols;
        float *out = j->out + r * j->n_cols;
        float mean = j->lanes->sum_squares(x, j->n_cols) / (float)j->n_cols;
        float scale = 1.0f / sqrtf(mean + j->eps);
        for (size_t i = 0; i < j->n_cols; i++)
            out[i] = (x[i] * scale) * j->y[i];
    }
}

static void rmsnorm(struct pool *pool, float *out, const float *x, const float *weight,
                    size_t n_rows, size_t n_cols, float eps)
{
    struct job j = {
        .lanes = lanes_best(), .out = out, .x = x, .y = weight, .n_cols = n_cols, .eps = eps};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / n_cols, rmsnorm_rows, &j);
}

static void matmul_columns(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    j->lanes->matmul(j->out, j->x, j->w, j->n_rows, begin, end);
}

static void silu_mul_part(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    j->lanes->silu_mul(j->out + begin, j->x + begin, end - begin);
}

static void silu_mul(struct pool *pool, float *gate, const float *up, size_t n)
{
    struct job j = {.lanes = lanes_best(), .out = gate, .x = up};
    pool_run(pool, n, GRAIN_ELEMENTS, silu_mul_part, &j);
}

static void add_part(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    for (size_t i = begin; i < end; i++)
        j->out[i] = j->out[i] + j->x[i];
}

static void add(struct pool *pool, float *x, const float *y, size_t n)
{
    struct job j = {.out = x, .x = y};
    pool_run(pool, n, GRAIN_ELEMENTS, add_part, &j);
}

static void add_bias_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    for (size_t r = begin; r < end; r++)
        for (size_t i = 0; i < j->n_cols; i++)
            j->out[r * j->n_cols + i] = j->out[r * j->n_cols + i] + j->x[i];
}

static void add_bias(struct pool *pool, float *x, const float *bias, size_t n_rows, size_t n_cols)
{
    struct job j = {.out = x, .x = bias, .n_cols = n_cols};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / n_cols, add_bias_rows, &j);
}

static void multiply(struct pool *pool, const struct matmul_args *args,
                     const struct matmul_output *out)
{
    struct job j = {
        .lanes = lanes_best(), .out = out->y, .x = args->x, .w = out->w, .n_rows = args->n_rows};
    size_t n = out->w->n_rows;
    pool_run(pool, n, GRAIN_COLUMNS, matmul_columns, &j);
    if (out->bias != NULL)
        add_bias(pool, out->y, out->bias, args->n_rows, n);
    if (out->add_to != NULL)
        add(pool, out->add_to, out->y, args->n_rows * n);
}

static void matmul(struct pool *pool, const struct matmul_args *args)
{
    for (size_t i = 0; i < args->n_outputs; i++)
        multiply(pool, args, &args->outputs[i]);
    if (args->is_gated)
        silu_mul(pool, args->outputs[0].y, args->outputs[1].y,
                 args->n_rows * args->outputs[0].w->n_rows);
}

/* The first n_turned elements of a head by the angles of a position, the others as they are; to may
 * be from. */
static void turn(const struct rope_args *a, float *to, const float *from, size_t position)
{
    size_t half = a->n_turned / 2;
    const float *c = a->cos_sin + position * 2 * half, *s = c + half;
    for (size_t d = 0; d < half; d++) {
        float first = from[d], second = from[half + d];
        to[d] = first * c[d] - second * s[d];
        to[half + d] = second * c[d] + first * s[d];
    }
    if (to != from)
        memcpy(to + 2 * half, from + 2 * half, (a->cache->head_dim - 2 * half) * sizeof *to);
}

/* A key head and its values, to their places in the cache. */
static void store_head(const struct rope_args *a, size_t row, size_t head)
{
    const struct kv_cache *c = a->cache;
    size_t position = a->rows[row].position;
    size_t page = a->rows[row].page_table[position / KV_PAGE_TOKENS];
    size_t to = (head * KV_PAGE_TOKENS + position % KV_PAGE_TOKENS) * c->head_dim;
    size_t from = (row * c->n_kv_heads + head) * c->head_dim;
    turn(a, kv_cache_keys(c, page, a->layer) + to, a->k + from, position);
    memcpy(kv_cache_values(c, page, a->layer) + to, a->v + from, c->head_dim * sizeof *a->v);
}

/* Items are heads: a row's queries, then its keys. */
static void rope_heads(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct rope_args *a = context;
    size_t n = a->n_heads + a->cache->n_kv_heads;
    for (size_t i = begin; i < end; i++) {
        size_t row = i / n, head = i % n;
        float *q = a->q + (row * a->n_heads + head) * a->cache->head_dim;
        if (head < a->n_heads)
            turn(a, q, q, a->rows[row].position);
        else
            store_head(a, row, head - a->n_heads);
    }
}

static void rope_write(struct pool *pool, const struct rope_args *args)
{
    struct rope_args copy = *args; /* a pool's context is not const */
    pool_run(pool, args->n_rows * (args->n_heads + args->cache->n_kv_heads),
             1 + GRAIN_ELEMENTS / args->cache->head_dim, rope_heads, &copy);
}

const struct backend backend_ref = {
    .name = "ref",
    .numerics = "ref-1",
    .embed = embed,
    .rmsnorm = rmsnorm,
    .matmul = matmul,
    .rope_write = rope_write,
    .attention = ref_attention,
};
