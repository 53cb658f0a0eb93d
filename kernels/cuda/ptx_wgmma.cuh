/*
 * Products of a warpgroup, both operands in shared memory. For sm_90a alone.
 */
#ifndef KERNELS_CUDA_PTX_WGMMA_CUH
#define KERNELS_CUDA_PTX_WGMMA_CUH

#include "kernels/cuda/ptx.cuh"

/* An operand of wgmma in shared memory: rows of 64 bf16 along K, 128 bytes, swizzled by 128 bytes
 * as the copy engine leaves them; eight rows are 1024 bytes. `at` is a multiple of 1024 plus 32 for
 * each step of 16 along K. (PTX ISA, "Matrix descriptor": start and stride in units of 16 bytes;
 * the leading offset is of no account here; 1 in the top bits says 128 bytes.) */
DEVICE uint64_t wgmma_operand(uint32_t at)
{
    return (uint64_t)(at & 0x3ffff) >> 4 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* What to add to an operand for one that lies so many bytes further on. */
DEVICE uint64_t operand_apart(uint32_t n_bytes)
{
    return n_bytes >> 4;
}

#if defined(__CUDACC__)

DEVICE void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int n_left> DEVICE void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n_left) : "memory");
}

/* How many registers each thread of the warpgroup has from now on. */
template <int n> DEVICE void registers_release()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}

template <int n> DEVICE void registers_take()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

/* wgmma.mma_async of n columns: d = a b, plus d unless `fresh`. */
DEVICE void wgmma(accumulators<8> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %6, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3"
                 "}, %4, %5, add, 1, 1, 0, 0;\n}\n"
                 : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3])
                 : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<16> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %10, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7"
                 "}, %8, %9, add, 1, 1, 0, 0;\n}\n"
                 : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]),
                   "+f"(d.d[5]), "+f"(d.d[6]), "+f"(d.d[7])
                 : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<32> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
                 "}, %16, %17, add, 1, 1, 0, 0;\n}\n"
                 : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]),
                   "+f"(d.d[5]), "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]),
                   "+f"(d.d[10]), "+f"(d.d[11]), "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]),
                   "+f"(d.d[15])
                 : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<64> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}, %32, %33, add, 1, 1, 0, 0;\n}\n"
                 : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]),
                   "+f"(d.d[5]), "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]),
                   "+f"(d.d[10]), "+f"(d.d[11]), "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]),
                   "+f"(d.d[15]), "+f"(d.d[16]), "+f"(d.d[17]), "+f"(d.d[18]), "+f"(d.d[19]),
                   "+f"(d.d[20]), "+f"(d.d[21]), "+f"(d.d[22]), "+f"(d.d[23]), "+f"(d.d[24]),
                   "+f"(d.d[25]), "+f"(d.d[26]), "+f"(d.d[27]), "+f"(d.d[28]), "+f"(d.d[29]),
                   "+f"(d.d[30]), "+f"(d.d[31])
                 : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<96> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %50, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
        "}, %48, %49, add, 1, 1, 0, 0;\n}\n"
        : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3]), "+f"(d.d[4]), "+f"(d.d[5]),
          "+f"(d.d[6]), "+f"(d.d[7]), "+f"(d.d[8]), "+f"(d.d[9]), "+f"(d.d[10]), "+f"(d.d[11]),
          "+f"(d.d[12]), "+f"(d.d[13]), "+f"(d.d[14]), "+f"(d.d[15]), "+f"(d.d[16]), "+f"(d.d[17]),
          "+f"(d.d[18]), "+f"(d.d[19]), "+f"(d.d[20]), "+f"(d.d[21]), "+f"(d.d[22]), "+f"(d.d[23]),
          "+f"(d.d[24]), "+f"(d.d[25]), "+f"(d.d[26]), "+f"(d.d[27]), "+f"(d.d[28]), "+f"(d.d[29]),
          "+f"(d.d[30]), "+f"(d.d[31]), "+f"(d.d[32]), "+f"(d.d[33]), "+f"(d.d[34]), "+f"(d.d[35]),
          "+f"(d.d[36]), "+f"(d.d[37]), "+f"(d.d[38]), "+f"(d.d[39]), "+f"(d.d[40]), "+f"(d.d[41]),
          "+f"(d.d[42]), "+f"(d.d[43]), "+f"(d.d[44]), "+f"(d.d[45]), "+f"(d.d[46]), "+f"(d.d[47])
        : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<128> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, add, 1, 1, 0, 0;\n}\n"
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
          "+f"(d.d[60]), "+f"(d.d[61]), "+f"(d.d[62]), "+f"(d.d[63])
        : "l"(a), "l"(b), "r"((int)!fresh));
}

DEVICE void wgmma(accumulators<256> &d, uint64_t a, uint64_t b, bool fresh)
{
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "
        "%111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
        "%127"
        "}, %128, %129, add, 1, 1, 0, 0;\n}\n"
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
          "+f"(d.d[66]), "+f"(d.d[67]), "+f"(d.d[68]), "+f"(d.d[69]), "+f"(d.d[70]), "+f"(d.d[71]),
          "+f"(d.d[72]), "+f"(d.d[73]), "+f"(d.d[74]), "+f"(d.d[75]), "+f"(d.d[76]), "+f"(d.d[77]),
          "+f"(d.d[78]), "+f"(d.d[79]), "+f"(d.d[80]), "+f"(d.d[81]), "+f"(d.d[82]), "+f"(d.d[83]),
          "+f"(d.d[84]), "+f"(d.d[85]), "+f"(d.d[86]), "+f"(d.d[87]), "+f"(d.d[88]), "+f"(d.d[89]),
          "+f"(d.d[90]), "+f"(d.d[91]), "+f"(d.d[92]), "+f"(d.d[93]), "+f"(d.d[94]), "+f"(d.d[95]),
          "+f"(d.d[96]), "+f"(d.d[97]), "+f"(d.d[98]), "+f"(d.d[99]), "+f"(d.d[100]),
          "+f"(d.d[101]), "+f"(d.d[102]), "+f"(d.d[103]), "+f"(d.d[104]), "+f"(d.d[105]),
          "+f"(d.d[106]), "+f"(d.d[107]), "+f"(d.d[108]), "+f"(d.d[109]), "+f"(d.d[110]),
          "+f"(d.d[111]), "+f"(d.d[112]), "+f"(d.d[113]), "+f"(d.d[114]), "+f"(d.d[115]),
          "+f"(d.d[116]), "+f"(d.d[117]), "+f"(d.d[118]), "+f"(d.d[119]), "+f"(d.d[120]),
          "+f"(d.d[121]), "+f"(d.d[122]), "+f"(d.d[123]), "+f"(d.d[124]), "+f"(d.d[125]),
          "+f"(d.d[126]), "+f"(d.d[127])
        : "l"(a), "l"(b), "r"((int)!fresh));
}

#else

DEVICE void wgmma_fence()
{
    emu_wgmma_fence();
}

DEVICE void wgmma_commit()
{
    emu_wgmma_commit();
}

template <int n_left> DEVICE void wgmma_wait()
{
    emu_wgmma_wait(n_left);
}

template <int n> DEVICE void registers_release()
{
}

template <int n> DEVICE void registers_take()
{
}

template <int n>
__attribute__((noinline)) void wgmma(accumulators<n> &d, uint64_t a, uint64_t b, bool fresh)
{
    emu_wgmma(d.d, n, a, b, fresh, EMU_CALL);
}

#endif

#endif
