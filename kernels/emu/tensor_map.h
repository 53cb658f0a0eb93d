/* What the emulated driver keeps in a tensor map: of two dimensions, which is all that the kernels
 * use. */
#ifndef KERNELS_EMU_TENSOR_MAP_H
#define KERNELS_EMU_TENSOR_MAP_H

#include <cstdint>

enum : uint32_t { EMU_TENSOR_MAP_MAGIC = 0x50414d54 };

struct emu_tensor_map {
    uint32_t magic;
    uint32_t element_len; /* bytes */
    uint64_t base;
    uint64_t dims[2];
    uint64_t stride; /* bytes from row to row */
    uint32_t box[2];
    uint32_t swizzle; /* 0, 32, 64 or 128 */
};

#endif
