/* The emulated driver's device: its memory, tensor maps, and the table itself. */
#include <cstdlib>
#include <cstring>

#include "kernels/emu/gpu_parts.h"
#include "kernels/emu/races.h"
#include "kernels/emu/tensor_map.h"

enum : uint64_t { MEMORY_LEN = (uint64_t)4 << 30 };
enum : size_t { ADDRESS_ALIGN = 256 };

emu_random gpu_dice;
std::recursive_mutex gpu_turn;
static unsigned n_devices = 1;

size_t gpu_shared_len_max()
{
    return (size_t)(emu_chip() >= 90 ? 227 : 99) << 10;
}

struct err gpu_state(const gpu *g)
{
    if (g->failure.empty())
        return err_ok();
    return err_set(ERR_IO, "the emulated GPU failed: %s", g->failure.c_str());
}

static struct err emu_count(unsigned *out)
{
    *out = n_devices;
    return err_ok();
}

static struct err emu_open(gpu **out, unsigned index)
{
    if (index >= n_devices)
        return err_set(ERR_NOT_FOUND, "there is no GPU %u; %u are emulated", index, n_devices);
    *out = new gpu;
    (*out)->index = index;
    return err_ok();
}

static void emu_close(gpu *g)
{
    delete g;
}

static struct err emu_enter(gpu *g)
{
    return gpu_state(g);
}

static struct err emu_info(gpu *g, struct gpu_info *out)
{
    struct gpu_info info = {};
    strcpy(info.name, "emulated");
    info.uuid[15] = (uint8_t)g->index;
    info.major = emu_chip() / 10;
    info.n_multiprocessors = 4;
    info.driver_version = GPU_DRIVER_MIN;
    info.shared_len_max = gpu_shared_len_max();
    info.memory_len = MEMORY_LEN;
    info.memory_free = MEMORY_LEN - g->memory_used;
    info.l2_len = 1 << 20;
    *out = info;
    return gpu_state(g);
}

/* Each on its own, so that a sanitizer sees what goes beyond it. The length lies before it. */
static struct err emu_alloc(gpu *g, struct gpu_address *out, size_t len)
{
    TRY(gpu_state(g));
    uint64_t left = MEMORY_LEN - g->memory_used;
    uint8_t *p = len <= left
                     ? (uint8_t *)aligned_alloc(ADDRESS_ALIGN, (len + 2 * ADDRESS_ALIGN) /
                                                                   ADDRESS_ALIGN * ADDRESS_ALIGN)
                     : nullptr;
    if (p == nullptr)
        return err_set(ERR_MEMORY, "the emulated GPU has no %zu MiB free: %llu MiB are left",
                       (len >> 20) + 1, (unsigned long long)(left >> 20));
    memcpy(p, &len, sizeof len);
    memset(p + ADDRESS_ALIGN, 0xff, len);
    g->memory_used += len;
    emu::races_allocated(p + ADDRESS_ALIGN, len);
    out->at = (uint64_t)(uintptr_t)(p + ADDRESS_ALIGN);
    return err_ok();
}

static void emu_free(gpu *g, struct gpu_address a)
{
    if (a.at == 0)
        return;
    for (gpu_stream *s : g->streams)
        stream_drain(s); /* the driver, too, waits for what uses it */
    uint8_t *p = (uint8_t *)(uintptr_t)a.at - ADDRESS_ALIGN;
    size_t len;
    memcpy(&len, p, sizeof len);
    g->memory_used -= len;
    emu::races_freed(p + ADDRESS_ALIGN);
    free(p);
}

static struct err emu_host_alloc(gpu *g, void **out, size_t len)
{
    TRY(gpu_state(g));
    *out = malloc(len);
    return *out != nullptr ? err_ok() : err_set(ERR_MEMORY, "no memory for %zu bytes", len);
}

static void emu_host_free(gpu *g, void *p)
{
    (void)g;
    free(p);
}

/* As cuTensorMapEncodeTiled refuses them. */
static bool tensor_is_possible(const struct gpu_tensor *t, uint32_t swizzle, uint32_t size)
{
    return t->base.at % 16 == 0 && t->strides[0] % 16 == 0 && t->dims[0] > 0 && t->dims[1] > 0 &&
           t->box[0] >= 1 && t->box[0] <= 256 && t->box[1] >= 1 && t->box[1] <= 256 &&
           t->box[0] * size % 16 == 0 && (swizzle == 0 || t->box[0] * size <= swizzle);
}

static struct err emu_make_map(gpu *g, struct gpu_tensor_map *out, const struct gpu_tensor *tensor)
{
    static const uint32_t swizzles[] = {0, 32, 64, 128}, sizes[] = {2, 4};
    uint32_t swizzle = swizzles[tensor->swizzle], size = sizes[tensor->type];
    TRY(gpu_state(g));
    if (emu_chip() < 90)
        return err_set(ERR_UNSUPPORTED, "the emulated GPU has no copy engine: it is of 8.0");
    if (tensor->rank != 2)
        return err_set(ERR_UNSUPPORTED,
                       "the emulated GPU copies tiles of matrices only, not of %u "
                       "dimensions",
                       tensor->rank);
    if (!tensor_is_possible(tensor, swizzle, size))
        return err_set(ERR_LIMIT, "the GPU cannot describe a tensor for its copy engine");
    emu_tensor_map map = {EMU_TENSOR_MAP_MAGIC,
                          size,
                          tensor->base.at,
                          {tensor->dims[0], tensor->dims[1]},
                          tensor->strides[0],
                          {tensor->box[0], tensor->box[1]},
                          swizzle};
    static_assert(sizeof map <= sizeof out->opaque, "a tensor map has 128 bytes");
    memset(out->opaque, 0, sizeof out->opaque);
    memcpy(out->opaque, &map, sizeof map);
    return err_ok();
}

extern "C" void gpu_emu_chip(unsigned chip)
{
    emu_set_chip(chip);
}

extern "C" void gpu_emu_devices(unsigned n)
{
    n_devices = n;
}

extern "C" void gpu_emu_seed(uint64_t seed)
{
    gpu_dice.state = seed;
}

const struct gpu_driver gpu_emu = {
    "emu",
    true,
    emu_count,
    emu_open,
    emu_close,
    emu_enter,
    emu_info,
    emu_alloc,
    emu_free,
    emu_host_alloc,
    emu_host_free,
    emu_stream_new,
    emu_stream_free,
    emu_stream_wait,
    emu_stream_await,
    emu_copy_to,
    emu_copy_from,
    emu_copy,
    emu_fill,
    emu_event_new,
    emu_event_free,
    emu_event_record,
    emu_event_wait,
    emu_event_elapsed,
    emu_module_load,
    emu_module_free,
    emu_kernel_get,
    emu_launch,
    emu_capture_begin,
    emu_capture_end,
    emu_graph_launch,
    emu_graph_free,
    emu_make_map,
};
