/* What emu_kernels.cu takes. */
#ifndef TESTS_UNIT_EMU_KERNELS_H
#define TESTS_UNIT_EMU_KERNELS_H

#include <stdint.h>

enum { EMU_TEST_THREADS = 64 };

struct emu_test_args {
    uint32_t *out;
    const uint32_t *in; /* EMU_TEST_THREADS of them */
};

#endif
