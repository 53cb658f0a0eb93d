/* Opening a GPU: the device, its kernels, and what they can compute. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device_internal.h"

static struct err find(struct device *d, struct gpu_kernel **out, const char *name,
                       size_t shared_len)
{
    return d->gpu->kernel_get(d->module, out, name, shared_len);
}

static struct err find_matmuls(struct device *d)
{
    static const char *const names[DEVICE_MATMULS] = {"store", "add", "silu", "logits"};
    char name[KERNEL_NAME_MAX];
    for (size_t what = 0; what < DEVICE_MATMULS; what++)
        for (unsigned i = 0; i < d->set->n_tiles; i++) {
            kernel_set_matmul_name(name, d->set, names[what], i);
            TRY(find(d, &d->kernels.matmul[what][i], name,
                     kernel_set_matmul(d->set, 1, i, 1, 1).shared_len));
        }
    return err_ok();
}

static struct err find_kernels(struct device *d)
{
    struct device_kernels *k = &d->kernels;
    TRY(find(d, &k->embed, "embed_rows", CUDA_ROWS_SHARED_LEN));
    TRY(find(d, &k->rmsnorm, "rmsnorm_rows", CUDA_ROWS_SHARED_LEN));
    TRY(find(d, &k->rope_write, "rope_write", CUDA_ROWS_SHARED_LEN));
    TRY(find(d, &k->prepare, "prepare_rows", CUDA_ROWS_SHARED_LEN));
    TRY(find(d, &k->copy_pages, "copy_pages", 0));
    TRY(find(d, &k->fold, "attention_fold", CUDA_FOLD_SHARED_LEN));
    TRY(find(d, &k->count_tokens, "count_tokens", 0));
    TRY(find(d, &k->sample_scan, "sample_scan", CUDA_SAMPLE_SHARED_LEN));
    TRY(find(d, &k->sample_weigh, "sample_weigh", CUDA_SAMPLE_SHARED_LEN));
    TRY(find(d, &k->sample_choose, "sample_choose", CUDA_SAMPLE_SHARED_LEN));
    return find_matmuls(d);
}

static struct err find_attention(struct device *d, struct gpu_kernel **out, unsigned tile)
{
    char name[KERNEL_NAME_MAX];
    const unsigned dim = d->config->head_dim;
    kernel_set_attention_name(name, d->set, dim, tile);
    return find(d, out, name, kernel_set_attention(d->set, 1, dim, tile).shared_len);
}

struct err device_find_attention(struct device *d)
{
    TRY(find_attention(d, &d->kernels.narrow, ATTENTION_NARROW));
    return find_attention(d, &d->kernels.wide, ATTENTION_WIDE);
}

static struct err find_set(struct device *d)
{
    d->set = kernel_set_find(&d->info);
    if (d->set != NULL)
        return err_ok();
    return err_set(ERR_UNSUPPORTED,
                   "GPU %u (%s) is of compute capability %u.%u; the kernels are for 9.0 (H100, "
                   "H200, GH200) and 8.0 to 8.9 (Ampere, Ada); use the CPU backend",
                   d->index, d->info.name, d->info.major, d->info.minor);
}

/* Of all floats; of an emulated chip, which would take hours, of some. */
static struct err count_beyond(struct device *d, struct gpu_kernel *k, struct gpu_address at,
                               uint64_t *n)
{
    const struct cuda_exp2_check_args args = {.n_beyond = device_pointer(at),
                                              .step = d->gpu->is_emulated ? 4000037 : 1};
    const struct gpu_launch how = {
        .grid = {8 * d->info.n_multiprocessors, 1, 1}, .block = {CUDA_BLOCK, 1, 1}, .cluster = 1};
    TRY(d->gpu->fill(d->stream, at, 0, sizeof *n));
    TRY(d->gpu->launch(d->stream, k, &how, &args, sizeof args));
    TRY(d->gpu->copy_from(d->stream, n, at, sizeof *n));
    return d->gpu->stream_wait(d->stream);
}

