/* What computes: which of the backends, and the weights where it wants them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine_internal.h"

static struct err bind_weights(struct engine *e)
{
    struct err err = weights_bind(&e->weights, &e->config, &e->shards);
    return is_err(err) ? err_context(err, "%s", e->files.dir) : err;
}

/* Up to what needs memory: then it is known whether the GPU can compute this model at all. */
static struct err try_gpu(struct engine *e)
{
    if (e->options.gpu == NULL)
        return err_set(ERR_NOT_FOUND, "this program was built without the CUDA backend; build it "
                                      "with nvcc (./dev build cuda), or use the CPU backend");
    TRY(device_open(&e->device, e->options.gpu, e->options.gpu_index));
    TRY(device_check_config(&e->config));
    TRY(shards_open(&e->shards, &e->files));
    TRY(bind_weights(e));
    return device_check_weights(&e->config, &e->weights);
}

static void give_up_gpu(struct engine *e)
{
    snprintf(e->why_cpu, sizeof e->why_cpu, "%s", err_message());
    weights_cleanup(&e->weights);
    shards_close(&e->shards, &e->files);
    device_free(e->device);
    e->device = NULL;
}

struct err engine_choose_backend(struct engine *e)
{
    const char *name = e->options.backend;
    bool automatic = name == NULL || strcmp(name, "auto") == 0;
    if (name != NULL && (automatic || strcmp(name, "cpu") == 0))
        e->options.backend = NULL; /* the fastest, where it is the CPU */
    if (!automatic && strcmp(name, "cuda") != 0)
        return err_ok();
    struct err err = try_gpu(e);
    if (is_err(err) && automatic) {
        give_up_gpu(e);
        return err_ok();
    }
    return err;
}

struct err engine_load_weights(struct engine *e)
{
    if (e->device != NULL)
        return device_load(e->device, &e->config, &e->weights, &e->shards, &e->files,
                           &e->device_sizes);
    TRY(shards_read(&e->shards, &e->files));
    return bind_weights(e);
}

struct err engine_reload_device(struct engine *e)
{
    TRY(device_reopen(e->device));
    TRY(shards_reopen(&e->shards, &e->files));
    memset(e->slot_owners, 0, e->options.max_requests * sizeof *e->slot_owners);
    return engine_load_weights(e);
}

/* Bytes. */
struct need {
    uint64_t weights, kv, work, requests;
};

static bool fits(const struct need *n, uint64_t have)
{
    uint64_t sum = 0;
    return !__builtin_add_overflow(n->weights, n->kv, &sum) &&
           !__builtin_add_overflow(sum, n->work, &sum) &&
           !__builtin_add_overflow(sum, n->requests, &sum) && sum <= have;
}

static struct err check_cpu(const struct engine *e, size_t n_pages)
{
    const struct engine_options *o = &e->options;
    const struct need n = {
        .weights = e->shards.total_size,
        .kv = engine_page_size(e) * n_pages,
        .work = model_memory_size(&e->config, o->n_threads, o->token_budget, o->max_context) +
                engine_logits_size(e) + engine_samplers_size(e),
        .requests = engine_requests_size(e)};
    uint64_t have = memory_available();
    if (fits(&n, have))
        return err_ok();
    return err_set(ERR_MEMORY,
                   "the model does not fit: %" PRIu64 " MiB of weights, %" PRIu64
                   " MiB of KV cache, %" PRIu64 " MiB of activations and %" PRIu64
                   " MiB of requests are needed, %" PRIu64
                   " MiB are available; ask for a smaller KV cache or context, or use a larger "
                   "machine",
                   n.weights >> 20, n.kv >> 20, n.work >> 20, n.requests >> 20, have >> 20);
}

