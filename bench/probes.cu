/* What a GPU can do at most, for benchmarks to compare with; never part of a program that is
 * shipped. */
#include "bench/rig_args.h"
#include "kernels/cuda/ptx_copies.cuh"
#include "kernels/cuda/ptx_wgmma.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* One round along all columns. The next is enqueued before it has ended. */
DEVICE void multiply(accumulators<PROBE_OTHERS> &sums, uint32_t rows, uint32_t others)
{
    wgmma_fence();
    for (uint32_t k = 0; k < PROBE_COLS; k += 16)
        wgmma(sums, wgmma_operand(rows + 2 * k), wgmma_operand(others + 2 * k), false);
    wgmma_commit();
}

KERNEL(probe_products, probe_products_args, PROBE_BLOCK)
{
    uint16_t *const values = shared_at<uint16_t>(0, PROBE_SHARED_LEN / 2);
    accumulators<PROBE_OTHERS> sums;
    for (uint32_t i = threadIdx.x; i < PROBE_SHARED_LEN / 2; i += PROBE_BLOCK)
        values[i] = args.values[i];
    UNROLL
    for (int i = 0; i < PROBE_OTHERS / 2; i++)
        sums.d[i] = 0.0f;
    fence_proxy_async();
    __syncthreads();
    const uint32_t others = shared_address(values + PROBE_GROUPS * PROBE_ROWS * PROBE_COLS);
    const uint32_t rows = shared_address(values + threadIdx.x / 128 * (PROBE_ROWS * PROBE_COLS));
    for (uint32_t i = 0; i < args.n_rounds; i++) {
        multiply(sums, rows, others);
        wgmma_wait<1>();
    }
    wgmma_wait<0>();
    float sum = 0.0f;
    UNROLL
    for (int i = 0; i < PROBE_OTHERS / 2; i++)
        sum = sum + sums.d[i];
    args.out[blockIdx.x * PROBE_BLOCK + threadIdx.x] = sum;
}

#endif
