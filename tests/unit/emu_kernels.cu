/* Kernels for the test of the emulator: some right, some with one fault that it must find. */
#include "kernels/cuda/device.cuh"
#include "tests/unit/emu_kernels.h"

enum { THREADS = EMU_TEST_THREADS };

/* out[i] = in[THREADS - 1 - i], by way of shared memory. */
KERNEL(emu_reverse, emu_test_args, THREADS)
{
    uint32_t *block = shared_at<uint32_t>(0, THREADS);
    block[threadIdx.x] = args.in[threadIdx.x];
    __syncthreads();
    args.out[threadIdx.x] = block[THREADS - 1 - threadIdx.x];
}

/* The same without its barrier. */
KERNEL(emu_reverse_unordered, emu_test_args, THREADS)
{
    uint32_t *block = shared_at<uint32_t>(0, THREADS);
    block[threadIdx.x] = args.in[threadIdx.x];
    args.out[threadIdx.x] = block[THREADS - 1 - threadIdx.x];
}

/* Two rounds through one buffer; the barrier that keeps the second from overtaking is missing. */
KERNEL(emu_twice_unordered, emu_test_args, THREADS)
{
    uint32_t *block = shared_at<uint32_t>(0, THREADS);
    uint32_t x = args.in[threadIdx.x];
    for (int round = 0; round < 2; round++) {
        block[threadIdx.x] = x;
        __syncthreads();
        x = block[THREADS - 1 - threadIdx.x] + 1;
    }
    args.out[threadIdx.x] = x;
}

/* Half of the block leaves before the barrier. */
KERNEL(emu_leaves_early, emu_test_args, THREADS)
{
    if (threadIdx.x >= THREADS / 2)
        return;
    __syncthreads();
    args.out[threadIdx.x] = 1;
}

/* Lanes of one warp come to their barrier from two places. */
KERNEL(emu_divided, emu_test_args, THREADS)
{
    if (threadIdx.x % 2 == 0) {
        __syncthreads();
        args.out[threadIdx.x] = 1;
    } else {
        args.out[threadIdx.x] = 2;
        __syncthreads();
    }
}

/* A sum over the warp that only half of it joins. */
KERNEL(emu_half_warp, emu_test_args, THREADS)
{
    float x = 1.0f;
    if (threadIdx.x % WARP < WARP / 2)
        x = warp_sum(x);
    args.out[threadIdx.x] = (uint32_t)x;
}

KERNEL(emu_beyond_shared, emu_test_args, THREADS)
{
    uint32_t *block = shared_at<uint32_t>(0, THREADS + 1);
    block[threadIdx.x] = 1;
    args.out[threadIdx.x] = block[threadIdx.x];
}

/* out[block * 2] = sum over the warp's lanes; the ballot of odd lanes beside it. */
KERNEL(emu_warp, emu_test_args, THREADS)
{
    const float sum = warp_sum((float)args.in[threadIdx.x]);
    const uint32_t odd = __ballot_sync(ALL_LANES, threadIdx.x % 2 == 1);
    const uint32_t third = __shfl_sync(ALL_LANES, args.in[threadIdx.x], 3);
    uint32_t *own = args.out + 3 * threadIdx.x;
    own[0] = (uint32_t)sum;
    own[1] = odd;
    own[2] = third;
}

/* Which block and thread this is, for grids of three dimensions. */
KERNEL(emu_indices, emu_test_args, THREADS)
{
    const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const uint32_t n = blockDim.x * blockDim.y * blockDim.z;
    const uint32_t thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    args.out[block * n + thread] = block * n + thread;
}
