/* What emu_async_kernels.cu takes. */
#ifndef TESTS_UNIT_EMU_ASYNC_KERNELS_H
#define TESTS_UNIT_EMU_ASYNC_KERNELS_H

#include <stdint.h>

#include "kernels/cuda/tensor_map.h"

/* Tiles of TILE_ROWS rows of TILE_COLS bf16, swizzled by 128 bytes; two or three of them. */
enum {
    TILE_ROWS = 32,
    TILE_COLS = 64,
    TILE_LEN = TILE_ROWS * TILE_COLS * 2,
    ASYNC_THREADS = 128,
    ASYNC_SHARED_LEN = 2 * TILE_LEN + 64,
    PAIR_ROUNDS = 3,
};

struct emu_async_args {
    struct gpu_tensor_map map; /* of boxes of a tile, or of half a tile's rows */
    uint16_t *out;
    const uint16_t *in;
};

#endif
