/*
 * Attention of the CUDA backend over a cache of random numbers: its launches, as the engine makes
 * them, and the check that comes before any time.
 */
#ifndef BENCH_ATTENTION_CASE_H
#define BENCH_ATTENTION_CASE_H

#include "bench/rig.h"
#include "kernels/cuda/attention_plan.h"

/* n_sequences that are `len` positions long, of which the last n_new are rows of the launch. */
struct attention_size {
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t n_sequences, len, n_new;
    uint32_t n_layers; /* to take in turn */
};

struct attention_kernels {
    struct gpu_kernel *wide, *narrow, *fold;
    struct gpu_address partial_sums, partial_weights;
};

struct attention_case {
    struct rig *r;
    struct attention_size size;
    struct attention_shape shape;
    uint32_t n_rows, table_len;
    uint32_t *table; /* (n_sequences, table_len): pages, in no order */
    struct gpu_address cache, qkv, out, positions, page_tables;
    struct gpu_address wide, narrow, folds, counts;
    struct gpu_tensor_map cache_map;
    struct attention_plan plan;
    struct attention_kernels kernels[RIG_PROBES];
};

void attention_case_init(struct attention_case *c, struct rig *r, const struct attention_size *s);
void attention_case_cleanup(struct attention_case *c);
void attention_case_launch(const struct attention_case *c, enum rig_code code, size_t turn);
/* The fold of its list alone, which may be empty. */
void attention_case_fold(const struct attention_case *c, enum rig_code code);
/* Launches and looks at the results: all written, rows here and there against double. Of the exact
 * code, the last row has the same bits alone. Their hash. */
void attention_case_check(struct attention_case *c, enum rig_code code, char hash[17]);

/* As it is counted everywhere: half of all pairs of positions, two products. */
double attention_case_operations(const struct attention_case *c);
/* Bytes of keys and values that a launch must read. */
double attention_case_bytes(const struct attention_case *c);

/* A rig_work. */
struct attention_run_of {
    const struct attention_case *c;
    enum rig_code code;
};
void attention_case_run(void *run, size_t turn);

#endif