/* What attention's exactness rests on (kernels/cuda/exp2_check.cu). */
static struct err check_exp2(struct device *d)
{
    struct gpu_kernel *k = NULL;
    struct gpu_address at = {0};
    uint64_t n = 0;
    if (!d->set->has_copy_engine)
        return err_ok();
    TRY(find(d, &k, "exp2_check", 0));
    TRY(d->gpu->alloc(d->handle, &at, sizeof n));
    struct err e = count_beyond(d, k, at, &n);
    d->gpu->free(d->handle, at);
    TRY(e);
    return n == 0 ? err_ok()
                  : err_set(ERR_UNSUPPORTED,
                            "GPU %u (%s) computes powers of two otherwise than those that the "
                            "kernels were made on: %llu of them are too far off for exact "
                            "attention; use the CPU backend",
                            d->index, d->info.name, (unsigned long long)n);
}

static struct err open_all(struct device *d)
{
    TRY(d->gpu->open(&d->handle, d->index));
    TRY(d->gpu->info(d->handle, &d->info));
    TRY(find_set(d));
    TRY(d->gpu->stream_new(d->handle, &d->stream));
    TRY(d->gpu->module_load(d->handle, &d->module, d->backend->image, d->backend->image_len));
    TRY(check_exp2(d));
    return find_kernels(d);
}

struct err device_open(struct device **out, const struct gpu_backend *backend, unsigned index)
{
    struct device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(ERR_MEMORY, "no memory for a GPU's record");
    *d = (struct device){.gpu = backend->driver, .backend = backend, .index = index};
    struct err e = open_all(d);
    if (is_err(e)) {
        device_free(d);
        return e;
    }
    *out = d;
    return err_ok();
}

static void close_all(struct device *d)
{
    device_free_graphs(d);
    for (size_t i = 0; i < DEVICE_FLIGHTS; i++)
        d->gpu->event_free(d->flights[i].passed);
    d->gpu->stream_free(d->stream);
    if (d->handle != NULL)
        device_memory_free(d);
    d->gpu->module_free(d->module);
    d->gpu->close(d->handle);
}

void device_free(struct device *d)
{
    if (d == NULL)
        return;
    close_all(d);
    free(d);
}

struct err device_reopen(struct device *d)
{
    close_all(d);
    *d = (struct device){.gpu = d->gpu, .backend = d->backend, .index = d->index};
    return open_all(d);
}

struct err device_enter(struct device *d)
{
    if (d->handle == NULL)
        return err_set(ERR_IO, "GPU %u is not open", d->index);
    return d->gpu->enter(d->handle);
}

const struct gpu_info *device_info(const struct device *d)
{
    return &d->info;
}

const char *device_numerics(const struct device *d)
{
    return d->set->numerics;
}

struct attention_shape device_attention_shape(const struct model_config *c,
                                              unsigned n_multiprocessors)
{
    return (struct attention_shape){.n_heads = c->n_heads,
                                    .n_kv_heads = c->n_kv_heads,
                                    .head_dim = c->head_dim,
                                    .window = c->sliding_window,
                                    .n_multiprocessors = n_multiprocessors};
}

/* What kernels/cuda/args.h asks for. */
struct err device_check_config(const struct model_config *c)
{
    const struct attention_shape shape = device_attention_shape(c, 1);
    TRY(attention_check(&shape));
    if (c->hidden_size % 8 != 0 || c->intermediate_size % 8 != 0)
        return err_set(ERR_UNSUPPORTED,
                       "hidden_size %u and intermediate_size %u are not both multiples of 8, as "
                       "the GPU needs them; use the CPU backend",
                       c->hidden_size, c->intermediate_size);
    return err_ok();
}

static struct err check_type(const struct weight *w, const char *what)
{
    static const char *const names[] = {
        [WEIGHT_F32] = "F32", [WEIGHT_F16] = "F16", [WEIGHT_BF16] = "BF16"};
    if (w->type == WEIGHT_BF16)
        return err_ok();
    return err_set(ERR_UNSUPPORTED,
                   "the matrix %s is of type %s; the GPU computes with BF16 alone; use the CPU "
                   "backend, or the model in BF16",
                   what, names[w->type]);
}

struct err device_check_weights(const struct model_config *config, const struct weights *w)
{
    TRY(check_type(&w->embed, "embed_tokens"));
    TRY(check_type(&w->output, "lm_head"));
    for (size_t i = 0; i < config->n_layers; i++) {
        const struct layer_weights *l = &w->layers[i];
        const struct linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) {
            char what[48];
            snprintf(what, sizeof what, "%zu of layer %zu", j, i);
            TRY(check_type(&all[j]->matrix, what));
        }
    }
    return err_ok();
}
