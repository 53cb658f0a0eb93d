/*
 * Host twins of what a Hopper block does beside its threads: barriers in shared memory that count
 * arrivals and bytes, the copy engine's tiles, the tensor cores' products of a warpgroup. Each copy
 * and each product takes effect at a drawn moment between its issue and the wait that needs it.
 *
 * Refused: an accumulator touched or a product issued without its fence; lanes or warps of a
 * warpgroup that issue different products; a box or an operand outside the shared memory or not
 * aligned as the chip needs it; more arrivals than a barrier counts. An accumulator holds NaN while
 * its product is under way.
 *
 * Shared memory has one image here: a missing proxy fence between ordinary stores and a copy or
 * product that reads them is not found.
 */
#ifndef KERNELS_EMU_ASYNC_H
#define KERNELS_EMU_ASYNC_H

#include <cstdint>

#include "kernels/emu/machine.h"

void emu_mbarrier_init(uint64_t *barrier, unsigned n_arrivals);
/* Expects `n_bytes` more of copies in this phase, then arrives. */
void emu_mbarrier_arrive(uint64_t *barrier, uint32_t n_bytes);
/* Until the phase of that parity is over. */
void emu_mbarrier_wait(uint64_t *barrier, unsigned parity);

/* The box of `map` at (x, y), elements, to `to`; its bytes count at `barrier` when it has landed.
 * What is outside of the tensor comes as zero. */
void emu_tensor_load(void *to, const void *map, int x, int y, uint64_t *barrier);

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
