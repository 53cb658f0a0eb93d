/* C headers of ours, seen from C++. */
extern "C" {
#include "kernels/emu/gpu_emu.h"
}

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/emu/registry.h"
#include "kernels/emu/tensor_map.h"

enum : uint64_t { MEMORY_LEN = (uint64_t)4 << 30 };
enum : size_t { ADDRESS_ALIGN = 256 };

struct kernel_launch {
    const emu_registration *entry;
    struct gpu_launch how;
    std::vector<uint64_t> args;
};

/* What lies in a stream: a launch, or something else, which fails by setting the device's
 * `failure`. */
struct task {
    std::function<void()> run;
    std::shared_ptr<const kernel_launch> launch;
};

using chain = std::vector<std::shared_ptr<const kernel_launch>>;

enum : size_t { CHAIN_MAX = 6 };

static emu_random dice;
static unsigned n_devices = 1;
/* What is drawn, and the machine that runs, are one for all devices. */
static std::recursive_mutex turn;

/* Of a block. An Ampere has what the chips 8.6 and 8.9 have, the least of those that run its code.
 */
static size_t shared_len_max()
{
    return (size_t)(emu_chip() >= 90 ? 227 : 99) << 10;
}

struct gpu {
    unsigned index = 0;
    std::string failure; /* "" while it is well */
    uint64_t memory_used = 0;
    std::vector<gpu_stream *> streams;
};

struct gpu_stream {
    gpu *home;
    std::deque<task> tasks;
    bool capturing = false;
    std::vector<task> captured;
};

/* Counts of records, so that a wait knows which one it waits for. */
struct gpu_event {
    gpu *home;
    uint64_t n_recorded = 0, n_passed = 0;
    gpu_stream *stream = nullptr; /* that it was last recorded on */
    double passed_s = 0;
};

struct gpu_kernel {
    const emu_registration *entry;
    size_t shared_len;
};

struct gpu_module {
    gpu *home;
    std::vector<std::unique_ptr<gpu_kernel>> kernels;
};

struct gpu_graph {
    gpu *home;
    std::vector<task> tasks;
};

static struct err state(const gpu *g)
{
    if (g->failure.empty())
        return err_ok();
    return err_set(ERR_IO, "the emulated GPU failed: %s", g->failure.c_str());
}

/* The n-th launch of a chain, each of which overlaps the one before it. */
static bool run_chain(const chain &all, size_t n, std::string &error)
{
    const kernel_launch &l = *all[n];
    const struct gpu_launch &how = l.how;
    emu_grid grid = {l.entry->kernel,
                     l.entry->name,
                     l.args.data(),
                     {how.grid[0], how.grid[1], how.grid[2]},
                     {how.block[0], how.block[1], how.block[2]},
                     how.cluster > 1 ? how.cluster : 1,
                     how.shared_len,
                     nullptr};
    if (n > 0)
        grid.before = [&all, n](std::string &its_error) {
            return run_chain(all, n - 1, its_error);
        };
    return emu_run(grid, dice, error);
}

/* With the launches behind a launch that overlap it, as many as are drawn. */
static void run_first(gpu_stream *s)
{
    task t = s->tasks.front();
    s->tasks.pop_front();
    if (t.launch == nullptr) {
        t.run();
        return;
    }
    chain all = {t.launch};
    while (all.size() < CHAIN_MAX && !s->tasks.empty() && s->tasks.front().launch != nullptr &&
           s->tasks.front().launch->how.overlaps_previous && dice.below(4) != 0) {
        all.push_back(s->tasks.front().launch);
        s->tasks.pop_front();
    }
    (void)run_chain(all, all.size() - 1, s->home->failure);
}

static void drain(gpu_stream *s)
{
    std::lock_guard<std::recursive_mutex> lock(turn);
    while (!s->tasks.empty() && s->home->failure.empty())
        run_first(s);
}

/* In some runs at once, in some late: both are legal. */
static struct err enqueue(gpu_stream *s, task t)
{
    TRY(state(s->home));
    if (s->capturing) {
        s->captured.push_back(t);
        return err_ok();
    }
    std::lock_guard<std::recursive_mutex> lock(turn);
    s->tasks.push_back(t);
    size_t n = dice.below(4) == 0 ? dice.below(s->tasks.size() + 1) : 0;
    while (n-- > 0 && !s->tasks.empty() && s->home->failure.empty())
        run_first(s);
    return err_ok();
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
    return state(g);
}

