/*
 * Matrix times few rows: what decoding does, bound by reading the weights. A tile is one column
 * each of several equal parts of the matrix, which walk K together: few long streams of whole
 * weight rows are what memory gives fastest, and a weight is read and widened once for all rows.
 */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

enum { AHEAD = 2048 }; /* bytes */

/* With one or two rows the processor runs far enough ahead by itself. */
INLINE void load_tile_weights(vec *wide, const uint8_t *w, size_t w_stride, size_t tile_m,
                              size_t tile_n, enum weight_type type)
{
    UNROLL
    for (size_t j = 0; j < tile_n; j++) {
        const uint8_t *p = w + j * w_stride;
        if (tile_m > 2)
            _mm_prefetch((const void *)((uintptr_t)p + AHEAD), _MM_HINT_T0);
        wide[j] = vec_load_weights(p, type);
    }
}

/* The elements after the last whole vector. */
INLINE void add_last(const struct few_rows *t, vec *acc, const uint8_t *w, size_t w_stride,
                     size_t tile_m, size_t tile_n, enum weight_type type)
{
    size_t whole = t->n_cols / LANES * LANES, left = t->n_cols - whole;
    UNROLL
    for (size_t j = 0; j < tile_n; j++) {
        vec b = vec_load_weights_part(w + j * w_stride, left, type);
        UNROLL
        for (size_t i = 0; i < tile_m; i++)
            acc[i * tile_n + j] =
                vec_fma(vec_load_part(t->x + i * t->n_cols + whole, left), b, acc[i * tile_n + j]);
    }
}

/* tile_m rows times the columns n + j * apart, j < tile_n; constants after inlining. */
INLINE void tile(const struct few_rows *t, size_t n, size_t apart, size_t tile_m, size_t tile_n,
                 enum weight_type type)
{
    vec acc[24], wide[8];
    size_t size = type == WEIGHT_F32 ? 4 : 2, w_stride = apart * t->n_cols * size;
    const uint8_t *w = t->w + n * t->n_cols * size;
    size_t whole = t->n_cols / LANES * LANES;
    UNROLL
    for (size_t o = 0; o < tile_m * tile_n; o++)
        acc[o] = vec_set(0.0f);
    for (size_t k = 0; k < whole; k += LANES, w += LANES * size) {
        load_tile_weights(wide, w, w_stride, tile_m, tile_n, type);
        UNROLL
        for (size_t i = 0; i < tile_m; i++) {
            vec a = vec_load(t->x + i * t->n_cols + k);
            UNROLL
            for (size_t j = 0; j < tile_n; j++)
                acc[i * tile_n + j] = vec_fma(a, wide[j], acc[i * tile_n + j]);
        }
    }
    if (whole < t->n_cols)
        add_last(t, acc, w, w_stride, tile_m, tile_n, type);
    vec_store_sums(t->y + n, t->y_stride, apart, acc, tile_m * tile_n, tile_n);
}

INLINE void columns(const struct few_rows *t, size_t tile_m, size_t tile_n, enum weight_type type)
{
    size_t apart = t->n_out / tile_n;
    for (size_t n = 0; n < apart; n++)
        tile(t, n, apart, tile_m, tile_n, type);
    for (size_t n = apart * tile_n; n < t->n_out; n++)
        tile(t, n, 1, tile_m, 1, type);
}

/* Tiles that fit the registers: 32 with AVX-512, 16 with AVX2. */
#define WIDE(with_avx512, with_avx2) (LANES == 16 ? (size_t)(with_avx512) : (size_t)(with_avx2))

INLINE void rows(const struct few_rows *t, enum weight_type type)
{
    switch (t->n_rows) {
    case 1:
        columns(t, 1, 4, type);
        break;
    case 2:
        columns(t, 2, 4, type);
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
