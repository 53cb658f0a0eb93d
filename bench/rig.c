#include "bench/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rig_code.h"
#include "common/file.h"
#include "common/text.h"

#if defined(BL_BENCH_EMULATED)
#include "kernels/emu/gpu_emu.h"
#endif

enum { VALUES = 1 << 23, TURN = 4099, COPY_LEN = 1 << 30, TIMES_MAX = 4096 };

/* --- which GPU --- */

static const struct gpu_backend *emulated(void)
{
#if defined(BL_BENCH_EMULATED)
    static const struct gpu_backend emu = {.driver = &gpu_emu};
    return &emu;
#else
    must(err_set(ERR_USAGE, "this build has no emulated GPU; ./dev build asan has one"));
    return NULL;
#endif
}

const struct gpu_backend *rig_backend(const struct bench_options *o)
{
    const struct gpu_backend *built = o->emulated ? emulated() : gpu_backend_built();
    if (built == NULL)
        must(err_set(ERR_NOT_FOUND, "this build has no kernels for a GPU; ./dev build gpu has"));
    return built;
}

/* "NVRM version: NVIDIA UNIX ... Kernel Module  580.95  ..." and its like. */
static void driver_release(char out[160])
{
    BUF_AUTO text = BUF_INIT;
    snprintf(out, 160, "unknown");
    if (!is_err(file_read(&text, "/sys/module/nvidia/version", 4096)) ||
        !is_err(file_read(&text, "/proc/driver/nvidia/version", 65536)))
        snprintf(out, 160, "%.*s", (int)strcspn(buf_str(&text), "\n"), buf_str(&text));
}

static void tell(const struct rig *r, struct results *results)
{
    const struct gpu_info *i = &r->info;
    char release[160];
    driver_release(release);
    results_about(results, "device",
                  "%s, compute capability %u.%u, %u multiprocessors, %.0f GiB, L2 %.0f MiB, ECC %s",
                  i->name, i->major, i->minor, i->n_multiprocessors,
                  (double)i->memory_len / (double)(1 << 30), (double)i->l2_len / (double)(1 << 20),
                  i->has_ecc ? "on" : "off");
    if (r->emulated)
        return;
    results_about(results, "driver", "%s, CUDA %u.%u", release, i->driver_version / 1000,
                  i->driver_version % 1000 / 10);
    results_about(results, "kernels", "%s", rig_code_text());
}

static void load(struct rig *r, enum rig_code code)
{
    const struct rig_image image = rig_code_image(code, r->backend);
    if (r->emulated || image.len > 0)
        must(r->driver->module_load(r->gpu, &r->modules[code], image.at, image.len));
}

static void make_values(struct rig *r)
{
    size_t n = r->tiny ? VALUES / 64 : VALUES;
    uint16_t *values = malloc(n * sizeof *values);
    uint64_t random = 1;
    if (values == NULL)
        must(err_set(ERR_MEMORY, "no memory for random values"));
    for (size_t i = 0; i < n; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        float x = (float)(int32_t)(random >> 32) * 0x1p-30f; /* -2 to 2 */
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        values[i] = (uint16_t)(bits >> 16);
    }
    must(r->driver->alloc(r->gpu, &r->values, n * sizeof *values));
    must(r->driver->copy_to(r->stream, r->values, values, n * sizeof *values));
    must(r->driver->stream_wait(r->stream));
    free(values);
}

void rig_open(struct rig *r, const struct bench_options *o, struct results *results)
{
    *r = (struct rig){.backend = rig_backend(o), .emulated = o->emulated, .tiny = o->tiny};
    r->driver = r->backend->driver;
    must(r->driver->open(&r->gpu, 0));
    must(r->driver->info(r->gpu, &r->info));
    must(r->driver->stream_new(r->gpu, &r->stream));
    must(r->driver->event_new(r->gpu, &r->from));
    must(r->driver->event_new(r->gpu, &r->to));
    for (int code = 0; code < RIG_CODES; code++)
        load(r, (enum rig_code)code);
    make_values(r);
    tell(r, results);
}

