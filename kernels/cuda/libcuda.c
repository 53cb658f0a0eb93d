#include "kernels/cuda/libcuda.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct libcuda table;
static struct err open_error;
static char open_message[512];
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name) /* after cuda.h's renaming */

static struct err find(void *library, const char *name, void *out)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        return err_set(ERR_UNSUPPORTED,
                       "the NVIDIA driver's libcuda.so.1 lacks %s: it is too old; install one of "
                       "CUDA %d.%d or later",
                       name, GPU_DRIVER_MIN / 1000, GPU_DRIVER_MIN % 1000 / 10);
    memcpy(out, &symbol, sizeof symbol);
    return err_ok();
}

static struct err find_all(void *library)
{
#define FIND(name) TRY(find(library, TEXT(name), &table.name##_));
    LIBCUDA_FUNCTIONS(FIND)
#undef FIND
    return err_ok();
}

/* What runs is the machine code that is measured: the driver shall compile nothing, and take
 * nothing from a cache of what it compiled. It shall load kernels with their module, not at their
 * first launch: by then a sandbox may have closed (CUDA C++ Programming Guide, "CUDA Environment
 * Variables"). And it shall look for no MPS daemon (by default in /tmp, where anybody may pose as
 * one), whose process would hold our context. */
static struct err set_environment(void)
{
    if (setenv("CUDA_DISABLE_PTX_JIT", "1", 1) != 0 || setenv("CUDA_CACHE_DISABLE", "1", 1) != 0 ||
        setenv("CUDA_MODULE_LOADING", "EAGER", 1) != 0 ||
        setenv("CUDA_MPS_PIPE_DIRECTORY", "/dev/null/none", 1) != 0 ||
        unsetenv("CUDA_FORCE_PTX_JIT") != 0)
        return err_errno("the driver's environment cannot be set");
    return err_ok();
}

/* Before the rest is looked up: an old driver shall be called old, not incomplete. */
static struct err check_version(void *library)
{
    int version = 0;
    TRY(find(library, TEXT(cuDriverGetVersion), &table.cuDriverGetVersion_));
    if (table.cuDriverGetVersion_(&version) != CUDA_SUCCESS)
        return err_set(ERR_IO, "the NVIDIA driver does not tell its version");
    if (version < GPU_DRIVER_MIN)
        return err_set(ERR_UNSUPPORTED,
                       "the NVIDIA driver is of CUDA %d.%d; the kernels need %d.%d or later: "
                       "install a newer driver, or use the CPU backend",
                       version / 1000, version % 1000 / 10, GPU_DRIVER_MIN / 1000,
                       GPU_DRIVER_MIN % 1000 / 10);
    return err_ok();
}

static struct err open_library(void)
{
    TRY(set_environment());
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return err_set(ERR_NOT_FOUND,
                       "there is no NVIDIA driver here (%s); install one, or use the CPU backend",
                       dlerror());
    struct err e = check_version(library);
    if (!is_err(e))
        e = find_all(library);
    if (is_err(e)) {
        dlclose(library);
        return e;
    }
    CUresult result = table.cuInit_(0);
    return result == CUDA_SUCCESS ? err_ok() : libcuda_error(&table, result, "start the driver");
}

static void open_once(void)
{
    open_error = open_library();
    if (is_err(open_error))
        strncpy(open_message, err_message(), sizeof open_message - 1);
}

struct err libcuda_get(const struct libcuda **out)
{
    pthread_once(&once, open_once);
    if (is_err(open_error))
        return err_set(open_error.code, "%s", open_message);
    *out = &table;
    return err_ok();
}

static enum err_code code_of(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
        return ERR_MEMORY;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
    case CUDA_ERROR_NOT_FOUND:
        return ERR_NOT_FOUND;
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
        return ERR_UNSUPPORTED;
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
        return ERR_LIMIT;
    default:
        return ERR_IO;
    }
}

struct err libcuda_error(const struct libcuda *cu, CUresult result, const char *what)
{
    const char *name = NULL, *text = NULL;
    if (cu->cuGetErrorName_(result, &name) != CUDA_SUCCESS)
        name = "an unknown error";
    if (cu->cuGetErrorString_(result, &text) != CUDA_SUCCESS)
        text = "no reason given";
    return err_set(code_of(result), "the GPU cannot %s: %s (%s)", what, text, name);
}
