/* The driver's devices, memory, streams and events; the table of gpu_cuda. */
#include "kernels/cuda/gpu_cuda.h"
#include "kernels/cuda/gpu_cuda_handle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct err cuda_count(unsigned *out)
{
    const struct libcuda *cu = NULL;
    int n = 0;
    TRY(libcuda_get(&cu));
    TRY_CU(cu, cuDeviceGetCount_(&n), "count the devices");
    *out = (unsigned)n;
    return err_ok();
}

static struct err open_device(struct gpu *g, unsigned index)
{
    unsigned n = 0;
    TRY(cuda_count(&n));
    TRY(libcuda_get(&g->cu));
    if (index >= n)
        return err_set(ERR_NOT_FOUND, "there is no GPU %u; this machine has %u", index, n);
    g->index = index;
    TRY_CU(g->cu, cuDeviceGet_(&g->device, (int)index), "be found");
    TRY_CU(g->cu, cuDevicePrimaryCtxRetain_(&g->context, g->device), "be opened");
    CUresult result = g->cu->cuCtxSetCurrent_(g->context);
    if (result == CUDA_SUCCESS)
        return err_ok();
    g->cu->cuDevicePrimaryCtxRelease_(g->device);
    return libcuda_error(g->cu, result, "be opened");
}

static struct err cuda_open(struct gpu **out, unsigned index)
{
    struct gpu *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_set(ERR_MEMORY, "no memory for a GPU's record");
    struct err e = open_device(g, index);
    if (is_err(e)) {
        free(g);
        return e;
    }
    *out = g;
    return err_ok();
}

static void cuda_close(struct gpu *g)
{
    if (g == NULL)
        return;
    g->cu->cuDevicePrimaryCtxRelease_(g->device);
    free(g);
}

static struct err cuda_enter(struct gpu *g)
{
    TRY_CU(g->cu, cuCtxSetCurrent_(g->context), "be used by another thread");
    return err_ok();
}

static struct err attribute(struct gpu *g, CUdevice_attribute which, int *out)
{
    TRY_CU(g->cu, cuDeviceGetAttribute_(out, which, g->device), "describe itself");
    return err_ok();
}

static struct err cuda_info(struct gpu *g, struct gpu_info *out)
{
    struct gpu_info info = {0};
    CUuuid uuid;
    int version = 0, major = 0, minor = 0, n = 0, shared = 0, l2 = 0, ecc = 0;
    size_t memory_free = 0, memory_len = 0;
    TRY_CU(g->cu, cuDriverGetVersion_(&version), "tell the driver's version");
    TRY_CU(g->cu, cuDeviceGetName_(info.name, sizeof info.name, g->device), "describe itself");
    TRY_CU(g->cu, cuDeviceGetUuid_(&uuid, g->device), "describe itself");
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major));
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor));
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &n));
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &shared));
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &l2));
    TRY(attribute(g, CU_DEVICE_ATTRIBUTE_ECC_ENABLED, &ecc));
    TRY_CU(g->cu, cuMemGetInfo_(&memory_free, &memory_len), "tell its memory");
    memcpy(info.uuid, uuid.bytes, sizeof info.uuid);
    info.driver_version = (unsigned)version;
    info.major = (unsigned)major;
    info.minor = (unsigned)minor;
    info.n_multiprocessors = (unsigned)n;
    info.shared_len_max = (size_t)shared;
    info.l2_len = (uint64_t)l2;
    info.has_ecc = ecc != 0;
    info.memory_free = memory_free;
    info.memory_len = memory_len;
    *out = info;
    return err_ok();
}

static struct err no_memory(struct gpu *g, CUresult result, size_t len)
{
    size_t left = 0, all = 0;
    if (result != CUDA_ERROR_OUT_OF_MEMORY || g->cu->cuMemGetInfo_(&left, &all) != CUDA_SUCCESS)
        return libcuda_error(g->cu, result, "reserve memory");
    return err_set(ERR_MEMORY,
                   "GPU %u has no %zu MiB free: %zu of %zu MiB are left; ask for a smaller KV "
                   "cache or context, or end what else uses it",
                   g->index, (len >> 20) + 1, left >> 20, all >> 20);
}

static struct err cuda_alloc(struct gpu *g, struct gpu_address *out, size_t len)
{
    CUdeviceptr at = 0;
    CUresult result = g->cu->cuMemAlloc_(&at, len);
    if (result != CUDA_SUCCESS)
        return no_memory(g, result, len);
    out->at = (uint64_t)at;
    return err_ok();
}

/* What frees cannot fail for our callers: a device that failed before has nothing left to free. */
static void cuda_free(struct gpu *g, struct gpu_address a)
{
    if (a.at != 0)
        (void)g->cu->cuMemFree_((CUdeviceptr)a.at);
}