void rig_close(struct rig *r)
{
    rig_release(r);
    r->driver->free(r->gpu, r->values);
    r->driver->free(r->gpu, r->copy_from);
    r->driver->free(r->gpu, r->copy_to);
    for (int code = 0; code < RIG_CODES; code++)
        r->driver->module_free(r->modules[code]);
    r->driver->event_free(r->from);
    r->driver->event_free(r->to);
    r->driver->stream_free(r->stream);
    r->driver->close(r->gpu);
}

/* A driver keeps a place for each kernel that is asked for: once for each. */
struct gpu_kernel *rig_kernel(struct rig *r, enum rig_code code, const char *name,
                              size_t shared_len)
{
    for (size_t i = 0; i < r->n_found; i++)
        if (r->found[i].code == code && strcmp(r->found[i].name, name) == 0)
            return r->found[i].kernel;
    if (r->modules[code] == NULL || r->n_found == RIG_KERNELS)
        must(err_set(ERR_LIMIT, "there is no code for %s, or no place for it", name));
    struct rig_found *f = &r->found[r->n_found++];
    f->code = code;
    snprintf(f->name, sizeof f->name, "%s", name);
    must(r->driver->kernel_get(r->modules[code], &f->kernel, name, shared_len));
    return f->kernel;
}

/* --- memory --- */

struct gpu_address rig_alloc(struct rig *r, size_t len)
{
    struct gpu_address a = {0};
    if (r->n_taken == RIG_ALLOCATIONS)
        must(err_set(ERR_LIMIT, "more than %d pieces of memory", RIG_ALLOCATIONS));
    must(r->driver->alloc(r->gpu, &a, len));
    r->taken[r->n_taken++] = a;
    return a;
}

struct gpu_address rig_put(struct rig *r, const void *from, size_t len)
{
    struct gpu_address a = rig_alloc(r, len);
    must(r->driver->copy_to(r->stream, a, from, len));
    must(r->driver->stream_wait(r->stream));
    return a;
}

/* Each time from another place on, so that no two inputs are the same. */
static void fill_random(struct rig *r, struct gpu_address at, size_t n_values)
{
    size_t n_all = r->tiny ? VALUES / 64 : VALUES, from = r->turn++ * TURN % n_all;
    for (size_t done = 0; done < n_values;) {
        size_t n = n_all - from < n_values - done ? n_all - from : n_values - done;
        must(r->driver->copy(r->stream, (struct gpu_address){at.at + done * 2},
                             (struct gpu_address){r->values.at + from * 2}, n * 2));
        done += n;
        from = 0;
    }
    must(r->driver->stream_wait(r->stream));
}

struct gpu_address rig_random(struct rig *r, size_t n_values)
{
    struct gpu_address a = rig_alloc(r, n_values * 2);
    fill_random(r, a, n_values);
    return a;
}

void rig_fill(struct rig *r, struct gpu_address at, uint8_t byte, size_t len)
{
    must(r->driver->fill(r->stream, at, byte, len));
    must(r->driver->stream_wait(r->stream));
}

void rig_get(struct rig *r, void *out, struct gpu_address from, size_t len)
{
    must(r->driver->copy_from(r->stream, out, from, len));
    must(r->driver->stream_wait(r->stream));
}

void rig_release(struct rig *r)
{
    for (size_t i = 0; i < r->n_taken; i++)
        r->driver->free(r->gpu, r->taken[i]);
    r->n_taken = 0;
}

size_t rig_rotation(const struct rig *r, uint64_t len)
{
    enum { ROTATION_MAX = 8 };
    uint64_t n = 4 * r->info.l2_len / len + 1;
    return r->tiny ? 2 : n < 2 ? 2 : n > ROTATION_MAX ? ROTATION_MAX : (size_t)n;
}

/* --- times --- */

