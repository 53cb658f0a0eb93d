/*
 * What a Hopper block does beside its threads' arithmetic: barriers in shared memory that count
 * arrivals and bytes, clusters, the copy engine's tiles and bytes in and out of shared memory.
 * For sm_90a alone.
 */
#ifndef KERNELS_CUDA_PTX_COPIES_CUH
#define KERNELS_CUDA_PTX_COPIES_CUH

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/tensor_map.h"

#if defined(__CUDACC__)

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

/* At the barrier in the same place of another block of the cluster (or of this one). It releases
 * nothing to the other block that the thread wrote (with .release.cluster it would, by a fence of
 * all its memory that takes as long as many products): it says that copies and products that it
 * waited for have read what may now be overwritten. */
DEVICE void mbarrier_arrive_remote(uint64_t *barrier, uint32_t rank)
{
    asm volatile("{\n"
                 ".reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
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

/* For what is read once: its lines are the first that the L2 cache gives up. */
DEVICE void tensor_load_2d_once(void *to, const gpu_tensor_map *map, int x, int y,
                                uint64_t *barrier)
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier)), "l"(policy)
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

#else

DEVICE void mbarrier_init(uint64_t *barrier, uint32_t n_arrivals)
{
    emu_mbarrier_init(barrier, n_arrivals);
}

DEVICE void fence_mbarrier_init()
{
    emu_fence_mbarrier_init();
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

DEVICE void tensor_load_2d_once(void *to, const gpu_tensor_map *map, int x, int y,
                                uint64_t *barrier)
{
    tensor_load_2d(to, map, x, y, barrier);
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

#endif

#endif
