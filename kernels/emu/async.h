/*
 * Host twins of what a Hopper block does beside its threads: barriers in shared memory that count
 * arrivals and bytes, the copy engine's tiles, the tensor cores' products of a warpgroup. Each copy
 * and each product takes effect at a drawn moment between its issue and the wait that needs it.
 *
 * Refused: an accumulator touched or a product issued without its fence; lanes or warps of a
 * warpgroup that issue different products; a box or an operand outside the shared memory or not
 * aligned as the chip needs it; more arrivals than a barrier counts; a copy or product that meets
 * what a thread has stored without fence.proxy.async, or an mbarrier that was made without its
 * fence; a thread that ends while a store of its own still reads shared memory; arrivals and copies
 * at a block that has ended. An accumulator holds NaN while its product is under way.
 */
#ifndef KERNELS_EMU_ASYNC_H
#define KERNELS_EMU_ASYNC_H

#include <cstdint>

#include "kernels/emu/machine.h"

void emu_mbarrier_init(uint64_t *barrier, unsigned n_arrivals);
/* Those that the calling thread has made are seen by copies and by other blocks. */
void emu_fence_mbarrier_init();
/* Expects `n_bytes` more of copies in this phase, then arrives. */
void emu_mbarrier_arrive(uint64_t *barrier, uint32_t n_bytes);
/* At the barrier in the same place of another block of the cluster. */
void emu_mbarrier_arrive_remote(uint64_t *barrier, unsigned rank);
/* Until the phase of that parity is over. */
void emu_mbarrier_wait(uint64_t *barrier, unsigned parity);
/* A copy's bytes have come. */
void emu_mbarrier_land(uint64_t *barrier, uint32_t n_bytes);

/* The calling thread's stores to shared memory become visible to copies and products. */
void emu_fence_proxy_async();

/* The box of `map` at (x, y), elements, to `to`; its bytes count at `barrier` when it has landed.
 * What is outside of the tensor comes as zero. So in every block of the cluster whose bit is set in
 * `blocks`, in the same place. */
void emu_tensor_load(void *to, const void *map, int x, int y, uint64_t *barrier, unsigned blocks);

/* The box from `from` to the tensor at (x, y), but for what is outside of it; `len` bytes from
 * shared memory. Each reads at a drawn moment up to the wait for its group, and writes at one after
 * that. */
void emu_tensor_store(const void *map, int x, int y, const void *from);
void emu_bulk_store(void *to, const void *from, uint32_t len);
void emu_bulk_commit();
/* Until all but `n_left` of the thread's newest groups have read, and written. */
void emu_bulk_wait(unsigned n_left, bool read_alone);
/* A copy of 16 bytes by a thread, or zeros; it lands at a drawn moment up to the wait for its
 * group.
 */
void emu_copy_async(void *to, const void *from, bool is_there);
void emu_copy_async_commit();
void emu_copy_async_wait(unsigned n_left);
/* A thread ends: its stores must have read. */
void emu_stores_end();

/* d (64, n) = a (64, 16) b (n, 16)^T, plus d unless `fresh`: the calling thread's n / 2 of them, as
 * PTX lays them out. a and b are descriptors of shared memory, rows along K, swizzled by 128, 64 or
 * 32 bytes. */
void emu_wgmma(float *d, unsigned n, uint64_t a, uint64_t b, bool fresh, const void *call);
/* a in four registers of each thread, read when the product is computed; b with its rows across K.
 */
void emu_wgmma_rows(float *d, unsigned n, const uint32_t *a, uint64_t b, bool fresh,
                    const void *call);
void emu_wgmma_fence();
void emu_wgmma_commit();
/* Until at most `n_left` of the newest groups are under way. */
void emu_wgmma_wait(unsigned n_left);

#endif
