/*
 * Products of a warpgroup whose first operand is in registers and whose second has its rows across
 * K: what attention multiplies its weights and values with. For sm_90a alone.
 */
#ifndef KERNELS_CUDA_PTX_ROWS_CUH
#define KERNELS_CUDA_PTX_ROWS_CUH

#include "kernels/cuda/ptx_wgmma.cuh"

/* An operand in tiles whose rows are `swizzle` bytes (128, 64 or 32) and swizzled so. Rows along K:
 * `at` is a multiple of 8 * swizzle plus 32 for each step, and `leading` is of no account. Rows
 * across K, for wgmma_rows: `at` is a multiple of 8 * swizzle, 16 rows further for each step, and
 * the next swizzle / 2 columns lie `leading` bytes further on. */
template <uint32_t swizzle> DEVICE uint64_t wgmma_operand(uint32_t at, uint32_t leading)
{
    const uint64_t kind = swizzle == 128 ? 1 : swizzle == 64 ? 2 : 3;
    return (uint64_t)(at & 0x3ffff) >> 4 | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(8 * swizzle >> 4) << 32 | kind << 62;
}

/* The operand n bytes further on. The upper half has no address in it: no carry reaches it. */
DEVICE uint64_t wgmma_operand_behind(uint64_t operand, uint32_t n)
{
    return operand >> 32 << 32 | ((uint32_t)operand + n / 16);
}

#if defined(__CUDACC__)

/* In both halves of the word the most of three, without sign. */
DEVICE uint32_t most_u16x2(uint32_t x, uint32_t y, uint32_t z)
{
    uint32_t most;
    asm("{\n.reg .b32 of_two;\nmax.u16x2 of_two, %1, %2;\nmax.u16x2 %0, of_two, %3;\n}\n"
        : "=r"(most)
        : "r"(x), "r"(y), "r"(z));
    return most;
}

/* wgmma whose a is in registers, 64 rows and 16 of K: a[i] holds row 16 * warp + lane / 4 + 8 * (i
 * % 2), columns 8 * (i / 2) + 2 * (lane % 4) and the next, the lower half first. They are left
 * alone until the product is waited for. b has its rows across K. */
DEVICE void wgmma_rows(accumulators<72> &d, const uint32_t (&a)[4], uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %41, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
        "%34, %35"
        "}, {%36, %37, %38, %39}, %40, add, 1, 1, 1;\n}\n"
        : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]), "+f"(d.d[5]),
          "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]), "+f"(d.d[10]), "+f"(d.d[11]),
          "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]), "+f"(d.d[15]), "+f"(d.d[16]), "+f"(d.d[17]),
          "+f"(d.d[18]), "+f"(d.d[19]), "+f"(d.d[20]), "+f"(d.d[21]), "+f"(d.d[22]), "+f"(d.d[23]),
          "+f"(d.d[24]), "+f"(d.d[25]), "+f"(d.d[26]), "+f"(d.d[27]), "+f"(d.d[28]), "+f"(d.d[29]),
          "+f"(d.d[30]), "+f"(d.d[31]), "+f"(d.d[32]), "+f"(d.d[33]), "+f"(d.d[34]), "+f"(d.d[35])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma_rows(accumulators<104> &d, const uint32_t (&a)[4], uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %57, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n104k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
        "%50, %51"
        "}, {%52, %53, %54, %55}, %56, add, 1, 1, 1;\n}\n"
        : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]), "+f"(d.d[5]),
          "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]), "+f"(d.d[10]), "+f"(d.d[11]),
          "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]), "+f"(d.d[15]), "+f"(d.d[16]), "+f"(d.d[17]),
          "+f"(d.d[18]), "+f"(d.d[19]), "+f"(d.d[20]), "+f"(d.d[21]), "+f"(d.d[22]), "+f"(d.d[23]),
          "+f"(d.d[24]), "+f"(d.d[25]), "+f"(d.d[26]), "+f"(d.d[27]), "+f"(d.d[28]), "+f"(d.d[29]),
          "+f"(d.d[30]), "+f"(d.d[31]), "+f"(d.d[32]), "+f"(d.d[33]), "+f"(d.d[34]), "+f"(d.d[35]),
          "+f"(d.d[36]), "+f"(d.d[37]), "+f"(d.d[38]), "+f"(d.d[39]), "+f"(d.d[40]), "+f"(d.d[41]),
          "+f"(d.d[42]), "+f"(d.d[43]), "+f"(d.d[44]), "+f"(d.d[45]), "+f"(d.d[46]), "+f"(d.d[47]),
          "+f"(d.d[48]), "+f"(d.d[49]), "+f"(d.d[50]), "+f"(d.d[51])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma_rows(accumulators<136> &d, const uint32_t (&a)[4], uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %73, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n136k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, "
        "%66, %67"
        "}, {%68, %69, %70, %71}, %72, add, 1, 1, 1;\n}\n"
        : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]), "+f"(d.d[5]),
          "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]), "+f"(d.d[10]), "+f"(d.d[11]),
          "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]), "+f"(d.d[15]), "+f"(d.d[16]), "+f"(d.d[17]),
          "+f"(d.d[18]), "+f"(d.d[19]), "+f"(d.d[20]), "+f"(d.d[21]), "+f"(d.d[22]), "+f"(d.d[23]),
          "+f"(d.d[24]), "+f"(d.d[25]), "+f"(d.d[26]), "+f"(d.d[27]), "+f"(d.d[28]), "+f"(d.d[29]),
          "+f"(d.d[30]), "+f"(d.d[31]), "+f"(d.d[32]), "+f"(d.d[33]), "+f"(d.d[34]), "+f"(d.d[35]),
          "+f"(d.d[36]), "+f"(d.d[37]), "+f"(d.d[38]), "+f"(d.d[39]), "+f"(d.d[40]), "+f"(d.d[41]),
          "+f"(d.d[42]), "+f"(d.d[43]), "+f"(d.d[44]), "+f"(d.d[45]), "+f"(d.d[46]), "+f"(d.d[47]),
          "+f"(d.d[48]), "+f"(d.d[49]), "+f"(d.d[50]), "+f"(d.d[51]), "+f"(d.d[52]), "+f"(d.d[53]),
          "+f"(d.d[54]), "+f"(d.d[55]), "+f"(d.d[56]), "+f"(d.d[57]), "+f"(d.d[58]), "+f"(d.d[59]),
          "+f"(d.d[60]), "+f"(d.d[61]), "+f"(d.d[62]), "+f"(d.d[63]), "+f"(d.d[64]), "+f"(d.d[65]),
          "+f"(d.d[66]), "+f"(d.d[67])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)!fresh));
}

#else

DEVICE uint32_t most_u16x2(uint32_t x, uint32_t y, uint32_t z)
{
    const uint32_t all[3] = {x, y, z};
    uint32_t low = 0, high = 0;
    for (uint32_t i = 0; i < 3; i++) {
        low = (all[i] & 0xffff) > low ? all[i] & 0xffff : low;
        high = all[i] >> 16 > high ? all[i] >> 16 : high;
    }
    return high << 16 | low;
}

template <int n>
__attribute__((noinline)) void wgmma_rows(accumulators<n> &d, const uint32_t (&a)[4], uint64_t b,
                                          bool fresh)
{
    emu_wgmma_rows(d.d, n, a, b, fresh, EMU_CALL);
}

#endif

#endif
