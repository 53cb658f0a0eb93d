#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

#include "kernels/ref/lanes.h"

/* Work below these is not worth another thread. */
enum { GRAIN_ELEMENTS = 8192, GRAIN_COLUMNS = 64 };

extern const struct lanes lanes_baseline;
#if KERNELS_X86
extern const struct lanes lanes_avx512;
#endif

size_t lanes_all(const struct lanes *out[2])
{
    size_t n = 0;
    out[n++] = &lanes_baseline;
#if KERNELS_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        out[n++] = &lanes_avx512;
#endif
    return n;
}

const struct lanes *lanes_best(void)
{
    const struct lanes *all[2];
    return all[lanes_all(all) - 1];
}

/* The arguments of any operation here, as its threads see them. */
struct job {
    const struct lanes *lanes;
    float *out;
    const float *x, *y;
    const struct weight *w;
    const uint32_t *tokens;
    const struct kv_row *rows;
    const struct kv_cache *cache;
    size_t layer, n_rows, n_heads, n_cols, n_turned;
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

static void matmul(struct pool *pool, const struct matmul_args *args)
{
    for (size_t i = 0; i < args->n_outputs; i++) {
        struct job j = {.lanes = lanes_best(),
                        .out = args->outputs[i].y,
                        .x = args->x,
                        .w = args->outputs[i].w,
                        .n_rows = args->n_rows};
        pool_run(pool, j.w->n_rows, GRAIN_COLUMNS, matmul_columns, &j);
    }
}

static void rope_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    size_t half = j->n_turned / 2;
    for (size_t i = begin; i < end; i++) {
        float *a = j->out + i * j->n_cols, *b = a + half;
        const float *c = j->x + (size_t)j->rows[i / j->n_heads].position * 2 * half, *s = c + half;
        for (size_t d = 0; d < half; d++) {
            float turned_a = a[d] * c[d] - b[d] * s[d];
            float turned_b = b[d] * c[d] + a[d] * s[d];
            a[d] = turned_a;
            b[d] = turned_b;
        }
    }
}

static void rope(struct pool *pool, float *x, const float *cos_sin, const struct kv_row *rows,
                 size_t n_rows, size_t n_heads, size_t head_dim, size_t n_turned)
{
    struct job j = {.out = x,
                    .x = cos_sin,
                    .rows = rows,
                    .n_heads = n_heads,
                    .n_cols = head_dim,
                    .n_turned = n_turned};
    pool_run(pool, n_rows * n_heads, 1 + GRAIN_ELEMENTS / head_dim, rope_rows, &j);
}

static void kv_write_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct job *j = context;
    size_t head_dim = j->cache->head_dim, n_heads = j->cache->n_kv_heads;
    for (size_t r = begin; r < end; r++) {
        size_t position = j->rows[r].position,
               page = j->rows[r].page_table[position / KV_PAGE_TOKENS];
        float *keys = kv_cache_keys(j->cache, page, j->layer);
        float *values = kv_cache_values(j->cache, page, j->layer);
        for (size_t h = 0; h < n_heads; h++) {
            size_t to = (h * KV_PAGE_TOKENS + position % KV_PAGE_TOKENS) * head_dim;
            size_t from = (r * n_heads + h) * head_dim;
            memcpy(keys + to, j->x + from, head_dim * sizeof *keys);
            memcpy(values + to, j->y + from, head_dim * sizeof *values);
        }
    }
}

static void kv_write(struct pool *pool, const struct kv_cache *cache, size_t layer, const float *k,
                     const float *v, const struct kv_row *rows, size_t n_rows)
{
    struct job j = {.cache = cache, .layer = layer, .x = k, .y = v, .rows = rows};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / (cache->n_kv_heads * cache->head_dim),
             kv_write_rows, &j);
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

const struct backend backend_ref = {
    .name = "ref",
    .numerics = "ref-1",
    .embed = embed,
    .rmsnorm = rmsnorm,
    .matmul = matmul,
    .rope = rope,
    .kv_write = kv_write,
    .attention = ref_attention,
    .silu_mul = silu_mul,
    .add = add,
    .add_bias = add_bias,
};
