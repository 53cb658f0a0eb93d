/*
 * Matrix times many rows: what prefill does, bound by arithmetic. A panel of weights is widened
 * once for a block of rows; tiles of outputs that fill the registers walk K through it. Where K is
 * longer than the panel, the lanes are kept in memory between its parts: the order stays the same.
 */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

enum {
    TILE_N = 4,
    PANEL_N = 32, /* weight rows of a panel */
    PANEL_K = 768,
    BLOCK_M = 96, /* rows that one widening serves */
};
#define TILE_M (LANES == 16 ? (size_t)6 : (size_t)3) /* 24 or 12 vectors of lanes */

/* 96 KiB and, with AVX-512, 192 KiB: on the stack, in the second-level cache. */
struct block {
    const float *x; /* (n_rows, n_cols) */
    float *y;       /* at the panel's first column; row m at m * y_stride */
    size_t y_stride, n_cols, n_rows, n_out;
    size_t k, k_len; /* the part of K that the panel holds */
    _Alignas(64) float panel[PANEL_N * PANEL_K];
    _Alignas(64) float lanes[BLOCK_M * PANEL_N * LANES];
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Rows of the panel are PANEL_K apart; what is beyond a row's end or the last row is zero. */
INLINE void widen_panel(struct block *b, const uint8_t *w, enum weight_type type)
{
    size_t size = type == WEIGHT_F32 ? 4 : 2, n = (b->n_out + TILE_N - 1) / TILE_N * TILE_N;
    size_t whole = b->k_len / LANES * LANES, left = b->k_len - whole;
    for (size_t j = 0; j < n; j++) {
        const uint8_t *from = w + (j * b->n_cols + b->k) * size;
        float *to = b->panel + j * PANEL_K;
        if (j >= b->n_out) {
            memset(to, 0, PANEL_K * sizeof *to);
            continue;
        }
        for (size_t k = 0; k < whole; k += LANES)
            vec_store(to + k, vec_load_weights(from + k * size, type));
        if (left > 0)
            vec_store(to + whole, vec_load_weights_part(from + whole * size, left, type));
    }
}

INLINE void walk(vec *acc, const struct block *b, const float *x, const float *panel, size_t tile_m)
{
    size_t whole = b->k_len / LANES * LANES, left = b->k_len - whole;
    vec a[6];
    for (size_t k = 0; k < whole; k += LANES) {
        UNROLL
        for (size_t i = 0; i < tile_m; i++)
            a[i] = vec_load(x + i * b->n_cols + k);
        UNROLL
        for (size_t j = 0; j < TILE_N; j++) {
            vec wide = vec_load(panel + j * PANEL_K + k);
            UNROLL
            for (size_t i = 0; i < tile_m; i++)
                acc[i * TILE_N + j] = vec_fma(a[i], wide, acc[i * TILE_N + j]);
        }
    }
    if (left == 0)
        return;
    UNROLL
    for (size_t i = 0; i < tile_m; i++) {
        vec part = vec_load_part(x + i * b->n_cols + whole, left);
        UNROLL
        for (size_t j = 0; j < TILE_N; j++)
            acc[i * TILE_N + j] =
                vec_fma(part, vec_load(panel + j * PANEL_K + whole), acc[i * TILE_N + j]);
    }
}

/* Rows m to m + tile_m - 1, columns n to n + TILE_N - 1 of the block. */
INLINE void tile(struct block *b, size_t m, size_t n, size_t tile_m)
{
    vec acc[6 * TILE_N];
    float *lanes = b->lanes + (m * PANEL_N + n * tile_m) * LANES;
    if (b->k == 0) {
        UNROLL
        for (size_t o = 0; o < tile_m * TILE_N; o++)
            acc[o] = vec_set(0.0f);
    } else {
        UNROLL
        for (size_t o = 0; o < tile_m * TILE_N; o++)
            acc[o] = vec_load(lanes + o * LANES);
    }
    walk(acc, b, b->x + m * b->n_cols + b->k, b->panel + n * PANEL_K, tile_m);
    if (b->k + b->k_len < b->n_cols) {
        UNROLL
        for (size_t o = 0; o < tile_m * TILE_N; o++)
            vec_store(lanes + o * LANES, acc[o]);
        return;
    }
    UNROLL
    for (size_t i = 0; i < tile_m; i++) {
        const vec *row = acc + i * TILE_N;
        float *y = b->y + (m + i) * b->y_stride + n, sums[TILE_N];
        _mm_storeu_ps(sums, vec_join4(row[0], row[1], row[2], row[3]));
        memcpy(y, sums, least(TILE_N, b->n_out - n) * sizeof *y);
    }
}

static void multiply(struct block *b)
{
    size_t m = 0;
    for (; m + TILE_M <= b->n_rows; m += TILE_M)
        for (size_t n = 0; n < b->n_out; n += TILE_N)
            tile(b, m, n, TILE_M);
    for (; m < b->n_rows; m++)
        for (size_t n = 0; n < b->n_out; n += TILE_N)
            tile(b, m, n, 1);
}

INLINE void panels(struct block *b, const uint8_t *w, enum weight_type type)
{
    /* Parts of about the same length, all but the last a multiple of LANES. */
    size_t n_parts = (b->n_cols + PANEL_K - 1) / PANEL_K;
    size_t part = ((b->n_cols + n_parts - 1) / n_parts + LANES - 1) / LANES * LANES;
    for (b->k = 0; b->k < b->n_cols; b->k += b->k_len) {
        b->k_len = least(part, b->n_cols - b->k);
        widen_panel(b, w, type);
        multiply(b);
    }
}

void cpu_many_rows(const struct matmul_args *args, const struct matmul_output *out, size_t first,
                   size_t last)
{
    const struct weight *w = out->w;
    struct block b;
    b.y_stride = w->n_rows;
    b.n_cols = w->n_cols;
    for (size_t m = 0; m < args->n_rows; m += BLOCK_M)
        for (size_t n = first; n < last; n += PANEL_N) {
            b.x = args->x + m * w->n_cols;
            b.y = out->y + m * w->n_rows + n;
            b.n_rows = least(BLOCK_M, args->n_rows - m);
            b.n_out = least(PANEL_N, last - n);
            const uint8_t *data =
                (const uint8_t *)w->data + n * w->n_cols * weight_type_size(w->type);
            if (w->type == WEIGHT_BF16)
                panels(&b, data, WEIGHT_BF16);
            else if (w->type == WEIGHT_F16)
                panels(&b, data, WEIGHT_F16);
            else
                panels(&b, data, WEIGHT_F32);
        }
}
