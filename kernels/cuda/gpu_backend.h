/*
 * What the engine computes with on a GPU: a driver, and machine code for it. A program that is
 * built with nvcc (BL_CUDA) holds the code of kernels.cu as one fatbin; tests have the emulated
 * GPU, whose code is part of the program itself.
 */
#ifndef KERNELS_CUDA_GPU_BACKEND_H
#define KERNELS_CUDA_GPU_BACKEND_H

#include "kernels/cuda/gpu.h"

struct gpu_backend {
    const struct gpu_driver *driver;
    const void *image; /* (image_len) bytes, a fatbin; NULL: the driver needs none */
    size_t image_len;
};

/* This program's; NULL when it was built without. */
const struct gpu_backend *gpu_backend_built(void);

#endif