static struct err emu_info(gpu *g, struct gpu_info *out)
{
    struct gpu_info info = {};
    strcpy(info.name, "emulated");
    info.uuid[15] = (uint8_t)g->index;
    info.major = emu_chip() / 10;
    info.n_multiprocessors = 4;
    info.driver_version = GPU_DRIVER_MIN;
    info.shared_len_max = shared_len_max();
    info.memory_len = MEMORY_LEN;
    info.memory_free = MEMORY_LEN - g->memory_used;
    info.l2_len = 1 << 20;
    *out = info;
    return state(g);
}

/* Each on its own, so that a sanitizer sees what goes beyond it. The length lies before it. */
static struct err emu_alloc(gpu *g, struct gpu_address *out, size_t len)
{
    TRY(state(g));
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
    out->at = (uint64_t)(uintptr_t)(p + ADDRESS_ALIGN);
    return err_ok();
}

static void emu_free(gpu *g, struct gpu_address a)
{
    if (a.at == 0)
        return;
    for (gpu_stream *s : g->streams)
        drain(s); /* the driver, too, waits for what uses it */
    uint8_t *p = (uint8_t *)(uintptr_t)a.at - ADDRESS_ALIGN;
    size_t len;
    memcpy(&len, p, sizeof len);
    g->memory_used -= len;
    free(p);
}

static struct err emu_host_alloc(gpu *g, void **out, size_t len)
{
    TRY(state(g));
    *out = malloc(len);
    return *out != nullptr ? err_ok() : err_set(ERR_MEMORY, "no memory for %zu bytes", len);
}

static void emu_host_free(gpu *g, void *p)
{
    (void)g;
    free(p);
}

static struct err emu_stream_new(gpu *g, gpu_stream **out)
{
    TRY(state(g));
    *out = new gpu_stream{g, {}, false, {}};
    g->streams.push_back(*out);
    return err_ok();
}

static void emu_stream_free(gpu_stream *s)
{
    if (s == nullptr)
        return;
    drain(s);
    auto &all = s->home->streams;
    for (size_t i = 0; i < all.size(); i++)
        if (all[i] == s) {
            all.erase(all.begin() + (long)i);
            break;
        }
    delete s;
}

static struct err emu_stream_wait(gpu_stream *s)
{
    if (s->capturing)
        return err_set(ERR_USAGE, "a stream that makes a graph cannot be waited for");
    drain(s);
    return state(s->home);
}

/* Runs the stream that the event was recorded on until that record has passed. */
static void pass(gpu_event *e, uint64_t record)
{
    std::lock_guard<std::recursive_mutex> lock(turn);
    while (e->n_passed < record && e->home->failure.empty()) {
        if (e->stream == nullptr || e->stream->tasks.empty()) {
            e->home->failure = "an event is waited for that nothing records";
            return;
        }
        run_first(e->stream);
    }
}

static struct err emu_stream_await(gpu_stream *s, gpu_event *e)
{
    uint64_t record = e->n_recorded;
    return enqueue(s, task{[e, record] { pass(e, record); }, nullptr});
}

static struct err emu_copy_to(gpu_stream *s, struct gpu_address to, const void *from, size_t len)
{
    return enqueue(s, task{[=] { memcpy((void *)(uintptr_t)to.at, from, len); }, nullptr});
}

static struct err emu_copy_from(gpu_stream *s, void *to, struct gpu_address from, size_t len)
{
    return enqueue(s, task{[=] { memcpy(to, (const void *)(uintptr_t)from.at, len); }, nullptr});
}

static struct err emu_copy(gpu_stream *s, struct gpu_address to, struct gpu_address from,
                           size_t len)
{
    return enqueue(
        s, task{[=] { memmove((void *)(uintptr_t)to.at, (const void *)(uintptr_t)from.at, len); },
                nullptr});
}

static struct err emu_fill(gpu_stream *s, struct gpu_address to, uint8_t value, size_t len)
{
    return enqueue(s, task{[=] { memset((void *)(uintptr_t)to.at, value, len); }, nullptr});
}

static struct err emu_event_new(gpu *g, gpu_event **out)
{
    TRY(state(g));
    *out = new gpu_event{g, 0, 0, nullptr, 0};
    return err_ok();
}

static void emu_event_free(gpu_event *e)
{
    if (e == nullptr)
        return;
    for (gpu_stream *s : e->home->streams)
        drain(s); /* what lies in a stream may still name it */
    delete e;
}

