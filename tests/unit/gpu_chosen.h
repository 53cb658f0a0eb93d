/* The GPU that tests of kernels and engine compute on: the emulated one, or with BL_TEST_GPU=cuda
 * the first of this machine, in a build that has machine code for it (the preset gpu). The same
 * tests then show that it computes what the emulated one does, bit for bit. */
#ifndef TESTS_UNIT_GPU_CHOSEN_H
#define TESTS_UNIT_GPU_CHOSEN_H

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gpu_backend.h"
#include "kernels/emu/gpu_emu.h"

static inline void gpu_must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

#if defined(BL_TEST_CUDA)
static const struct gpu_backend *gpu_of_this_machine(void)
{
    static struct gpu *kept; /* or each test would begin by starting the device */
    const struct gpu_backend *built = gpu_backend_built();
    if (kept == NULL)
        gpu_must(built->driver->open(&kept, 0));
    return built;
}
#else
static const struct gpu_backend *gpu_of_this_machine(void)
{
    fail_msg("BL_TEST_GPU=cuda: this build has no machine code; build the preset gpu");
    return NULL;
}
#endif

static const struct gpu_backend *gpu_chosen(void)
{
    static const struct gpu_backend emulated = {.driver = &gpu_emu};
    const char *name = getenv("BL_TEST_GPU");
    if (name == NULL || strcmp(name, "emu") == 0)
        return &emulated;
    if (strcmp(name, "cuda") != 0)
        fail_msg("BL_TEST_GPU is emu or cuda, not \"%s\"", name);
    return gpu_of_this_machine();
}

#endif
