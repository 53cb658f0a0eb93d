/* A libcuda.so.1 for tests of what a driver can answer: it has no device behind it. BL_FAKE_CUDA
 * tells its version (12040, 13000); BL_FAKE_CUDA_FAILS, as NAME:CODE, which function fails and how.
 * Built without most of its functions (FAKE_LACKS_MOST) it is a driver that is incomplete. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int result_of(const char *name)
{
    const char *fails = getenv("BL_FAKE_CUDA_FAILS");
    size_t len = strlen(name);
    if (fails != NULL && strncmp(fails, name, len) == 0 && fails[len] == ':')
        return atoi(fails + len + 1);
    return 0;
}

#define EXPORT __attribute__((visibility("default")))

int cuDriverGetVersion(int *version);
EXPORT int cuDriverGetVersion(int *version)
{
    const char *text = getenv("BL_FAKE_CUDA");
    *version = text != NULL ? atoi(text) : 0;
    return result_of("cuDriverGetVersion");
}

#ifndef FAKE_LACKS_MOST

int cuGetErrorName(int code, const char **out);
EXPORT int cuGetErrorName(int code, const char **out)
{
    *out = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_A_TEST";
    return 0;
}

int cuGetErrorString(int code, const char **out);
EXPORT int cuGetErrorString(int code, const char **out)
{
    *out = code == 2 ? "out of memory" : "as the test wants it";
    return 0;
}

int cuDeviceGetCount(int *out);
EXPORT int cuDeviceGetCount(int *out)
{
    *out = 1;
    return result_of("cuDeviceGetCount");
}

int cuDeviceGetName(char *out, int len, int device);
EXPORT int cuDeviceGetName(char *out, int len, int device)
{
    (void)device;
    strncpy(out, "a GPU of a test", (size_t)len);
    return result_of("cuDeviceGetName");
}

static bool is(const char *name, const char *value)
{
    const char *text = getenv(name);
    return text != NULL && strcmp(text, value) == 0;
}

/* As a driver that would compile, put off loading, or ask a daemon, unless it is told not to. */
int cuInit(unsigned flags);
EXPORT int cuInit(unsigned flags)
{
    (void)flags;
    if (!is("CUDA_DISABLE_PTX_JIT", "1") || !is("CUDA_CACHE_DISABLE", "1") ||
        !is("CUDA_MODULE_LOADING", "EAGER") || getenv("CUDA_FORCE_PTX_JIT") != NULL ||
        !is("CUDA_MPS_PIPE_DIRECTORY", "/dev/null/none"))
        return 801; /* CUDA_ERROR_NOT_SUPPORTED */
    return result_of("cuInit");
}

int cuDeviceGetUuid_v2(char out[16], int device);
EXPORT int cuDeviceGetUuid_v2(char out[16], int device)
{
    (void)device;
    memset(out, 0x5a, 16);
    return result_of("cuDeviceGetUuid_v2");
}

int cuDeviceGetAttribute(int *out, int which, int device);
EXPORT int cuDeviceGetAttribute(int *out, int which, int device)
{
    (void)device;
    *out = which; /* so that each is seen to be asked for by its own number */
    return result_of("cuDeviceGetAttribute");
}

int cuMemGetInfo_v2(size_t *left, size_t *all);
EXPORT int cuMemGetInfo_v2(size_t *left, size_t *all)
{
    *left = (size_t)100 << 20;
    *all = (size_t)1000 << 20;
    return result_of("cuMemGetInfo_v2");
}

int cuMemAlloc_v2(uint64_t *out, size_t len);
EXPORT int cuMemAlloc_v2(uint64_t *out, size_t len)
{
    (void)len;
    if (result_of("cuMemAlloc_v2") == 0)
        *out = 4096;
    return result_of("cuMemAlloc_v2");
}

/* Those whose outputs nobody looks at here. */
#define PLAIN(name)                                                                                \
    int name(void);                                                                                \
    EXPORT int name(void)                                                                          \
    {                                                                                              \
        return result_of(#name);                                                                   \
    }
PLAIN(cuDeviceGet)
PLAIN(cuDevicePrimaryCtxRetain)
PLAIN(cuDevicePrimaryCtxRelease_v2)
PLAIN(cuCtxSetCurrent)
PLAIN(cuMemFree_v2)
PLAIN(cuMemHostAlloc)
PLAIN(cuMemFreeHost)
PLAIN(cuMemcpyHtoDAsync_v2)
PLAIN(cuMemcpyDtoHAsync_v2)
PLAIN(cuMemcpyDtoDAsync_v2)
PLAIN(cuMemsetD8Async)
PLAIN(cuStreamCreate)
PLAIN(cuStreamDestroy_v2)
PLAIN(cuStreamSynchronize)
PLAIN(cuStreamWaitEvent)
PLAIN(cuStreamBeginCapture_v2)
PLAIN(cuStreamEndCapture)
PLAIN(cuEventCreate)
PLAIN(cuEventDestroy_v2)
PLAIN(cuEventRecord)
PLAIN(cuEventSynchronize)
PLAIN(cuEventElapsedTime_v2)
PLAIN(cuModuleLoadData)
PLAIN(cuModuleUnload)
PLAIN(cuModuleGetFunction)
PLAIN(cuFuncSetAttribute)
PLAIN(cuFuncGetParamInfo)
PLAIN(cuLaunchKernelEx)
PLAIN(cuGraphInstantiateWithFlags)
PLAIN(cuGraphDestroy)
PLAIN(cuGraphExecDestroy)
PLAIN(cuGraphLaunch)
PLAIN(cuTensorMapEncodeTiled)

#endif