static double now_s()
{
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

static struct err emu_event_record(gpu_event *e, gpu_stream *s)
{
    e->n_recorded++;
    e->stream = s;
    return enqueue(s, task{[e] {
                               e->n_passed++;
                               e->passed_s = now_s();
                           },
                           nullptr});
}

static struct err emu_event_wait(gpu_event *e)
{
    pass(e, e->n_recorded);
    return state(e->home);
}

static struct err emu_event_elapsed(double *out_ms, gpu_event *from, gpu_event *to)
{
    if (from->n_passed == 0 || to->n_passed == 0)
        return err_set(ERR_USAGE, "the time between events that have not passed");
    *out_ms = 1e3 * (to->passed_s - from->passed_s);
    return err_ok();
}

static struct err emu_module_load(gpu *g, gpu_module **out, const void *image, size_t len)
{
    (void)image; /* the kernels are in this program */
    (void)len;
    TRY(state(g));
    *out = new gpu_module{g, {}};
    return err_ok();
}

static void emu_module_free(gpu_module *m)
{
    if (m == nullptr)
        return;
    for (gpu_stream *s : m->home->streams)
        drain(s);
    delete m;
}

static struct err emu_kernel_get(gpu_module *m, gpu_kernel **out, const char *name,
                                 size_t shared_len)
{
    const emu_registration *entry = emu_find(name);
    if (entry == nullptr)
        return err_set(ERR_NOT_FOUND, "the GPU cannot find the kernel %.80s", name);
    if (shared_len > shared_len_max())
        return err_set(ERR_LIMIT, "the GPU cannot give %zu bytes of shared memory to the kernel %s",
                       shared_len, name);
    m->kernels.emplace_back(new gpu_kernel{entry, shared_len});
    *out = m->kernels.back().get();
    return err_ok();
}

/* What a real driver would refuse, too. */
static struct err check_launch(const gpu_kernel *k, const struct gpu_launch *how, size_t args_len)
{
    const emu_registration *e = k->entry;
    uint64_t n_threads = (uint64_t)how->block[0] * how->block[1] * how->block[2];
    uint64_t n_blocks = (uint64_t)how->grid[0] * how->grid[1] * how->grid[2];
    if (args_len != e->args_len)
        return err_set(ERR_USAGE, "the kernel %s takes %zu bytes, not %zu", e->name, e->args_len,
                       args_len);
    if (n_threads == 0 || n_threads > e->max_threads || n_blocks == 0 ||
        n_blocks > (uint64_t)1 << 31 || how->shared_len > k->shared_len)
        return err_set(ERR_LIMIT,
                       "the GPU cannot start a kernel: %s with %llu blocks of %llu threads and %zu "
                       "bytes of shared memory",
                       e->name, (unsigned long long)n_blocks, (unsigned long long)n_threads,
                       how->shared_len);
    return err_ok();
}

static struct err emu_launch(gpu_stream *s, gpu_kernel *k, const struct gpu_launch *how,
                             const void *args, size_t args_len)
{
    TRY(check_launch(k, how, args_len));
    if (emu_chip() < 90 && (how->cluster > 1 || how->overlaps_previous))
        return err_set(ERR_UNSUPPORTED, "clusters and launches that overlap, on a chip 8.0");
    auto launch = std::make_shared<kernel_launch>();
    launch->entry = k->entry;
    launch->how = *how;
    launch->args.resize((args_len + 7) / 8);
    memcpy(launch->args.data(), args, args_len);
    return enqueue(s, task{nullptr, launch});
}

static struct err emu_capture_begin(gpu_stream *s)
{
    TRY(state(s->home));
    if (s->capturing)
        return err_set(ERR_USAGE, "the stream makes a graph already");
    s->capturing = true;
    return err_ok();
}

static struct err emu_capture_end(gpu_stream *s, gpu_graph **out)
{
    if (!s->capturing)
        return err_set(ERR_USAGE, "the stream makes no graph");
    s->capturing = false;
    *out = new gpu_graph{s->home, {}};
    (*out)->tasks.swap(s->captured);
    return err_ok();
}

static struct err emu_graph_launch(gpu_graph *g, gpu_stream *s)
{
    for (const task &t : g->tasks)
        TRY(enqueue(s, t));
    return err_ok();
}

static void emu_graph_free(gpu_graph *g)
{
    delete g;
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
    TRY(state(g));
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

void gpu_emu_seed(uint64_t seed)
{
    dice.state = seed;
}

static const emu_registration *registered;

emu_registration::emu_registration(const char *its_name, emu_kernel its_kernel, size_t its_len,
                                   unsigned its_threads)
    : name(its_name), kernel(its_kernel), args_len(its_len), max_threads(its_threads),
      next(registered)
{
    registered = this;
}

const emu_registration *emu_find(const char *name)
{
    for (const emu_registration *r = registered; r != nullptr; r = r->next)
        if (strcmp(r->name, name) == 0)
            return r;
    return nullptr;
}

const struct gpu_driver gpu_emu = {
    "emu",
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
