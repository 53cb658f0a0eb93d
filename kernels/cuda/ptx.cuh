/*
 * Every PTX instruction that the kernels use, one a function; for the emulator, its host twin.
 * Hopper (sm_90a) alone. Names and order of operands are PTX's (PTX ISA 9.0).
 */
#ifndef KERNELS_CUDA_PTX_CUH
#define KERNELS_CUDA_PTX_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/tensor_map.h"

/* Accumulators of a thread for a product of 64 rows and n columns: n / 2. Element i is row
 * 16 * warp + lane / 4 + 8 * (i / 2 % 2), column 8 * (i / 4) + 2 * (lane % 4) + i % 2. */
template <int n> struct accumulators {
    float d[n / 2];
};

/* An operand of wgmma in shared memory: rows of 64 bf16 along K, 128 bytes, swizzled by 128 bytes
 * as the copy engine leaves them; eight rows are 1024 bytes. `at` is a multiple of 1024 plus 32 for
 * each step of 16 along K. (PTX ISA, "Matrix descriptor": start and stride in units of 16 bytes;
 * the leading offset is of no account here; 1 in the top bits says 128 bytes.) */
DEVICE uint64_t wgmma_operand(uint32_t at)
{
    return (uint64_t)(at & 0x3ffff) >> 4 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

#if defined(__CUDACC__)

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

DEVICE void mbarrier_init(uint64_t *barrier, uint32_t n_arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(n_arrivals)
                 : "memory");
}

/* Makes barriers that were just initialised visible to the copy engine. */
DEVICE void fence_mbarrier_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

DEVICE void mbarrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/* At the barrier in the same place of another block of the cluster (or of this one). */
DEVICE void mbarrier_arrive_remote(uint64_t *barrier, uint32_t rank)
{
    asm volatile("{\n"
                 ".reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n"
                 "}\n" ::"r"(shared_address(barrier)),
                 "r"(rank)
                 : "memory");
}

DEVICE uint32_t cluster_rank()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Blocks of a cluster; 1 where the launch has none. */
DEVICE uint32_t cluster_size()
{
    uint32_t n;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
    return n;
}

/* The two halves of the cluster's barrier, for every thread of it that has not ended. */
DEVICE void cluster_arrive()
{
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}

DEVICE void cluster_wait()
{
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

DEVICE void mbarrier_arrive_expect_tx(uint64_t *barrier, uint32_t n_bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(n_bytes)
        : "memory");
}

DEVICE void mbarrier_wait_parity(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}\n" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

DEVICE void tensor_load_2d(void *to, const gpu_tensor_map *map, int x, int y, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier))
                 : "memory");
}

/* The same box into each block of the cluster whose bit is set, in the same place; its bytes count
 * at each one's own barrier, in the same place. */
DEVICE void tensor_load_2d_multicast(void *to, const gpu_tensor_map *map, int x, int y,
                                     uint64_t *barrier, uint16_t blocks)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier)), "h"(blocks)
                 : "memory");
}

/* Stores by the copy engine: they read shared memory later, see fence_proxy_async. */
DEVICE void tensor_store_2d(const gpu_tensor_map *map, int x, int y, const void *from)
{
    asm volatile(
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
        "r"(x), "r"(y), "r"(shared_address(from))
        : "memory");
}

/* `len` and both addresses are multiples of 16. */
DEVICE void bulk_store(void *to, const void *from, uint32_t len)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(shared_address(from)), "r"(len)
                 : "memory");
}

/* The thread's stores so far are one group. */
DEVICE void bulk_commit()
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until all but the thread's `n_left` newest groups have read their shared memory. */
template <int n_left> DEVICE void bulk_wait_read()
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(n_left) : "memory");
}

template <int n_left> DEVICE void bulk_wait()
{
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(n_left) : "memory");
}

/* Until the launches ahead of this one have ended and what they wrote is visible; at once where
 * this one does not overlap them, and on chips where none does. */
