/*
 * What every kernel file starts from, compiled by nvcc for the GPU and by g++ for the emulator:
 * KERNEL(), shared memory as offsets into the block's dynamic part, bf16 as bits, sums over a warp
 * and a block in one fixed order.
 *
 * No header of the toolkit's: nothing here depends on its version.
 */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#if defined(__CUDACC__)
#include <stdint.h>

/* One struct by value is a kernel's whole interface; `args` is its name inside. n_blocks of it go
 * on one multiprocessor, by their registers. */
#define KERNEL_BESIDE(name, args_type, max_threads, n_blocks)                                      \
    extern "C" __global__ void __launch_bounds__(max_threads, n_blocks)                            \
        name(const __grid_constant__ args_type args)

extern __shared__ __align__(1024) uint8_t shared_block[];

template <typename type> static __device__ __forceinline__ type *shared_at(size_t offset, size_t n)
{
    (void)n; /* checked by the emulator */
    return (type *)(shared_block + offset);
}

#else
#include "kernels/emu/device.h"

template <typename type> static inline type *shared_at(size_t offset, size_t n)
{
    return (type *)emu_shared(offset, n * sizeof(type));
}

#endif

#define KERNEL(name, args_type, max_threads) KERNEL_BESIDE(name, args_type, max_threads, 1)

/* Before a loop over a thread's registers: rolled, they would lie in memory. */
#if defined(__CUDACC__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__

enum { WARP = 32 };
#define ALL_LANES 0xffffffffu

/* A bfloat16: the upper half of a float. */
struct bf16 {
    uint16_t bits;
};

DEVICE float widen(bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* To nearest, ties to even; a NaN becomes 7fff, as the device's own instruction has it. */
DEVICE bf16 narrow(float x)
{
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bf16{0x7fff};
    return bf16{(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

/* Of integers: the order is of no account. */
DEVICE void atomic_add(uint64_t *at, uint64_t more)
{
    atomicAdd((unsigned long long *)at, (unsigned long long)more);
}

/* The sum of all lanes' values, the same in every lane: lanes 16 apart first, then 8, 4, 2, 1. */
DEVICE float warp_sum(float x)
{
    for (int apart = WARP / 2; apart > 0; apart /= 2)
        x = x + __shfl_xor_sync(ALL_LANES, x, apart);
    return x;
}

/* The sum over a block of `n_warps` whole warps, the same in every thread: each warp's as above,
 * then the warps ascending. `scratch` holds n_warps floats and is free again after the next
 * barrier.
 */
DEVICE float block_sum(float x, float *scratch, unsigned n_warps)
{
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0)
        scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0.0f;
    for (unsigned i = 0; i < n_warps; i++)
        sum = sum + scratch[i];
    return sum;
}

#endif
