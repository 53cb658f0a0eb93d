/* What gpu_cuda.c and gpu_cuda_launch.c share. */
#ifndef KERNELS_CUDA_GPU_CUDA_H
#define KERNELS_CUDA_GPU_CUDA_H

#include "kernels/cuda/libcuda.h"

struct gpu {
    const struct libcuda *cu;
    CUdevice device;
    CUcontext context; /* the primary one */
    unsigned index;
};

struct gpu_stream {
    struct gpu *gpu;
    CUstream handle;
};

struct gpu_event {
    struct gpu *gpu;
    CUevent handle;
};

/* gpu_cuda_launch.c */
struct err cuda_module_load(struct gpu *g, struct gpu_module **out, const void *image,
                            size_t len) MUST_USE;
void cuda_module_free(struct gpu_module *m);
struct err cuda_kernel_get(struct gpu_module *m, struct gpu_kernel **out, const char *name,
                           size_t shared_len) MUST_USE;
struct err cuda_launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *how,
                       const void *args, size_t args_len) MUST_USE;
struct err cuda_capture_begin(struct gpu_stream *s) MUST_USE;
struct err cuda_capture_end(struct gpu_stream *s, struct gpu_graph **out) MUST_USE;
struct err cuda_graph_launch(struct gpu_graph *g, struct gpu_stream *s) MUST_USE;
void cuda_graph_free(struct gpu_graph *g);
struct err cuda_tensor_map(struct gpu *g, struct gpu_tensor_map *out,
                           const struct gpu_tensor *tensor) MUST_USE;

#endif
