/* What the kernels of probes.cu take, as kernels/cuda/args.h has it. */
#ifndef BENCH_RIG_ARGS_H
#define BENCH_RIG_ARGS_H

#include <stdint.h>

/* probe_products: each of a block's PROBE_GROUPS warpgroups multiplies 64 rows by 256, both of 64
 * columns, n_rounds times. Any number of blocks of PROBE_BLOCK threads, PROBE_SHARED_LEN bytes of
 * shared memory. */
enum { PROBE_GROUPS = 2, PROBE_BLOCK = 128 * PROBE_GROUPS };
enum { PROBE_ROWS = 64, PROBE_OTHERS = 256, PROBE_COLS = 64 };
enum { PROBE_SHARED_LEN = (PROBE_GROUPS * PROBE_ROWS + PROBE_OTHERS) * PROBE_COLS * 2 };

struct probe_products_args {
    float *out;             /* (blocks, PROBE_BLOCK): something of every result */
    const uint16_t *values; /* bf16 (PROBE_SHARED_LEN / 2) */
    uint32_t n_rounds;
};

#endif