DEVICE void grid_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* The launch behind this one may begin, as far as it can without grid_wait. */
DEVICE void grid_launch_dependents()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Four matrices of 8 by 8 bf16, held as a product leaves them (lane / 4 is the row; a lane has two
 * neighbours of it in one register), each stored turned: column i as eight bf16 at the address that
 * lane 8 * matrix + i gives, a multiple of 16. */
DEVICE void stmatrix_x4_turned(void *to, const uint32_t (&matrices)[4])
{
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 [%0], {%1, %2, %3, %4};" ::"r"(
            shared_address(to)),
        "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
        : "memory");
}

DEVICE void tensor_map_prefetch(const gpu_tensor_map *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* Ordinary stores to shared memory before it are seen by the copy engine and the tensor cores after
 * it. */
DEVICE void fence_proxy_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Barrier `id` (1 to 15; 0 is __syncthreads's) for n_threads threads, whole warps. */
DEVICE void barrier_sync(uint32_t id, uint32_t n_threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n_threads) : "memory");
}

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

#include "kernels/emu/async.h"
#include "kernels/emu/warp_matrix.h"

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)emu_shared_offset(p);
}

DEVICE void mbarrier_init(uint64_t *barrier, uint32_t n_arrivals)
{
    emu_mbarrier_init(barrier, n_arrivals);
}

DEVICE void fence_mbarrier_init()
{
}

DEVICE void mbarrier_arrive(uint64_t *barrier)
{
    emu_mbarrier_arrive(barrier, 0);
}

DEVICE void mbarrier_arrive_expect_tx(uint64_t *barrier, uint32_t n_bytes)
{
    emu_mbarrier_arrive(barrier, n_bytes);
}

DEVICE void mbarrier_wait_parity(uint64_t *barrier, uint32_t parity)
{
    emu_mbarrier_wait(barrier, parity);
}

DEVICE void mbarrier_arrive_remote(uint64_t *barrier, uint32_t rank)
{
    emu_mbarrier_arrive_remote(barrier, rank);
}

DEVICE uint32_t cluster_rank()
{
    return emu_cluster_rank();
}

DEVICE uint32_t cluster_size()
{
    return emu_cluster_size();
}

DEVICE void cluster_arrive()
{
    emu_cluster_arrive();
}

DEVICE void cluster_wait()
{
    emu_cluster_wait();
}

DEVICE void tensor_load_2d(void *to, const gpu_tensor_map *map, int x, int y, uint64_t *barrier)
{
    emu_tensor_load(to, map, x, y, barrier, 1u << emu_cluster_rank());
}

DEVICE void tensor_load_2d_multicast(void *to, const gpu_tensor_map *map, int x, int y,
                                     uint64_t *barrier, uint16_t blocks)
{
    emu_tensor_load(to, map, x, y, barrier, blocks);
}

DEVICE void tensor_store_2d(const gpu_tensor_map *map, int x, int y, const void *from)
{
    emu_tensor_store(map, x, y, from);
}

DEVICE void bulk_store(void *to, const void *from, uint32_t len)
{
    emu_bulk_store(to, from, len);
}

DEVICE void bulk_commit()
{
    emu_bulk_commit();
}

template <int n_left> DEVICE void bulk_wait_read()
{
    emu_bulk_wait(n_left, true);
}

template <int n_left> DEVICE void bulk_wait()
{
    emu_bulk_wait(n_left, false);
}

DEVICE void grid_wait()
{
    emu_grid_wait();
}

DEVICE void grid_launch_dependents()
{
}

__attribute__((noinline)) inline void stmatrix_x4_turned(void *to, const uint32_t (&matrices)[4])
{
    emu_stmatrix(to, matrices, 4, true, EMU_CALL);
}

DEVICE void tensor_map_prefetch(const gpu_tensor_map *)
{
}

DEVICE void fence_proxy_async()
{
    emu_fence_proxy_async();
}

__attribute__((noinline)) inline void barrier_sync(uint32_t id, uint32_t n_threads)
{
    emu_barrier(id, n_threads, EMU_CALL);
}

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
