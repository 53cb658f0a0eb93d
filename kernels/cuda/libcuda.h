/*
 * The driver's libcuda.so.1, opened at run time; each function is looked up by the name of the ABI
 * that cuda.h declares (a bare "cuMemAlloc" would be an obsolete one). For gpu_cuda*.c alone.
 */
#ifndef KERNELS_CUDA_LIBCUDA_H
#define KERNELS_CUDA_LIBCUDA_H

#include <cuda.h>

#include "kernels/cuda/gpu.h"

/* Every function that is used. cuda.h renames a function to its newest ABI by a macro, so the name
 * that is looked up is made from what the macro expands to. */
#define LIBCUDA_FUNCTIONS(X)                                                                       \
    X(cuInit)                                                                                      \
    X(cuDriverGetVersion)                                                                          \
    X(cuGetErrorName)                                                                              \
    X(cuGetErrorString)                                                                            \
    X(cuDeviceGetCount)                                                                            \
    X(cuDeviceGet)                                                                                 \
    X(cuDeviceGetUuid)                                                                             \
    X(cuDeviceGetName)                                                                             \
    X(cuDeviceGetAttribute)                                                                        \
    X(cuDevicePrimaryCtxRetain)                                                                    \
    X(cuDevicePrimaryCtxRelease)                                                                   \
    X(cuCtxSetCurrent)                                                                             \
    X(cuMemGetInfo)                                                                                \
    X(cuMemAlloc)                                                                                  \
    X(cuMemFree)                                                                                   \
    X(cuMemHostAlloc)                                                                              \
    X(cuMemFreeHost)                                                                               \
    X(cuMemcpyHtoDAsync)                                                                           \
    X(cuMemcpyDtoHAsync)                                                                           \
    X(cuMemcpyDtoDAsync)                                                                           \
    X(cuMemsetD8Async)                                                                             \
    X(cuStreamCreate)                                                                              \
    X(cuStreamDestroy)                                                                             \
    X(cuStreamSynchronize)                                                                         \
    X(cuStreamWaitEvent)                                                                           \
    X(cuStreamBeginCapture)                                                                        \
    X(cuStreamEndCapture)                                                                          \
    X(cuEventCreate)                                                                               \
    X(cuEventDestroy)                                                                              \
    X(cuEventRecord)                                                                               \
    X(cuEventSynchronize)                                                                          \
    X(cuEventElapsedTime)                                                                          \
    X(cuModuleLoadData)                                                                            \
    X(cuModuleUnload)                                                                              \
    X(cuModuleGetFunction)                                                                         \
    X(cuFuncSetAttribute)                                                                          \
    X(cuFuncGetParamInfo)                                                                          \
    X(cuLaunchKernelEx)                                                                            \
    X(cuGraphInstantiate)                                                                          \
    X(cuGraphDestroy)                                                                              \
    X(cuGraphExecDestroy)                                                                          \
    X(cuGraphLaunch)                                                                               \
    X(cuTensorMapEncodeTiled)

#define LIBCUDA_FIELD(name) __typeof__(&name) name##_;
struct libcuda {
    LIBCUDA_FUNCTIONS(LIBCUDA_FIELD)
};
#undef LIBCUDA_FIELD

/* Opened and initialised once for the process; never closed. ERR_NOT_FOUND without a driver,
 * ERR_UNSUPPORTED when it is older than GPU_DRIVER_MIN. */
struct err libcuda_get(const struct libcuda **out) MUST_USE;

/* The error of a call that failed: `what` is what was wanted, such as "load the kernels". */
struct err libcuda_error(const struct libcuda *cu, CUresult result, const char *what) MUST_USE;

#define TRY_CU(cu, call, what)                                                                     \
    do {                                                                                           \
        CUresult result_ = (cu)->call;                                                             \
        if (result_ != CUDA_SUCCESS)                                                               \
            return libcuda_error((cu), result_, (what));                                           \
    } while (0)

#endif
