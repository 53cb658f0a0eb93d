/* A tile of a matrix as the copy engine knows it: made by the driver, given to kernels by value. */
#ifndef KERNELS_CUDA_TENSOR_MAP_H
#define KERNELS_CUDA_TENSOR_MAP_H

#include <stdint.h>

struct gpu_tensor_map {
    uint8_t opaque[128] __attribute__((aligned(64)));
};

#endif
