/*
 * The fast kernel sets of x86-64, one numerics name each (docs/NUMERICS.md): `avx2` (AVX2, FMA,
 * F16C) and `avx512` (AVX-512 F, BW, VL). The files of this folder are compiled once for each,
 * with CPU_SET naming it; what they share is renamed by it.
 */
#ifndef KERNELS_CPU_SET_H
#define KERNELS_CPU_SET_H

#include "kernels/backend.h"

#define SET_NAME_(set, name) cpu_##set##_##name
#define SET_NAME(set, name) SET_NAME_(set, name)

/* Work below these is not worth another thread. */
enum { GRAIN_ELEMENTS = 8192, GRAIN_COLUMNS = 64 };

/* Rows that one pass over the weights serves without widening them to memory first. */
enum { FEW_ROWS = 8 };

/* y[m][n], 0 <= m < n_rows <= FEW_ROWS, 0 <= n < n_out: the lane sum over k of x[m][k] w[n][k]. */
struct few_rows {
    float *y; /* row m at m * y_stride */
    size_t y_stride;
    const float *x;   /* (n_rows, n_cols) */
    const uint8_t *w; /* (n_out, n_cols) of `type`, not aligned */
    size_t n_rows, n_out, n_cols;
    enum weight_type type;
};

#define cpu_few_rows SET_NAME(CPU_SET, few_rows)
#define cpu_many_rows SET_NAME(CPU_SET, many_rows)
#define cpu_matmul SET_NAME(CPU_SET, matmul)
#define cpu_attention SET_NAME(CPU_SET, attention)

void cpu_few_rows(const struct few_rows *job);
/* Columns first to last - 1 of y (n_rows, w->n_rows) for any number of rows. */
void cpu_many_rows(float *y, const float *x, const struct weight *w, size_t n_rows, size_t first,
                   size_t last);
void cpu_matmul(struct pool *pool, float *y, const float *x, const struct weight *w, size_t n_rows);
void cpu_attention(struct pool *pool, const struct attention_args *args);

#endif
