/*
 * NVIDIA's matrix product, to compare ours with: libcublasLt, opened at run time where there is
 * one. Nothing of it is needed to build, and nothing but a benchmark calls it.
 */
#ifndef BENCH_CUBLASLT_H
#define BENCH_CUBLASLT_H

#include "bench/rig.h"

struct cublaslt; /* opaque */

/* NULL, with the reason printed, where there is no such library. */
struct cublaslt *cublaslt_open(struct rig *r, struct results *results);
void cublaslt_close(struct cublaslt *c);

/* y (n_rows, n_out) = x (n_rows, n_cols) w (n_out, n_cols)^T, bf16 with float sums. */
struct cublaslt_product {
    uint32_t n_rows, n_out, n_cols;
    struct gpu_address y;
    const struct gpu_address *x, *w; /* (n_inputs): those of a turn are multiplied */
    size_t n_inputs;
};

/* Times each algorithm that the library's heuristics name and keeps the fastest. How many those
 * were; 0: it has none for this shape. */
size_t cublaslt_prepare(struct cublaslt *c, const struct cublaslt_product *p);
/* A rig_work: the product that was prepared. */
void cublaslt_multiply(void *c, size_t turn);

#endif
