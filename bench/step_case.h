/*
 * What a decode step does beside its products: the inputs and launches of the kernels that work on
 * rows, of attention and of sampling, for shapes of Llama-3.1-8B and random numbers.
 */
#ifndef BENCH_STEP_CASE_H
#define BENCH_STEP_CASE_H

#include "bench/attention_case.h"
#include "bench/gemm.h"

enum step_kernel {
    STEP_PREPARE,
    STEP_EMBED,
    STEP_NORM,
    STEP_ROPE,
    STEP_ATTENTION, /* with its fold, where there is one */
    STEP_FOLD,
    STEP_SCAN,
    STEP_WEIGH,
    STEP_CHOOSE,
    STEP_KERNELS
};

struct step_size {
    uint32_t n_rows, len; /* sequences, and how long each is, the new row included */
    uint32_t n_heads, n_kv_heads, head_dim, n_cols, n_vocab;
    uint32_t n_layers; /* of the cache, to take in turn */
};

struct step_case {
    struct rig *rig;
    struct step_size size;
    struct attention_case attention;
    struct gpu_kernel *kernels[STEP_KERNELS];
    struct cuda_prepare_args prepare;
    struct cuda_embed_args embed;
    struct cuda_rmsnorm_args norm;
    struct cuda_rope_write_args rope;
    struct cuda_sample_args sample;
    struct gpu_address params;
};

void step_case_init(struct step_case *c, struct rig *r, const struct step_size *size);
void step_case_cleanup(struct step_case *c);
/* How tokens are chosen from now on: greedily, or at temperature 1 with that top_p. */
void step_case_choose(struct step_case *c, float top_p);
void step_case_launch(const struct step_case *c, enum step_kernel what, size_t turn);

#endif
