/*
 * Matrix times few rows: what decoding does, bound by reading the weights. A tile of outputs walks
 * K together, so a weight is read and widened once for all rows.
 */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

INLINE void load_tile_weights(vec *wide, const struct few_rows *t, const uint8_t *w, size_t k,
                              size_t tile_n, enum weight_type type)
{
    size_t size = type == WEIGHT_F32 ? 4 : 2;
    UNROLL
    for (size_t j = 0; j < tile_n; j++) {
        const uint8_t *p = w + (j * t->n_cols + k) * size;
        /* The next tile's line at the same place; beyond the matrix it is a hint about nothing. */
        _mm_prefetch((const void *)((uintptr_t)p + tile_n * t->n_cols * size), _MM_HINT_T0);
        wide[j] = vec_load_weights(p, type);
    }
}

/* The elements after the last whole vector. */
INLINE void add_last(const struct few_rows *t, vec *acc, const uint8_t *w, size_t tile_m,
                     size_t tile_n, enum weight_type type)
{
    size_t whole = t->n_cols / LANES * LANES, left = t->n_cols - whole;
    UNROLL
    for (size_t j = 0; j < tile_n; j++) {
        size_t at = (j * t->n_cols + whole) * (type == WEIGHT_F32 ? 4 : 2);
        vec b = vec_load_weights_part(w + at, left, type);
        UNROLL
        for (size_t i = 0; i < tile_m; i++)
            acc[i * tile_n + j] =
                vec_fma(vec_load_part(t->x + i * t->n_cols + whole, left), b, acc[i * tile_n + j]);
    }
}

/* tile_m rows times tile_n columns; constants after inlining. */
INLINE void tile(const struct few_rows *t, size_t n, size_t tile_m, size_t tile_n,
                 enum weight_type type)
{
    vec acc[24], wide[8];
    const uint8_t *w = t->w + n * t->n_cols * (type == WEIGHT_F32 ? 4 : 2);
    size_t whole = t->n_cols / LANES * LANES, left = t->n_cols - whole;
    UNROLL
    for (size_t o = 0; o < tile_m * tile_n; o++)
        acc[o] = vec_set(0.0f);
    for (size_t k = 0; k < whole; k += LANES) {
        load_tile_weights(wide, t, w, k, tile_n, type);
        UNROLL
        for (size_t i = 0; i < tile_m; i++) {
            vec a = vec_load(t->x + i * t->n_cols + k);
            UNROLL
            for (size_t j = 0; j < tile_n; j++)
                acc[i * tile_n + j] = vec_fma(a, wide[j], acc[i * tile_n + j]);
        }
    }
    if (left > 0)
        add_last(t, acc, w, tile_m, tile_n, type);
    vec_store_sums(t->y + n, t->y_stride, 1, acc, tile_m * tile_n, tile_n);
}

INLINE void columns(const struct few_rows *t, size_t tile_m, size_t tile_n, enum weight_type type)
{
    size_t n = 0;
    for (; n + tile_n <= t->n_out; n += tile_n)
        tile(t, n, tile_m, tile_n, type);
    for (; n < t->n_out; n++)
        tile(t, n, tile_m, 1, type);
}

/* Tiles that fit the registers: 32 with AVX-512, 16 with AVX2. */
#define WIDE(with_avx512, with_avx2) (LANES == 16 ? (size_t)(with_avx512) : (size_t)(with_avx2))

INLINE void rows(const struct few_rows *t, enum weight_type type)
{
    switch (t->n_rows) {
    case 1:
        columns(t, 1, 8, type);
        break;
    case 2:
        columns(t, 2, WIDE(8, 4), type);
        break;
    case 3:
        columns(t, 3, WIDE(4, 3), type);
        break;
    case 4:
        columns(t, 4, WIDE(6, 2), type);
        break;
    case 5:
        columns(t, 5, WIDE(4, 2), type);
        break;
    case 6:
        columns(t, 6, WIDE(4, 2), type);
        break;
    case 7:
        columns(t, 7, WIDE(3, 1), type);
        break;
    default:
        columns(t, FEW_ROWS, WIDE(3, 1), type);
    }
}

void cpu_few_rows(const struct few_rows *job)
{
    if (job->type == WEIGHT_BF16)
        rows(job, WEIGHT_BF16);
    else if (job->type == WEIGHT_F16)
        rows(job, WEIGHT_F16);
    else
        rows(job, WEIGHT_F32);
}
