/* The table of one kernel set, and its operations on rows. */
#include "kernels/cpu/set.h"

#include <math.h>

#include "kernels/cpu/vec.h"
#include "kernels/ref/ref.h"

void cpu_columns(const struct matmul_args *args, const struct matmul_output *out, size_t first,
                 size_t last)
{
    const struct weight *w = out->w;
    if (args->n_rows > FEW_ROWS) {
        cpu_many_rows(args, out, first, last);
        return;
    }
    struct few_rows few = {
        .y = out->y + first,
        .y_stride = w->n_rows,
        .x = args->x,
        .w = (const uint8_t *)w->data + first * w->n_cols * weight_type_size(w->type),
        .n_rows = args->n_rows,
        .n_out = last - first,
        .n_cols = w->n_cols,
        .type = w->type,
    };
    cpu_few_rows(&few);
}

static size_t n_blocks(const struct matmul_output *out)
{
    return (out->w->n_rows + BLOCK_N - 1) / BLOCK_N;
}

struct matmul_job {
    const struct matmul_args *args;
    matmul_columns *columns;
};

/* Items are blocks of columns, the first output's first. */
static void matmul_blocks(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct matmul_job *j = context;
    for (size_t i = 0; i < j->args->n_outputs && end > 0; i++) {
        const struct matmul_output *out = &j->args->outputs[i];
        size_t n = n_blocks(out), to = end < n ? end : n;
        if (begin < to) {
            size_t last = to * BLOCK_N < out->w->n_rows ? to * BLOCK_N : out->w->n_rows;
            j->columns(j->args, out, begin * BLOCK_N, last);
        }
        begin = begin > n ? begin - n : 0;
        end -= to;
    }
}

void cpu_matmul_by(struct pool *pool, const struct matmul_args *args, matmul_columns *columns)
{
    struct matmul_job j = {args, columns};
    size_t n = 0;
    for (size_t i = 0; i < args->n_outputs; i++)
        n += n_blocks(&args->outputs[i]);
    if (args->n_rows > 0)
        pool_run(pool, n, GRAIN_BLOCKS, matmul_blocks, &j);
}

static void matmul(struct pool *pool, const struct matmul_args *args)
{
    cpu_matmul_by(pool, args, cpu_columns);
}

struct rmsnorm_job {
    float *out;
    const float *x, *weight;
    size_t n_cols;
    float eps;
};

/* The lane sum of x[i]^2. */
static float sum_squares(const float *x, size_t n)
{
    vec sum = vec_set(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec a = vec_load(x + i);
        sum = vec_fma(a, a, sum);
    }
    if (i < n) {
        vec a = vec_load_part(x + i, n - i);
        sum = vec_fma(a, a, sum);
    }
    return vec_join(sum);
}

/* out[i] = (x[i] * scale) * weight[i]; out may be x. */
static void scale_row(float *out, const float *x, const float *weight, size_t n, float scale)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_mul(vec_mul(vec_load(x + i), vec_set(scale)), vec_load(weight + i)));
    for (; i < n; i++)
        out[i] = (x[i] * scale) * weight[i];
}

static void rmsnorm_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct rmsnorm_job *j = context;
    for (size_t r = begin; r < end; r++) {
        const float *x = j->x + r * j->n_cols;
        float mean = sum_squares(x, j->n_cols) / (float)j->n_cols;
        float scale = 1.0f / sqrtf(mean + j->eps);
        scale_row(j->out + r * j->n_cols, x, j->weight, j->n_cols, scale);
    }
}

void cpu_rmsnorm(struct pool *pool, float *out, const float *x, const float *weight, size_t n_rows,
                 size_t n_cols, float eps)
{
    struct rmsnorm_job j = {.out = out, .x = x, .weight = weight, .n_cols = n_cols, .eps = eps};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / n_cols, rmsnorm_rows, &j);
}

struct silu_job {
    float *gate;
    const float *up;
};

/* g / (1 + exp(-g)) * u */
INLINE vec silu(vec g, vec u)
{
    return g / (1.0f + vec_exp(-g)) * u;
}

static void silu_mul_part(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct silu_job *j = context;
    float *gate = j->gate;
    size_t i = begin;
    for (; i + LANES <= end; i += LANES)
        vec_store(gate + i, silu(vec_load(gate + i), vec_load(j->up + i)));
    if (i < end) {
        vec g = vec_load_part(gate + i, end - i), u = vec_load_part(j->up + i, end - i);
        vec_store_part(gate + i, silu(g, u), end - i);
    }
}

void cpu_silu_mul(struct pool *pool, float *gate, const float *up, size_t n)
{
    struct silu_job j = {.gate = gate, .up = up};
    pool_run(pool, n, GRAIN_ELEMENTS, silu_mul_part, &j);
}

struct add_job {
    float *x;
    const float *y;
};

static void add_part(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct add_job *j = context;
    float *x = j->x;
    const float *y = j->y;
    size_t i = begin;
    for (; i + LANES <= end; i += LANES)
        vec_store(x + i, vec_add(vec_load(x + i), vec_load(y + i)));
    for (; i < end; i++)
        x[i] = x[i] + y[i];
}

void cpu_add(struct pool *pool, float *x, const float *y, size_t n)
{
    struct add_job j = {.x = x, .y = y};
    pool_run(pool, n, GRAIN_ELEMENTS, add_part, &j);
}

/* ref-1's own: they round nothing twice, so vectors would be all that is to win, and they are a
 * hundredth of a step. */
void cpu_embed(struct pool *pool, float *out, const struct weight *w, const uint32_t *tokens,
               size_t n_rows)
{
    backend_ref.embed(pool, out, w, tokens, n_rows);
}

void cpu_rope(struct pool *pool, float *x, const float *cos_sin, const struct kv_row *rows,
              size_t n_rows, size_t n_heads, size_t head_dim, size_t n_turned)
{
    backend_ref.rope(pool, x, cos_sin, rows, n_rows, n_heads, head_dim, n_turned);
}

void cpu_kv_write(struct pool *pool, const struct kv_cache *cache, size_t layer, const float *k,
                  const float *v, const struct kv_row *rows, size_t n_rows)
{
    backend_ref.kv_write(pool, cache, layer, k, v, rows, n_rows);
}

void cpu_add_bias(struct pool *pool, float *x, const float *bias, size_t n_rows, size_t n_cols)
{
    backend_ref.add_bias(pool, x, bias, n_rows, n_cols);
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

const struct backend cpu_table = {
    .name = TEXT(CPU_SET),
    .numerics = TEXT(CPU_SET) "-1",
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .matmul = matmul,
    .rope = cpu_rope,
    .kv_write = cpu_kv_write,
    .attention = cpu_attention,
    .silu_mul = cpu_silu_mul,
    .add = cpu_add,
    .add_bias = cpu_add_bias,
};
