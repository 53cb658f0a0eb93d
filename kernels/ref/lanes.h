/*
 * The inner loops of ref-1, most of them a sum over 16 fixed float lanes: element k goes to lane k
 * mod 16, k ascending, one multiplication and one addition each (never fused); a row's tail is
 * padded with zeros. The lanes are joined by one tree: l with l + 8, then + 4, + 2, + 1. How many
 * outputs are computed side by side changes no output's order.
 *
 * lanes.c is compiled for several instruction sets; all give the same bits.
 */
#ifndef KERNELS_REF_LANES_H
#define KERNELS_REF_LANES_H

#include "kernels/backend.h"

enum { LANES_BLOCK = 64, LANES_VARIANTS_MAX = 3 };

struct lanes {
    const char *name;

    /* y[m][n] for all m < n_rows and first <= n < last: sum over k of x[m][k] w[n][k].
     * x (n_rows, w->n_cols), y (n_rows, w->n_rows). */
    void (*matmul)(float *y, const float *x, const struct weight *w, size_t n_rows, size_t first,
                   size_t last);
    /* out[i] = the i-th of n weights at `data`, exactly. */
    void (*widen)(float *out, const void *data, enum weight_type type, size_t n);
    /* sum over i of x[i]^2. */
    float (*sum_squares)(const float *x, size_t n);
    /* scores[j] = (sum over d of q[d] keys[j][d]) * scale for j < n_keys. */
    void (*scores)(float *scores, const float *q, const float *keys, size_t n_keys, size_t head_dim,
                   float scale);
    /* In place x[i] = exp(x[i] - max); returns the lanes' sum of the results. */
    float (*exp_sum)(float *x, size_t n, float max);
    /* out[d] = out[d] + p[j] * values[j][d], j ascending, for j < n_keys. */
    void (*accumulate)(float *out, const float *p, const float *values, size_t n_keys,
                       size_t head_dim);
    /* gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]. */
    void (*silu_mul)(float *gate, const float *up, size_t n);

    /* Of blocks of LANES_BLOCK floats, for choosing tokens. The largest; NaN when one is NaN. */
    float (*block_max)(const float *z);
    /* With p = exp((z[i] - best) / temperature): w[i] = p * 2^40 where p >= min_p, else 0. */
    void (*block_exp)(float *w, const float *z, float best, float temperature, float min_p);
    /* The sum of floor(w[i]), each w[i] from 0 to 2^40. */
    uint64_t (*block_floors)(const float *w);
};

/* The best one for this machine. */
const struct lanes *lanes_best(void);
/* All that run on this machine, the best one last; returns how many. */
size_t lanes_all(const struct lanes *out[LANES_VARIANTS_MAX]);

#endif
