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

/* g / (1 + exp(-g)) * u */
INLINE vec silu(vec g, vec u)
{
    return g / (1.0f + vec_exp(-g)) * u;
}

/* gate[i] = silu(gate[i]) * up[i] */
static void silu_mul(float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vec_store(gate + i, silu(vec_load(gate + i), vec_load(up + i)));
    if (i < n) {
        vec g = vec_load_part(gate + i, n - i), u = vec_load_part(up + i, n - i);
        vec_store_part(gate + i, silu(g, u), n - i);
    }
}

/* x[i] = x[i] + y[i] */
static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vec_store(x + i, vec_add(vec_load(x + i), vec_load(y + i)));
    for (; i < n; i++)
        x[i] = x[i] + y[i];
}

static size_t n_blocks(const struct matmul_output *out)
{
    return (out->w->n_rows + BLOCK_N - 1) / BLOCK_N;
}

/* Columns first to last - 1 of one output, and what is done with each row of them. */
static void finished_columns(const struct matmul_args *a, matmul_columns *columns,
                             const struct matmul_output *out, size_t first, size_t last)
{
    columns(a, out, first, last);
    for (size_t r = 0; r < a->n_rows; r++) {
        size_t at = r * out->w->n_rows + first;
        if (out->bias != NULL)
            add(out->y + at, out->bias + first, last - first);
        if (out->add_to != NULL)
            add(out->add_to + at, out->y + at, last - first);
    }
}

/* The same columns of gate and up, one after the other. */
static void gated_columns(const struct matmul_args *a, matmul_columns *columns, size_t first,
                          size_t last)
{
    const struct matmul_output *gate = &a->outputs[0], *up = &a->outputs[1];
    finished_columns(a, columns, gate, first, last);
    finished_columns(a, columns, up, first, last);
    for (size_t r = 0; r < a->n_rows; r++) {
        size_t at = r * gate->w->n_rows + first;
        silu_mul(gate->y + at, up->y + at, last - first);
    }
}

/* Blocks begin to end - 1 of an output. With many rows they are gone through a few at a time, so
 * that what was computed is still in a cache when it is finished. */
static void output_blocks(const struct matmul_args *a, matmul_columns *columns,
                          const struct matmul_output *out, size_t begin, size_t end)
{
    size_t n_out = out->w->n_rows, step = a->n_rows > FEW_ROWS ? GRAIN_BLOCKS : end - begin;
    for (size_t i = begin; i < end; i += step) {
        size_t last = (i + step < end ? i + step : end) * BLOCK_N;
        last = last < n_out ? last : n_out;
        if (a->is_gated)
            gated_columns(a, columns, i * BLOCK_N, last);
        else
            finished_columns(a, columns, out, i * BLOCK_N, last);
    }
}

size_t cpu_matmul_blocks(const struct matmul_args *args)
{
    size_t n = 0, n_outputs = args->is_gated ? 1 : args->n_outputs;
    for (size_t i = 0; i < n_outputs; i++)
        n += n_blocks(&args->outputs[i]);
    return args->n_rows > 0 ? n : 0;
}

void cpu_matmul_by(const struct matmul_args *args, matmul_columns *columns, size_t begin,
                   size_t end)
{
    for (size_t i = 0; i < args->n_outputs && begin < end; i++) {
        size_t n = n_blocks(&args->outputs[i]), to = end < n ? end : n;
        if (begin < to)
            output_blocks(args, columns, &args->outputs[i], begin, to);
        begin = begin > n ? begin - n : 0;
        end -= to;
    }
}

static void matmul_part(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    cpu_matmul_by(context, cpu_columns, begin, end);
}

static void matmul(struct pool *pool, const struct matmul_args *args)
{
    struct matmul_args copy = *args; /* a pool's context is not const */
    pool_run(pool, cpu_matmul_blocks(args), GRAIN_BLOCKS, matmul_part, &copy);
}

struct rmsnorm_job {
    float *out;
    const float *x, *weight;
    size_t n_cols;
    float eps;
};

/* Rows whose squares are summed side by side, each in its order: one alone waits for its additions,
 * which follow one another. */
enum { NORM_ROWS = 4 };

/* The lane sums of x[i]^2 of n_rows rows. */
INLINE void sum_squares(float sums[NORM_ROWS], const float *x, size_t n_cols, size_t n_rows)
{
    vec sum[NORM_ROWS], a;
    size_t i = 0;
    UNROLL
    for (size_t r = 0; r < NORM_ROWS; r++)
        sum[r] = vec_set(0.0f);
    for (; i + LANES <= n_cols; i += LANES) {
        UNROLL
        for (size_t r = 0; r < n_rows; r++) {
            a = vec_load(x + r * n_cols + i);
            sum[r] = vec_fma(a, a, sum[r]);
        }
    }
    for (size_t r = 0; r < n_rows && i < n_cols; r++) {
        a = vec_load_part(x + r * n_cols + i, n_cols - i);
        sum[r] = vec_fma(a, a, sum[r]);
    }
    _mm_storeu_ps(sums, vec_join4(sum[0], sum[1], sum[2], sum[3]));
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
    float sums[NORM_ROWS];
    for (size_t r = begin, n; r < end; r += n) {
        const float *x = j->x + r * j->n_cols;
        n = end - r < NORM_ROWS ? 1 : NORM_ROWS;
        if (n == NORM_ROWS)
            sum_squares(sums, x, j->n_cols, NORM_ROWS);
        else
            sum_squares(sums, x, j->n_cols, 1);
        for (size_t i = 0; i < n; i++) {
            float scale = 1.0f / sqrtf(sums[i] / (float)j->n_cols + j->eps);
            scale_row(j->out + (r + i) * j->n_cols, x + i * j->n_cols, j->weight, j->n_cols, scale);
        }
    }
}

void cpu_rmsnorm(struct pool *pool, float *out, const float *x, const float *weight, size_t n_rows,
                 size_t n_cols, float eps)
{
    struct rmsnorm_job j = {.out = out, .x = x, .weight = weight, .n_cols = n_cols, .eps = eps};
    pool_run(pool, n_rows, 1 + GRAIN_ELEMENTS / n_cols, rmsnorm_rows, &j);
}

/* ref-1's own: it rounds nothing, and it is a small part of a step. */
void cpu_embed(struct pool *pool, float *out, const struct weight *w, const uint32_t *tokens,
               size_t n_rows)
{
    backend_ref.embed(pool, out, w, tokens, n_rows);
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

const struct backend cpu_table = {
    .name = TEXT(CPU_SET),
    .numerics = TEXT(CPU_SET) "-1",
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .matmul = matmul,
    .rope_write = cpu_rope_write,
    .attention = cpu_attention,
};
