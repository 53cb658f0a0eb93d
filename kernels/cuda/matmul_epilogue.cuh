/*
 * What becomes of a matrix product's sums: the same for every chip, as the tensor cores leave them:
 * a thread has outputs `out` and out + 8 of two rows beside each other.
 */
#ifndef KERNELS_CUDA_MATMUL_EPILOGUE_CUH
#define KERNELS_CUDA_MATMUL_EPILOGUE_CUH

#include "kernels/cuda/args.h"
#include "kernels/cuda/device.cuh"
#include "kernels/det.h"

enum epilogue { STORE, ADD, SILU, LOGITS };

DEVICE float silu_mul(float g, float u)
{
    return det_silu(g) * u;
}

/* What matmul_add adds to. */
DEVICE float before_of(const cuda_matmul_args &args, uint32_t row, uint32_t out)
{
    return row < args.n_rows && out < args.n_out ? args.sum_into[(size_t)row * args.n_out + out]
                                                 : 0.0f;
}

/* Results of outputs `out` and out + 8 for one row of the matrix; matmul_silu: of both, the first.
 */
template <epilogue what>
DEVICE void store(const cuda_matmul_args &args, uint32_t row, uint32_t out, float first,
                  float second)
{
    const size_t at = (size_t)row * args.n_out + out;
    if (what == SILU) {
        const size_t half = (size_t)row * (args.n_out / 2) + out / 16 * 8 + out % 8;
        if (out < args.n_out)
            ((bf16 *)args.y)[half] = narrow(first);
    } else if (what == STORE) {
        if (out < args.n_out)
            ((bf16 *)args.y)[at] = narrow(first);
        if (out + 8 < args.n_out)
            ((bf16 *)args.y)[at + 8] = narrow(second);
    } else {
        if (out < args.n_out)
            args.sum_into[at] = first;
        if (out + 8 < args.n_out)
            args.sum_into[at + 8] = second;
    }
}

/* The sums of outputs `out` and out + 8 for one row. */
template <epilogue what>
DEVICE void put(const cuda_matmul_args &args, uint32_t row, uint32_t out, float first, float second)
{
    if (row >= args.n_rows)
        return;
    if (what == SILU)
        first = silu_mul(first, second);
    if (what == ADD) {
        first = before_of(args, row, out) + first;
        second = before_of(args, row, out + 8) + second;
    }
    store<what>(args, row, out, first, second);
}

/* +0 where there is none: that changes no sum, since none is -0. */
DEVICE float bias_of(const cuda_matmul_args &args, uint32_t out)
{
    return args.bias != nullptr && out < args.n_out ? args.bias[out] : 0.0f;
}

#endif
