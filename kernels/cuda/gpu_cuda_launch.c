/* Modules, launches, graphs and tensor maps of the driver. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gpu_cuda.h"

enum { KERNELS_MAX = 256, DEFAULT_SHARED_MAX = 48 << 10 };

struct gpu_kernel {
    CUfunction handle;
    size_t args_len;
};

struct gpu_module {
    struct gpu *gpu;
    CUmodule handle;
    struct gpu_kernel kernels[KERNELS_MAX];
    size_t n_kernels;
};

struct gpu_graph {
    struct gpu *gpu;
    CUgraphExec handle;
};

struct err cuda_module_load(struct gpu *g, struct gpu_module **out, const void *image, size_t len)
{
    (void)len; /* a fatbin says its own length */
    struct gpu_module *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_set(ERR_MEMORY, "no memory for a module");
    m->gpu = g;
    CUresult result = g->cu->cuModuleLoadData_(&m->handle, image);
    if (result == CUDA_SUCCESS) {
        *out = m;
        return err_ok();
    }
    free(m);
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU)
        return err_set(ERR_UNSUPPORTED,
                       "GPU %u is of a kind that no kernels were built for; use the CPU backend",
                       g->index);
    return libcuda_error(g->cu, result, "load the kernels");
}

void cuda_module_free(struct gpu_module *m)
{
    if (m == NULL)
        return;
    (void)m->gpu->cu->cuModuleUnload_(m->handle);
    free(m);
}

struct err cuda_kernel_get(struct gpu_module *m, struct gpu_kernel **out, const char *name,
                           size_t shared_len)
{
    const struct libcuda *cu = m->gpu->cu;
    char what[128];
    snprintf(what, sizeof what, "find the kernel %.80s", name);
    if (m->n_kernels == KERNELS_MAX)
        return err_set(ERR_LIMIT, "more than %d kernels of one module", KERNELS_MAX);
    struct gpu_kernel *k = &m->kernels[m->n_kernels];
    size_t at = 0;
    TRY_CU(cu, cuModuleGetFunction_(&k->handle, m->handle, name), what);
    TRY_CU(cu, cuFuncGetParamInfo_(k->handle, 0, &at, &k->args_len), what);
    if (shared_len > DEFAULT_SHARED_MAX) {
        snprintf(what, sizeof what, "give %zu bytes of shared memory to the kernel %.60s",
                 shared_len, name);
        TRY_CU(cu,
               cuFuncSetAttribute_(k->handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                   (int)shared_len),
               what);
    }
    m->n_kernels++;
    *out = k;
    return err_ok();
}

struct err cuda_launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *how,
                       const void *args, size_t args_len)
{
    CUlaunchAttribute attributes[2];
    CUlaunchConfig config = {.gridDimX = how->grid[0],
                             .gridDimY = how->grid[1],
                             .gridDimZ = how->grid[2],
                             .blockDimX = how->block[0],
                             .blockDimY = how->block[1],
                             .blockDimZ = how->block[2],
                             .sharedMemBytes = (unsigned)how->shared_len,
                             .hStream = s->handle,
                             .attrs = attributes};
    memset(attributes, 0, sizeof attributes);
    if (how->cluster > 1) {
        CUlaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        a->value.clusterDim.x = how->cluster;
        a->value.clusterDim.y = a->value.clusterDim.z = 1;
    }
    if (how->overlaps_previous) {
        CUlaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        a->value.programmaticStreamSerializationAllowed = 1;
    }
    /* Not as one buffer: that would have to hold the padding before an aligned struct, too. */
    void *params[] = {(void *)(uintptr_t)args};
    if (args_len != k->args_len)
        return err_set(ERR_UNTRUE, "a kernel takes %zu bytes of arguments, not %zu", k->args_len,
                       args_len);
    TRY_CU(s->gpu->cu, cuLaunchKernelEx_(&config, k->handle, params, NULL), "start a kernel");
    return err_ok();
}

struct err cuda_capture_begin(struct gpu_stream *s)
{
    TRY_CU(s->gpu->cu, cuStreamBeginCapture_(s->handle, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
           "begin a graph");
    return err_ok();
}

struct err cuda_capture_end(struct gpu_stream *s, struct gpu_graph **out)
{
    const struct libcuda *cu = s->gpu->cu;
    CUgraph graph = NULL;
    struct gpu_graph *g = calloc(1, sizeof *g);
    CUresult result = cu->cuStreamEndCapture_(s->handle, &graph);
    if (result == CUDA_SUCCESS && g != NULL)
        result = cu->cuGraphInstantiate_(&g->handle, graph, 0);
    if (graph != NULL)
        (void)cu->cuGraphDestroy_(graph);
    if (g == NULL)
        return err_set(ERR_MEMORY, "no memory for a graph");
    if (result != CUDA_SUCCESS) {
        free(g);
        return libcuda_error(cu, result, "make a graph of what it was given");
    }
    g->gpu = s->gpu;
    *out = g;
    return err_ok();
}

struct err cuda_graph_launch(struct gpu_graph *g, struct gpu_stream *s)
{
    TRY_CU(g->gpu->cu, cuGraphLaunch_(g->handle, s->handle), "start a graph");
    return err_ok();
}

void cuda_graph_free(struct gpu_graph *g)
{
    if (g == NULL)
        return;
    (void)g->gpu->cu->cuGraphExecDestroy_(g->handle);
    free(g);
}

struct err cuda_tensor_map(struct gpu *g, struct gpu_tensor_map *out,
                           const struct gpu_tensor *tensor)
{
    static const CUtensorMapDataType types[] = {CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                                CU_TENSOR_MAP_DATA_TYPE_FLOAT32};
    static const CUtensorMapSwizzle swizzles[] = {
        CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B, CU_TENSOR_MAP_SWIZZLE_64B,
        CU_TENSOR_MAP_SWIZZLE_128B};
    static const cuuint32_t steps[GPU_TENSOR_RANK_MAX] = {1, 1, 1, 1, 1};
    CUtensorMap map;
    cuuint64_t dims[GPU_TENSOR_RANK_MAX], strides[GPU_TENSOR_RANK_MAX];
    cuuint32_t box[GPU_TENSOR_RANK_MAX];
    for (unsigned i = 0; i < tensor->rank && i < GPU_TENSOR_RANK_MAX; i++) {
        dims[i] = tensor->dims[i];
        box[i] = tensor->box[i];
        strides[i] = i + 1 < tensor->rank ? tensor->strides[i] : 0;
    }
    TRY_CU(g->cu,
           cuTensorMapEncodeTiled_(&map, types[tensor->type], tensor->rank,
                                   (void *)(uintptr_t)tensor->base.at, dims, strides, box, steps,
                                   CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[tensor->swizzle],
                                   tensor->read_once ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B
                                                     : CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
           "describe a tensor for its copy engine");
    static_assert(sizeof map == sizeof out->opaque, "a tensor map is 128 bytes");
    memcpy(out->opaque, &map, sizeof map);
    return err_ok();
}
