/*
 * What a warp does with small matrices, and copies of a thread into shared memory: the instructions
 * of Ampere (sm_80), which Hopper has, too. Names and order of operands are PTX's (PTX ISA 9.0).
 */
#ifndef KERNELS_CUDA_PTX_WARP_CUH
#define KERNELS_CUDA_PTX_WARP_CUH

#include "kernels/cuda/ptx.cuh"

#if defined(__CUDACC__)

/* Four matrices of 8 by 8 bf16 from shared memory: row i of a matrix is the 16 bytes at the address
 * that lane 8 * matrix + i gives, a multiple of 16. A lane gets row lane / 4, columns 2 * (lane %
 * 4) and the next, the lower half first. */
DEVICE void ldmatrix_x4(uint32_t (&to)[4], const void *from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from))
                 : "memory");
}

/* The same of each matrix turned. */
DEVICE void ldmatrix_x4_turned(uint32_t (&to)[4], const void *from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from))
                 : "memory");
}

/* d (16, 8) += a (16, 16) b (8, 16)^T, bf16. a: the matrices of rows 0 to 7 and 8 to 15 of columns
 * 0 to 7, then of columns 8 to 15; b: columns 0 to 7, then 8 to 15; d: rows lane / 4 and 8 more,
 * columns 2 * (lane % 4) and the next: four a lane. */
DEVICE void mma(float *d, const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Sixteen bytes, or zeros where there is nothing at `from`. */
DEVICE void copy_async(void *to, const void *from, bool is_there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(is_there ? 16 : 0)
                 : "memory");
}

/* The thread's copies so far are one group. */
DEVICE void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until all but the thread's `n_left` newest groups have come; for the thread alone. */
template <int n_left> DEVICE void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(n_left) : "memory");
}

#else

#define EMU_OPERATION __attribute__((noinline)) inline

EMU_OPERATION void ldmatrix_x4(uint32_t (&to)[4], const void *from)
{
    emu_ldmatrix(to, from, 4, false, EMU_CALL);
}

EMU_OPERATION void ldmatrix_x4_turned(uint32_t (&to)[4], const void *from)
{
    emu_ldmatrix(to, from, 4, true, EMU_CALL);
}

EMU_OPERATION void mma(float *d, const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    emu_mma(d, a, b, EMU_CALL);
}

DEVICE void copy_async(void *to, const void *from, bool is_there)
{
    emu_copy_async(to, from, is_there);
}

DEVICE void copy_async_commit()
{
    emu_copy_async_commit();
}

template <int n_left> DEVICE void copy_async_wait()
{
    emu_copy_async_wait(n_left);
}

#endif

#endif
