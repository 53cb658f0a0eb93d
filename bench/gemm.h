/*
 * One matrix product of the CUDA backend, as its launches multiply: inputs of random numbers, the
 * launch, and the check that comes before any time: every output written, a sample of them against
 * double.
 */
#ifndef BENCH_GEMM_H
#define BENCH_GEMM_H

#include "bench/rig.h"
#include "kernels/cuda/args.h"

/* What is done with the sums (kernels/cuda/args.h): matmul_store, matmul_add, matmul_silu. */
enum gemm_kind { GEMM_STORE, GEMM_ADD, GEMM_SILU };

/* A matrix of a model's layer. */
struct gemm_shape {
    const char *name;
    enum gemm_kind kind;
    uint32_t n_out, n_cols;
};

enum { GEMM_SHAPES = 4, GEMM_INPUTS = 9 };

/* Those of Llama-3.1-8B, or small ones. */
const struct gemm_shape *gemm_shape(size_t i, bool tiny);

struct gemm {
    struct rig *r;
    const struct gemm_shape *shape;
    enum gemm_kind kind;
    uint32_t n_rows, n_rows_max; /* the copy engine knows all, as it does of the engine's rows */
    unsigned tile;               /* of kernel_set_sm90 */
    size_t n_inputs;
    struct gpu_address x[GEMM_INPUTS], w[GEMM_INPUTS], out;
    struct cuda_matmul_args args[GEMM_INPUTS];
    struct gpu_kernel *kernels[RIG_PROBES];
};

/* Room for n_rows_max rows and `n_inputs` inputs of each kind. */
void gemm_init(struct gemm *g, struct rig *r, const struct gemm_shape *shape, uint32_t n_rows_max,
               size_t n_inputs);
/* What is multiplied from now on. Rows of a tile; 0: the tile is the one that the engine takes. */
void gemm_set(struct gemm *g, enum gemm_kind kind, uint32_t n_rows, unsigned tile_rows);
void gemm_launch(const struct gemm *g, enum rig_code code, size_t turn);
/* Multiplies and looks at the results; their hash. */
void gemm_check(const struct gemm *g, enum rig_code code, char hash[17]);
/* Of results that somebody else has computed, `kind` GEMM_STORE. */
void gemm_check_results(const struct gemm *g, const char *whose, char hash[17]);

/* The operations of one, and the bytes of its weights. */
double gemm_operations(const struct gemm *g);
double gemm_weight_bytes(const struct gemm *g);

/* A rig_work. */
struct gemm_run {
    const struct gemm *gemm;
    enum rig_code code;
};
void gemm_run(void *run, size_t turn);

#endif
