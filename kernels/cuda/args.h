/*
 * What each kernel takes, one struct by value: seen by the host (C) and by the kernels (C++).
 * Addresses are of the device's memory. Rows, pages and positions are those of kernels/backend.h;
 * shapes stand beside each pointer, row-major, and the meaning of each kernel beside its struct.
 */
#ifndef KERNELS_CUDA_ARGS_H
#define KERNELS_CUDA_ARGS_H

#include <stdint.h>

enum { CUDA_BLOCK = 256 }; /* threads of a block of every kernel below: part of the numerics */

/* embed_rows: x[r] = table[tokens[r]], widened. Grid: n_rows blocks. */
struct embed_args {
    float *x;               /* (n_rows, n_cols) */
    const uint16_t *table;  /* bf16 (vocabulary, n_cols) */
    const uint32_t *tokens; /* (n_rows) */
    uint32_t n_cols;
};

/* rmsnorm_rows: out[r][i] = bf16((x[r][i] * scale) * weight[i]),
 * scale = 1 / sqrt(sum_i x[r][i]^2 / n_cols + eps). Grid: n_rows blocks. */
struct rmsnorm_args {
    uint16_t *out;       /* bf16 (n_rows, n_cols) */
    const float *x;      /* (n_rows, n_cols) */
    const float *weight; /* (n_cols) */
    uint32_t n_cols;
    float eps;
};

/* rope_write: turns the queries in place and the keys on their way into the cache; values go there
 * as they are. Where q_norm and k_norm are given, each head is normed first, as an rmsnorm row of
 * head_dim without the rounding between. Grid: (n_heads + n_kv_heads, n_rows) blocks. */
struct rope_write_args {
    uint16_t *qkv; /* bf16 (n_rows, (n_heads + 2 n_kv_heads) * head_dim): q, k and v of each row */
    uint16_t *cache; /* bf16 pages: (page, layer, keys then values, n_kv_heads, 64, head_dim) */
    const float *cos_sin;         /* (positions, 2, head_dim / 2) */
    const float *q_norm, *k_norm; /* (head_dim); NULL: none */
    const uint32_t *positions;    /* (n_rows) */
    const uint32_t *page_tables;  /* (n_rows, page_table_len) */
    uint32_t page_table_len;
    uint32_t n_heads, n_kv_heads, head_dim; /* head_dim: even, at most 2 * CUDA_BLOCK */
    uint32_t layer, n_layers;
    float eps;
};

#endif
