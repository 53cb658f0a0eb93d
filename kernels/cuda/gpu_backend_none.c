/* A build without nvcc. */
#include "kernels/cuda/gpu_backend.h"

const struct gpu_backend *gpu_backend_built(void)
{
    return NULL;
}
