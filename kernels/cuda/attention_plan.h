/*
 * The work of an attention launch, made on the host for every step: runs of rows become the items
 * and folds of args.h. Two lists of items, one for each tile: `wide` (128 queries: prefill) and
 * `narrow` (64: decode, and short ends of prompts). How a long context of a narrow run is shared
 * among blocks is decided here; it changes no bit.
 */
#ifndef KERNELS_CUDA_ATTENTION_PLAN_H
#define KERNELS_CUDA_ATTENTION_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "kernels/cuda/args.h"
#include "kernels/cuda/gpu.h"

enum { ATTENTION_NARROW = 64, ATTENTION_WIDE = 128 };

struct attention_shape {
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t window; /* 0: all */
    unsigned n_multiprocessors;
};

/* ERR_UNSUPPORTED with the reason when no kernel computes this shape. */
struct err attention_check(const struct attention_shape *s) MUST_USE;

/* n_rows rows beside each other, of one sequence, at `position`, position + 1, ... */
struct attention_run {
    uint32_t row, n_rows, position;
};

/* The arrays are the caller's: wide and folds hold as many as there are rows, narrow that many and
 * n_partials_max more. */
struct attention_plan {
    struct cuda_attention_item *wide, *narrow;
    struct cuda_attention_fold *folds;
    uint32_t n_wide, n_narrow, n_folds;
    uint32_t n_partials, n_partials_max; /* used; room of partial_sums and partial_weights */
};

/* Fills the lists, those that take longest first. */
void attention_plan_make(struct attention_plan *plan, const struct attention_shape *s,
                         const struct attention_run *runs, size_t n_runs);

/* What cuda_attention_args.cache is made from; n_slots = n_pages * n_layers * 2 * n_kv_heads * 64,
 * below 2^31. */
struct gpu_tensor attention_cache_tensor(struct gpu_address cache, uint64_t n_slots,
                                         uint32_t head_dim);

#endif
