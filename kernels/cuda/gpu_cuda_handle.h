/* For benchmarks alone, which compare with libraries of the driver's vendor. */
#ifndef KERNELS_CUDA_GPU_CUDA_HANDLE_H
#define KERNELS_CUDA_GPU_CUDA_HANDLE_H

#include "kernels/cuda/gpu.h"

/* The CUstream of a stream that gpu_cuda made. */
void *gpu_cuda_stream_handle(const struct gpu_stream *s);

#endif
