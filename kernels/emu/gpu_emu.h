/*
 * The emulated GPU behind the driver's table: the kernels of this program run on the CPU, one
 * thread, slowly and strictly. What is enqueued runs at a moment that is drawn between its
 * enqueueing and the first call that waits for it, so host code that forgets to wait is found.
 * Memory of the device is filled with NaN (ff) when it is reserved. A kernel that breaks a rule of
 * the machine ends the device: every call after it fails with its reason.
 */
#ifndef KERNELS_EMU_GPU_EMU_H
#define KERNELS_EMU_GPU_EMU_H

#include "kernels/cuda/gpu.h"

extern const struct gpu_driver gpu_emu;

/* Which chip it is from now on: 90 (Hopper, as at first) or 80 (Ampere). */
void gpu_emu_chip(unsigned chip);
/* How many there are from now on: 1 as at first, at most 16. Several may be used at a time, each by
 * one thread: they take turns. */
void gpu_emu_devices(unsigned n);
/* Of what is drawn from now on. */
void gpu_emu_seed(uint64_t seed);

#endif