/* What is on the GPU, and what stays here. */
static struct err check_gpu(const struct engine *e, size_t n_pages)
{
    const struct need on = {.weights = device_weights_size(&e->config, &e->weights),
                            .kv = engine_page_size(e) * n_pages,
                            .work = device_work_size(&e->config, &e->device_sizes)};
    const struct need here = {.work = engine_logits_size(e), .requests = engine_requests_size(e)};
    uint64_t have = device_memory(e->device), have_here = memory_available();
    if (!fits(&on, have))
        return err_set(ERR_MEMORY,
                       "the model does not fit on %s: %" PRIu64 " MiB of weights, %" PRIu64
                       " MiB of KV cache and %" PRIu64 " MiB of activations are needed, %" PRIu64
                       " MiB are available; ask for a smaller KV cache or context, or use a larger "
                       "GPU or the CPU backend",
                       device_info(e->device)->name, on.weights >> 20, on.kv >> 20, on.work >> 20,
                       have >> 20);
    if (!fits(&here, have_here))
        return err_set(ERR_MEMORY,
                       "%" PRIu64 " MiB of logits and %" PRIu64
                       " MiB of requests do not fit in the %" PRIu64
                       " MiB of memory that are available; ask for fewer requests or a smaller "
                       "context",
                       here.work >> 20, here.requests >> 20, have_here >> 20);
    return err_ok();
}

struct err engine_check_memory(const struct engine *e, size_t n_pages)
{
    return e->device != NULL ? check_gpu(e, n_pages) : check_cpu(e, n_pages);
}

uint64_t engine_page_size(const struct engine *e)
{
    return e->device != NULL ? device_page_size(&e->config) : kv_page_size(&e->config);
}

static struct device_sizes sizes_of(const struct engine *e, size_t n_pages)
{
    const struct engine_options *o = &e->options;
    size_t decoding = o->max_requests < o->token_budget ? o->max_requests : o->token_budget;
    size_t chunk = engine_chunk_rows(e);
    return (struct device_sizes){.max_rows = o->token_budget,
                                 .max_logits = decoding > chunk ? decoding : chunk,
                                 .n_slots = (size_t)o->max_requests + 1, /* engine_logits' */
                                 .max_context = o->max_context,
                                 .n_pages = n_pages,
                                 .n_sampled_vocab = e->n_sampled_vocab,
                                 .sampled_ids = e->sampled_ids};
}

void engine_choose_device_sizes(struct engine *e, size_t n_pages)
{
    e->device_sizes = sizes_of(e, n_pages);
}

/* At least a page: then it is the sum that does not fit, which is said with all numbers. */
uint64_t engine_kv_room(const struct engine *e)
{
    if (e->device == NULL)
        return memory_of_machine() / 4;
    const struct device_sizes sizes = sizes_of(e, 0);
    uint64_t have = device_memory(e->device), page = device_page_size(&e->config),
             taken = device_weights_size(&e->config, &e->weights) +
                     device_work_size(&e->config, &sizes);
    return have > taken + page ? have - taken : page;
}

size_t engine_max_pages(const struct engine *e)
{
    return e->device != NULL ? device_max_pages(&e->config) : (size_t)1 << 31;
}

/* "GPU-", then 4, 2, 2, 2 and 6 bytes in hex. */
static void write_uuid(char out[41], const uint8_t uuid[16])
{
    char *at = out + sprintf(out, "GPU-");
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += sprintf(at, "%02x", uuid[i]);
    }
}

void engine_describe_backend(const struct engine *e, struct engine_info *info)
{
    const struct gpu_backend *gpu = e->options.gpu;
    info->why_cpu = e->why_cpu;
    info->device = e->device != NULL ? device_info(e->device)->name : "";
    if (e->device == NULL) {
        info->backend = e->model.backend->name;
        info->numerics = e->model.backend->numerics;
        return;
    }
    write_uuid(info->gpu_uuid, device_info(e->device)->uuid);
    info->backend = gpu->driver->name;
    info->numerics = device_numerics(e->device);
    info->has_device_code = gpu->image != NULL;
    if (gpu->image != NULL)
        sha256(info->device_code, bytes_of(gpu->image, gpu->image_len));
}
