/*
 * The set avx512bf16: the operations of avx512, but a BF16 matrix is multiplied by rows rounded to
 * bf16, by AVX-512 BF16's dot products of pairs. F16 and F32 matrices get float rows, as in avx512.
 */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/vec.h"

/* To nearest, ties to even; subnormal numbers become zero. Vectors are `stride` numbers apart. */
INLINE void round_row(uint16_t *out, const float *x, size_t n, size_t stride)
{
    for (size_t i = 0; i < n; i += PAIRS, out += stride) {
        float padded[PAIRS] = {0};
        const float *from = x + i;
        if (n - i < PAIRS) {
            memcpy(padded, from, (n - i) * sizeof *x);
            from = padded;
        }
        __m512bh pairs = _mm512_cvtne2ps_pbh(vec_load(from + LANES), vec_load(from));
        _mm512_storeu_si512(out, (__m512i)pairs);
    }
}

/* Items are groups of rows. */
static void round_groups(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct matmul_args *a = context;
    for (size_t g = begin; g < end; g++) {
        const float *x = a->x + g * GROUP_ROWS * a->n_cols;
        size_t left = a->n_rows - g * GROUP_ROWS, n = left < GROUP_ROWS ? left : GROUP_ROWS;
        for (size_t i = 0; i < n; i++)
            round_row(a->scratch + g * group_len(a) + i * PAIRS, x + i * a->n_cols, a->n_cols,
                      n * PAIRS);
    }
}

static void columns(const struct matmul_args *args, const struct matmul_output *out, size_t first,
                    size_t last)
{
    if (out->w->type == WEIGHT_BF16)
        cpu_bf16_columns(args, out, first, last);
    else
        cpu_columns(args, out, first, last);
}

struct job {
    struct matmul_args args;
    bool rounds, is_rounded[POOL_THREADS_MAX]; /* by each thread, for itself */
};

/* Few rows each thread rounds for itself, when it has its first part: it needs them all in its own
 * cache anyway, and nobody waits. */
static void matmul_part(void *context, size_t begin, size_t end, unsigned thread)
{
    struct job *j = context;
    struct matmul_args own = j->args;
    if (j->rounds && own.n_rows <= GROUP_ROWS) {
        own.scratch += thread * group_len(&own);
        if (!j->is_rounded[thread])
            round_groups(&own, 0, 1, thread);
        j->is_rounded[thread] = true;
    }
    cpu_matmul_by(&own, columns, begin, end);
}

static void matmul(struct pool *pool, const struct matmul_args *args)
{
    struct job j;
    j.args = *args;
    j.rounds = false;
    memset(j.is_rounded, 0, pool_n_threads(pool));
    for (size_t i = 0; i < args->n_outputs; i++)
        j.rounds |= args->outputs[i].w->type == WEIGHT_BF16;
    if (j.rounds && args->n_rows > GROUP_ROWS)
        pool_run(pool, (args->n_rows + GROUP_ROWS - 1) / GROUP_ROWS,
                 1 + GRAIN_ELEMENTS / group_len(args), round_groups, &j.args);
    pool_run(pool, cpu_matmul_blocks(args), GRAIN_BLOCKS, matmul_part, &j);
}

extern const struct backend cpu_avx512bf16_table;
const struct backend cpu_avx512bf16_table = {
    .name = "avx512bf16",
    .numerics = "avx512bf16-1",
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .matmul = matmul,
    .rope_write = cpu_rope_write,
    .attention = cpu_attention,
};
