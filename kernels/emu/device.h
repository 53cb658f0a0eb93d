/*
 * What nvcc gives to a .cu file, for g++: the qualifiers, the built-in variables and the operations
 * of a warp and a block, on the emulated multiprocessor. kernels/cuda/device.cuh includes it; no
 * kernel does by itself.
 */
#ifndef KERNELS_EMU_DEVICE_H
#define KERNELS_EMU_DEVICE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/emu/machine.h"
#include "kernels/emu/registry.h"

#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict

#define threadIdx (emu_thread_index())
#define blockIdx (emu_block_index())
#define blockDim (emu_block_size())
#define gridDim (emu_grid_size())

/* extern "C" __global__, and the name is entered where the emulated driver looks for it. */
#define KERNEL_BESIDE(name, args_type, max_threads, n_blocks)                                      \
    extern "C" void name(const args_type &);                                                       \
    static const emu_registration name##_registration(                                             \
        #name, [](const void *args) { name(*(const args_type *)args); }, sizeof(args_type),        \
        max_threads);                                                                              \
    extern "C" void name(const args_type &args)

/* Not inlined: where it returns to is the call that all lanes of a warp must share. */
#define EMU_CALL __builtin_extract_return_addr(__builtin_return_address(0))

template <typename type>
__attribute__((noinline)) type emu_from_lane(uint32_t lanes, type value, unsigned from)
{
    static_assert(sizeof(type) <= 8, "one exchange moves eight bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = emu_exchange(lanes, bits, from, EMU_CALL);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename type> __forceinline__ type __shfl_xor_sync(uint32_t lanes, type value, int mask)
{
    return emu_from_lane(lanes, value, (threadIdx.x % 32) ^ (unsigned)mask);
}

template <typename type> __forceinline__ type __shfl_sync(uint32_t lanes, type value, int from)
{
    return emu_from_lane(lanes, value, (unsigned)from % 32);
}

__attribute__((noinline)) inline uint32_t __ballot_sync(uint32_t lanes, bool value)
{
    return emu_ballot(lanes, value, EMU_CALL);
}

__attribute__((noinline)) inline void __syncwarp(uint32_t lanes = 0xffffffffu)
{
    emu_warp_barrier(lanes, EMU_CALL);
}

__attribute__((noinline)) inline void __syncthreads()
{
    const emu_index &size = blockDim;
    emu_barrier(0, size.x * size.y * size.z, EMU_CALL);
}

/* One thread of the system runs all threads: what does not stop in between is atomic. Not a plain
 * load and store to who watches for races. */
#define EMU_ATOMIC __attribute__((noinline, no_sanitize("thread")))

template <typename type> EMU_ATOMIC type atomicAdd(type *at, type more)
{
    emu_atomic(at, sizeof *at);
    const type before = *at;
    *at = before + more;
    return before;
}

template <typename type> EMU_ATOMIC type atomicOr(type *at, type bits)
{
    emu_atomic(at, sizeof *at);
    const type before = *at;
    *at = before | bits;
    return before;
}

/* The upper half of the product. */
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 wide;
    return (unsigned long long)((wide)a * b >> 64);
}

/* IEEE, rounded to nearest: what these names promise on the device. */
__forceinline__ float __fdiv_rn(float a, float b)
{
    return a / b;
}

__forceinline__ float __fsqrt_rn(float a)
{
    return sqrtf(a);
}

__forceinline__ uint32_t __float_as_uint(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

__forceinline__ float __uint_as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