static double time_of(struct rig *r, rig_work *work, void *context, size_t n)
{
    double ms = 0;
    must(r->driver->event_record(r->from, r->stream));
    for (size_t i = 0; i < n; i++)
        work(context, i);
    must(r->driver->event_record(r->to, r->stream));
    must(r->driver->stream_wait(r->stream));
    must(r->driver->event_elapsed(&ms, r->from, r->to));
    return (ms > 0 ? ms / 1e3 : 1e-9) / (double)n;
}

double rig_time(struct rig *r, rig_work *work, void *context, double seconds)
{
    double once = time_of(r, work, context, 1);
    if (r->tiny)
        return once;
    once = time_of(r, work, context, 2); /* the first may have loaded code */
    double n = seconds / once;
    return time_of(r, work, context, n < 3 ? 3 : n > TIMES_MAX ? TIMES_MAX : (size_t)n);
}

struct replay {
    struct rig *r;
    struct gpu_graph *graph;
};

static void replay_once(void *context, size_t turn)
{
    const struct replay *p = context;
    (void)turn;
    must(p->r->driver->graph_launch(p->graph, p->r->stream));
}

double rig_time_graph(struct rig *r, rig_work *work, void *context, size_t n, double seconds)
{
    struct replay p = {r, NULL};
    must(r->driver->capture_begin(r->stream));
    for (size_t i = 0; i < n; i++)
        work(context, i);
    must(r->driver->capture_end(r->stream, &p.graph));
    const double all = rig_time(r, replay_once, &p, seconds);
    r->driver->graph_free(p.graph);
    return all / (double)n;
}

static size_t copy_len(const struct rig *r)
{
    return r->tiny ? 1 << 16 : COPY_LEN;
}

static void copy_once(void *context, size_t turn)
{
    struct rig *r = context;
    (void)turn;
    must(r->driver->copy(r->stream, r->copy_to, r->copy_from, copy_len(r)));
}

static void make_copy_buffers(struct rig *r)
{
    must(r->driver->alloc(r->gpu, &r->copy_to, copy_len(r)));
    must(r->driver->alloc(r->gpu, &r->copy_from, copy_len(r)));
    fill_random(r, r->copy_from, copy_len(r) / 2);
}

double rig_copy_rate(struct rig *r)
{
    if (r->copy_to.at == 0)
        make_copy_buffers(r);
    return 2.0 * (double)copy_len(r) / rig_time(r, copy_once, r, 0.02);
}

struct products {
    struct rig *r;
    struct gpu_kernel *kernel;
    struct probe_products_args args;
};

static void products_once(void *context, size_t turn)
{
    struct products *p = context;
    const struct gpu_launch how = {.grid = {p->r->info.n_multiprocessors, 1, 1},
                                   .block = {PROBE_BLOCK, 1, 1},
                                   .shared_len = PROBE_SHARED_LEN};
    (void)turn;
    must(p->r->driver->launch(p->r->stream, p->kernel, &how, &p->args, sizeof p->args));
}

double rig_product_rate(struct rig *r)
{
    if (r->info.major != 9 || (r->modules[RIG_PROBES] == NULL && !r->emulated))
        return 0;
    const size_t n = (size_t)r->info.n_multiprocessors * PROBE_BLOCK, n_before = r->n_taken;
    struct gpu_address out = rig_alloc(r, n * sizeof(float));
    struct products p = {r,
                         rig_kernel(r, RIG_PROBES, "probe_products", PROBE_SHARED_LEN),
                         {.out = rig_pointer(out),
                          .values = rig_pointer(rig_random(r, PROBE_SHARED_LEN / 2)),
                          .n_rounds = r->tiny ? 2 : 20000}};
    double seconds = rig_time(r, products_once, &p, 0.05);
    float first = 0;
    rig_get(r, &first, out, sizeof first);
    if (!(first < 0 || first > 0))
        must(err_set(ERR_UNTRUE, "the probe of products computed nothing"));
    while (r->n_taken > n_before)
        r->driver->free(r->gpu, r->taken[--r->n_taken]);
    return 2.0 * PROBE_GROUPS * PROBE_ROWS * PROBE_OTHERS * PROBE_COLS * (double)p.args.n_rounds *
           r->info.n_multiprocessors / seconds;
}
