/* The kernels that were compiled into this program, by name: what a module is to the driver. */
#ifndef KERNELS_EMU_REGISTRY_H
#define KERNELS_EMU_REGISTRY_H

#include <cstddef>

#include "kernels/emu/machine.h"

struct emu_registration {
    const char *name;
    emu_kernel kernel;
    size_t args_len;
    unsigned max_threads; /* that a block may have: the kernel's launch bounds */
    const emu_registration *next;
    /* Seen so far: a thread lets the launch behind begin before it has waited for the launch ahead.
     * Of other kernels that is over when the launch behind begins. */
    mutable bool lets_early = false;

    emu_registration(const char *name, emu_kernel kernel, size_t args_len, unsigned max_threads);
};

/* nullptr when there is none. */
const emu_registration *emu_find(const char *name);

#endif