static struct err cuda_host_alloc(struct gpu *g, void **out, size_t len)
{
    TRY_CU(g->cu, cuMemHostAlloc_(out, len, CU_MEMHOSTALLOC_PORTABLE),
           "lock memory of this process for its copies");
    return err_ok();
}

static void cuda_host_free(struct gpu *g, void *p)
{
    if (p != NULL)
        (void)g->cu->cuMemFreeHost_(p);
}

static struct err cuda_stream_new(struct gpu *g, struct gpu_stream **out)
{
    struct gpu_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "no memory for a stream");
    s->gpu = g;
    CUresult result = g->cu->cuStreamCreate_(&s->handle, CU_STREAM_NON_BLOCKING);
    if (result != CUDA_SUCCESS) {
        free(s);
        return libcuda_error(g->cu, result, "open a stream");
    }
    *out = s;
    return err_ok();
}

static void cuda_stream_free(struct gpu_stream *s)
{
    if (s == NULL)
        return;
    (void)s->gpu->cu->cuStreamDestroy_(s->handle);
    free(s);
}

void *gpu_cuda_stream_handle(const struct gpu_stream *s)
{
    return s->handle;
}

static struct err cuda_stream_wait(struct gpu_stream *s)
{
    TRY_CU(s->gpu->cu, cuStreamSynchronize_(s->handle), "finish what it was given");
    return err_ok();
}

static struct err cuda_stream_await(struct gpu_stream *s, struct gpu_event *e)
{
    TRY_CU(s->gpu->cu, cuStreamWaitEvent_(s->handle, e->handle, 0), "order two streams");
    return err_ok();
}

static struct err cuda_copy_to(struct gpu_stream *s, struct gpu_address to, const void *from,
                               size_t len)
{
    TRY_CU(s->gpu->cu, cuMemcpyHtoDAsync_((CUdeviceptr)to.at, from, len, s->handle),
           "copy from this process");
    return err_ok();
}

static struct err cuda_copy_from(struct gpu_stream *s, void *to, struct gpu_address from,
                                 size_t len)
{
    TRY_CU(s->gpu->cu, cuMemcpyDtoHAsync_(to, (CUdeviceptr)from.at, len, s->handle),
           "copy to this process");
    return err_ok();
}

static struct err cuda_copy(struct gpu_stream *s, struct gpu_address to, struct gpu_address from,
                            size_t len)
{
    TRY_CU(s->gpu->cu, cuMemcpyDtoDAsync_((CUdeviceptr)to.at, (CUdeviceptr)from.at, len, s->handle),
           "copy its memory");
    return err_ok();
}

static struct err cuda_fill(struct gpu_stream *s, struct gpu_address to, uint8_t value, size_t len)
{
    TRY_CU(s->gpu->cu, cuMemsetD8Async_((CUdeviceptr)to.at, value, len, s->handle),
           "fill its memory");
    return err_ok();
}

static struct err cuda_event_new(struct gpu *g, struct gpu_event **out)
{
    struct gpu_event *e = calloc(1, sizeof *e);
    if (e == NULL)
        return err_set(ERR_MEMORY, "no memory for an event");
    e->gpu = g;
    CUresult result = g->cu->cuEventCreate_(&e->handle, CU_EVENT_DEFAULT);
    if (result != CUDA_SUCCESS) {
        free(e);
        return libcuda_error(g->cu, result, "make an event");
    }
    *out = e;
    return err_ok();
}

static void cuda_event_free(struct gpu_event *e)
{
    if (e == NULL)
        return;
    (void)e->gpu->cu->cuEventDestroy_(e->handle);
    free(e);
}

static struct err cuda_event_record(struct gpu_event *e, struct gpu_stream *s)
{
    TRY_CU(e->gpu->cu, cuEventRecord_(e->handle, s->handle), "record an event");
    return err_ok();
}

static struct err cuda_event_wait(struct gpu_event *e)
{
    TRY_CU(e->gpu->cu, cuEventSynchronize_(e->handle), "finish what it was given");
    return err_ok();
}

static struct err cuda_event_elapsed(double *out_ms, struct gpu_event *from, struct gpu_event *to)
{
    float ms = 0;
    TRY_CU(from->gpu->cu, cuEventElapsedTime_(&ms, from->handle, to->handle),
           "tell the time between two events");
    *out_ms = (double)ms;
    return err_ok();
}

const struct gpu_driver gpu_cuda = {
    .name = "cuda",
    .count = cuda_count,
    .open = cuda_open,
    .close = cuda_close,
    .enter = cuda_enter,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .stream_wait = cuda_stream_wait,
    .stream_await = cuda_stream_await,
    .copy_to = cuda_copy_to,
    .copy_from = cuda_copy_from,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_elapsed = cuda_event_elapsed,
    .module_load = cuda_module_load,
    .module_free = cuda_module_free,
    .kernel_get = cuda_kernel_get,
    .launch = cuda_launch,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .tensor_map = cuda_tensor_map,
};
