/*
 * The fast kernel sets of x86-64, one numerics name each (docs/NUMERICS.md): `avx2` (AVX2, FMA,
 * F16C), `avx512` (AVX-512 F, BW, VL), and `avx512bf16` (bf16.c), which is avx512 but for the
 * matmuls of BF16 matrices. The other files of this folder are compiled once for each of the first
 * two, with CPU_SET naming it; what they share is renamed by it.
 */
#ifndef KERNELS_CPU_SET_H
#define KERNELS_CPU_SET_H

#include "kernels/backend.h"

#define SET_NAME_(set, name) cpu_##set##_##name
#define SET_NAME(set, name) SET_NAME_(set, name)

/* Work below this is not worth another thread. */
enum { GRAIN_ELEMENTS = 8192, GRAIN_BLOCKS = 2 };

/* Threads share out a matmul's columns (rows of its matrices) in blocks of this many. */
enum { BLOCK_N = 48 };

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

/* Rows of an attention that stand one behind the other in one sequence; one key head of them. */
struct attention_rows {
    size_t first, n; /* of the arguments' rows */
    size_t kv_head;
    float *scores; /* args->scratch_len floats */
};

enum { ATTENTION_ROWS = 8, ATTENTION_QUERIES_MAX = 256 };

/* The products of columns first to last - 1 of one output. */
typedef void matmul_columns(const struct matmul_args *args, const struct matmul_output *out,
                            size_t first, size_t last);

#define cpu_few_rows SET_NAME(CPU_SET, few_rows)
#define cpu_many_rows SET_NAME(CPU_SET, many_rows)
#define cpu_columns SET_NAME(CPU_SET, columns)
#define cpu_matmul_blocks SET_NAME(CPU_SET, matmul_blocks)
#define cpu_matmul_by SET_NAME(CPU_SET, matmul_by)
#define cpu_attention SET_NAME(CPU_SET, attention)
#define cpu_attention_rows SET_NAME(CPU_SET, attention_rows)
#define cpu_attention_rows_fit SET_NAME(CPU_SET, attention_rows_fit)
#define cpu_soften SET_NAME(CPU_SET, soften)
#define cpu_embed SET_NAME(CPU_SET, embed)
#define cpu_rmsnorm SET_NAME(CPU_SET, rmsnorm)
#define cpu_rope_write SET_NAME(CPU_SET, rope_write)
#define cpu_table SET_NAME(CPU_SET, table)

extern const struct backend cpu_table;

void cpu_few_rows(const struct few_rows *job);
matmul_columns cpu_many_rows; /* any number of rows */
matmul_columns cpu_columns;   /* whichever suits */

/* A matmul's items are blocks of columns, the first output's first; of gate and up together. */
size_t cpu_matmul_blocks(const struct matmul_args *args);
/* Items begin to end - 1, their products by `columns`. */
void cpu_matmul_by(const struct matmul_args *args, matmul_columns *columns, size_t begin,
                   size_t end);

/* In place x[i] = exp(x[i] * scale - the largest of them); the lane sum of the results. */
float cpu_soften(float *x, size_t n, float scale);
/* Whether the scratch memory has room for so many rows at once, and the pass itself. */
bool cpu_attention_rows_fit(const struct attention_args *args, const struct attention_rows *rows);
void cpu_attention_rows(const struct attention_args *args, const struct attention_rows *rows);

/* The table's other operations (kernels/backend.h). */
void cpu_embed(struct pool *pool, float *out, const struct weight *w, const uint32_t *tokens,
               size_t n_rows);
void cpu_rmsnorm(struct pool *pool, float *out, const float *x, const float *weight, size_t n_rows,
                 size_t n_cols, float eps);
void cpu_rope_write(struct pool *pool, const struct rope_args *args);
void cpu_attention(struct pool *pool, const struct attention_args *args);

#endif
