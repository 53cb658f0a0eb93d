/* Modules of the emulated driver: the kernels that are compiled into this program, by name, and
 * their launches. */
#include <cstring>

#include "kernels/emu/gpu_parts.h"

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

struct err emu_module_load(gpu *g, gpu_module **out, const void *image, size_t len)
{
    (void)image; /* the kernels are in this program */
    (void)len;
    TRY(gpu_state(g));
    *out = new gpu_module{g, {}};
    return err_ok();
}

void emu_module_free(gpu_module *m)
{
    if (m == nullptr)
        return;
    for (gpu_stream *s : m->home->streams)
        stream_drain(s);
    delete m;
}

struct err emu_kernel_get(gpu_module *m, gpu_kernel **out, const char *name, size_t shared_len)
{
    const emu_registration *entry = emu_find(name);
    if (entry == nullptr)
        return err_set(ERR_NOT_FOUND, "the GPU cannot find the kernel %.80s", name);
    if (shared_len > gpu_shared_len_max())
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

struct err emu_launch(gpu_stream *s, gpu_kernel *k, const struct gpu_launch *how, const void *args,
                      size_t args_len)
{
    TRY(check_launch(k, how, args_len));
    if (emu_chip() < 90 && (how->cluster > 1 || how->overlaps_previous))
        return err_set(ERR_UNSUPPORTED, "clusters and launches that overlap, on a chip 8.0");
    auto launch = std::make_shared<kernel_launch>();
    launch->entry = k->entry;
    launch->how = *how;
    launch->args.resize((args_len + 7) / 8);
    memcpy(launch->args.data(), args, args_len);
    return stream_enqueue(s, task{nullptr, launch});
}
