/*
 * The PTX instructions that the kernels use, one a function; for the emulator, its host twin: those
 * that every chip has, sm_80 and sm_90a. The others' files say their subject: ptx_warp.cuh (sm_80
 * and later), ptx_copies.cuh, ptx_wgmma.cuh and ptx_rows.cuh (sm_90a alone). Names and order of
 * operands are PTX's (PTX ISA 9.0).
 */
#ifndef KERNELS_CUDA_PTX_CUH
#define KERNELS_CUDA_PTX_CUH

#include "kernels/cuda/device.cuh"

/* Accumulators of a thread for a product of 64 rows and n columns: n / 2. Element i is row
 * 16 * warp + lane / 4 + 8 * (i / 2 % 2), column 8 * (i / 4) + 2 * (lane % 4) + i % 2. */
template <int n> struct accumulators {
    float d[n / 2];
};

#if defined(__CUDACC__)

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Until the launches ahead of this one have ended and what they wrote is visible; at once where
 * this one does not overlap them, and on chips where none does. */
DEVICE void grid_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* The launch behind this one may begin, as far as it can without grid_wait, once every block has
 * come here or ended. Of a kernel that comes here behind its grid_wait the launch ahead is over by
 * then. */
DEVICE void grid_launch_dependents()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Barrier `id` (1 to 15; 0 is __syncthreads's) for n_threads threads, whole warps. */
DEVICE void barrier_sync(uint32_t id, uint32_t n_threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n_threads) : "memory");
}

/* Sixteen bytes at a multiple of 16: of the device's memory, of shared memory. */
DEVICE void load_16(uint32_t (&to)[4], const void *from)
{
    asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
}

DEVICE void load_shared_16(uint32_t (&to)[4], const void *from)
{
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from))
                 : "memory");
}

DEVICE void store_16(void *to, const uint32_t (&from)[4])
{
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
                 : "memory");
}

/* narrow() of both in one instruction: `low` in the lower half. */
DEVICE uint32_t narrow_pair(float low, float high)
{
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

/* 2^x as the chip has it, in one instruction: some units in the last place from det_exp2, and 0
 * below -126. */
DEVICE float exp2_approximate(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else

#include "kernels/det.h"
#include "kernels/emu/async.h"
#include "kernels/emu/warp_matrix.h"

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)emu_shared_offset(p);
}

DEVICE void grid_wait()
{
    emu_grid_wait();
}

DEVICE void grid_launch_dependents()
{
    emu_grid_launch_dependents();
}

__attribute__((noinline)) inline void barrier_sync(uint32_t id, uint32_t n_threads)
{
    emu_barrier(id, n_threads, EMU_CALL);
}

DEVICE void load_16(uint32_t (&to)[4], const void *from)
{
    for (int i = 0; i < 4; i++)
        to[i] = ((const uint32_t *)from)[i];
}

DEVICE void load_shared_16(uint32_t (&to)[4], const void *from)
{
    load_16(to, from);
}

DEVICE void store_16(void *to, const uint32_t (&from)[4])
{
    for (int i = 0; i < 4; i++)
        ((uint32_t *)to)[i] = from[i];
}

DEVICE uint32_t narrow_pair(float low, float high)
{
    return (uint32_t)narrow(high).bits << 16 | narrow(low).bits;
}

/* Up to two units off, either way, but for an integer. */
DEVICE float exp2_approximate(float x)
{
    const uint32_t bits = det_bits(x > 126.0f ? INFINITY : det_exp2(x));
    const uint32_t off = (det_bits(x) * 2654435761u >> 16) % 5;
    return x != x || bits << 9 == 0 ? det_float(bits) : det_float(bits + off - 2);
}

#endif

#endif
