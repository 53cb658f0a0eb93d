/* The forward pass as launches: the operations of model.c, in its order, with the kernels of
 * kernels/cuda/args.h. */
#include <math.h>

#include "engine/device_internal.h"

static struct err launch(const struct device *d, struct gpu_kernel *k, size_t across, size_t down,
                         const void *args, size_t args_len)
{
    const struct gpu_launch how = kernel_set_rows(d->set, across, down);
    return d->gpu->launch(d->stream, k, &how, args, args_len);
}

static struct err prepare(const struct device *d, size_t n_rows)
{
    const struct cuda_prepare_args args = {.tokens = device_pointer(d->tokens),
                                           .positions = device_pointer(d->positions),
                                           .page_tables = device_pointer(d->page_tables),
                                           .plan = d->inputs_on_device.plan,
                                           .newest = device_pointer(d->newest),
                                           .newest_at = device_pointer(d->newest_at),
                                           .slot_tables = device_pointer(d->slot_tables),
                                           .page_table_len = (uint32_t)d->table_len,
                                           .spare_page = (uint32_t)d->spare_page};
    return launch(d, d->kernels.prepare, n_rows, 1, &args, sizeof args);
}

static struct err embed(const struct device *d, size_t n_rows)
{
    const struct cuda_embed_args args = {.x = device_pointer(d->x),
                                         .table = device_pointer(d->embed.at),
                                         .tokens = device_pointer(d->tokens),
                                         .n_cols = d->config->hidden_size};
    return launch(d, d->kernels.embed, n_rows, 1, &args, sizeof args);
}

/* Rows of x to h, in their order or those of `rows`. */
static struct err norm(const struct device *d, struct gpu_address weight, const uint32_t *rows,
                       size_t n_rows)
{
    const struct cuda_rmsnorm_args args = {.out = device_pointer(d->h.at),
                                           .x = device_pointer(d->x),
                                           .weight = device_pointer(weight),
                                           .rows = rows,
                                           .n_cols = d->config->hidden_size,
                                           .eps = d->config->rms_norm_eps};
    return launch(d, d->kernels.rmsnorm, n_rows, 1, &args, sizeof args);
}

static struct err multiply(const struct device *d, enum device_matmul what,
                           const struct device_matrix *w, const struct device_operand *x,
                           struct gpu_address out, size_t n_rows)
{
    const unsigned tile =
        kernel_set_matmul_tile(d->set, d->info.n_multiprocessors, w->n_out, n_rows);
    bool sums = what == MATMUL_ADD || what == MATMUL_LOGITS;
    const bool is_few = kernel_set_matmul_few(d->set, tile);
    const struct cuda_matmul_args args = {.w = is_few ? w->few_map : w->map,
                                          .x = x->maps[tile],
                                          .w_at = device_pointer(w->at),
                                          .x_at = device_pointer(x->at),
                                          .y = sums ? NULL : device_pointer(out),
                                          .sum_into = sums ? device_pointer(out) : NULL,
                                          .bias = device_pointer(w->bias),
                                          .n_rows = (uint32_t)n_rows,
                                          .n_out = (uint32_t)w->n_out,
                                          .n_cols = (uint32_t)w->n_cols};
    const struct gpu_launch how =
        kernel_set_matmul(d->set, d->info.n_multiprocessors, tile, w->n_out, n_rows);
    return d->gpu->launch(d->stream, d->kernels.matmul[what][tile], &how, &args, sizeof args);
}

static struct err rope(const struct device *d, const struct device_layer *l, size_t layer,
                       size_t n_rows)
{
    const struct model_config *c = d->config;
    const struct cuda_rope_write_args args = {.qkv = device_pointer(d->qkv),
                                              .cache = device_pointer(d->cache),
                                              .cos_sin = device_pointer(d->cos_sin),
                                              .q_norm = device_pointer(l->q_norm),
                                              .k_norm = device_pointer(l->k_norm),
                                              .positions = device_pointer(d->positions),
                                              .page_tables = device_pointer(d->page_tables),
                                              .page_table_len = (uint32_t)d->table_len,
                                              .n_heads = c->n_heads,
                                              .n_kv_heads = c->n_kv_heads,
                                              .head_dim = c->head_dim,
                                              .n_turned = c->rope.dim,
                                              .layer = (uint32_t)layer,
                                              .n_layers = c->n_layers,
                                              .eps = c->rms_norm_eps};
    return launch(d, d->kernels.rope_write, ROPE_BLOCKS(c->n_heads, c->n_kv_heads), n_rows, &args,
                  sizeof args);
}

static struct err fold(const struct device *d)
{
    const struct cuda_attention_fold_args args = {
        .out = device_pointer(d->attended.at),
        .partial_sums = device_pointer(d->partial_sums),
        .partial_weights = device_pointer(d->partial_weights),
        .folds = d->inputs_on_device.folds,
        .n_folds = &d->inputs_on_device.counts[2],
        .n_heads = d->config->n_heads,
        .head_dim = d->config->head_dim,
        .scale = 1.0f / sqrtf((float)d->config->head_dim)};
    const struct gpu_launch how = kernel_set_fold(d->set, d->info.n_multiprocessors);
    return d->gpu->launch(d->stream, d->kernels.fold, &how, &args, sizeof args);
}

static struct err attend_list(const struct device *d, size_t layer, bool wide)
{
    const struct model_config *c = d->config;
    const struct device_inputs *in = &d->inputs_on_device;
    const unsigned tile = wide ? ATTENTION_WIDE : ATTENTION_NARROW;
    const struct cuda_attention_args args = {.cache = d->cache_map,
                                             .cache_at = device_pointer(d->cache),
                                             .out = device_pointer(d->attended.at),
                                             .qkv = device_pointer(d->qkv),
                                             .positions = device_pointer(d->positions),
                                             .page_tables = device_pointer(d->page_tables),
                                             .items = wide ? in->wide : in->narrow,
                                             .n_items = &in->counts[wide ? 0 : 1],
                                             .partial_sums = device_pointer(d->partial_sums),
                                             .partial_weights = device_pointer(d->partial_weights),
                                             .page_table_len = (uint32_t)d->table_len,
                                             .n_heads = c->n_heads,
                                             .n_kv_heads = c->n_kv_heads,
                                             .layer = (uint32_t)layer,
                                             .n_layers = c->n_layers,
                                             .window = c->sliding_window,
                                             .scale = 1.0f / sqrtf((float)c->head_dim)};
    const struct gpu_launch how =
        kernel_set_attention(d->set, d->info.n_multiprocessors, c->head_dim, tile);
    return d->gpu->launch(d->stream, wide ? d->kernels.wide : d->kernels.narrow, &how, &args,
                          sizeof args);
}

static struct err attend(const struct device *d, const struct device_lists *lists, size_t layer)
{
    if (lists->wide)
        TRY(attend_list(d, layer, true));
    if (lists->narrow)
        TRY(attend_list(d, layer, false));
    return lists->folds ? fold(d) : err_ok();
}

static struct err run_layer(const struct device *d, const struct device_lists *lists, size_t layer,
                            size_t n_rows)
{
    const struct device_layer *l = &d->layers[layer];
    TRY(norm(d, l->attention_norm, NULL, n_rows));
    TRY(multiply(d, MATMUL_STORE, &l->qkv, &d->h, d->qkv, n_rows));
    TRY(rope(d, l, layer,
             n_rows)); /* all of the step's keys are in the cache before any row looks */
    TRY(attend(d, lists, layer));
    TRY(multiply(d, MATMUL_ADD, &l->o, &d->attended, d->x, n_rows));
    TRY(norm(d, l->mlp_norm, NULL, n_rows));
    TRY(multiply(d, MATMUL_SILU, &l->gate_up, &d->h, d->inner.at, n_rows));
    return multiply(d, MATMUL_ADD, &l->down, &d->inner, d->x, n_rows);
}

struct err device_forward(struct device *d, const struct device_lists *lists, size_t n_rows,
                          size_t n_logits)
{
    TRY(prepare(d, n_rows));
    TRY(embed(d, n_rows));
    for (size_t layer = 0; layer < d->config->n_layers; layer++)
        TRY(run_layer(d, lists, layer, n_rows));
    if (n_logits == 0)
        return err_ok();
    TRY(norm(d, d->norm, d->inputs_on_device.logit_rows, n_logits));
    return multiply(d, MATMUL_LOGITS, &d->output, &d->h, d->logits, n_logits);
}

static struct err enqueue(struct device *d, bool samples)
{
    struct gpu_graph *graph = samples ? device_find_graph(d) : NULL;
    TRY(device_send_inputs(d));
    if (graph != NULL) {
        d->n_graph_steps++;
        return d->gpu->graph_launch(graph, d->stream);
    }
    const uint32_t *counts = d->inputs.counts;
    const struct device_lists lists = {counts[0] > 0, counts[1] > 0, counts[2] > 0};
    TRY(device_forward(d, &lists, d->n_rows, d->n_logits));
    return samples && d->n_logits > 0 ? device_sample(d, d->n_logits) : err_ok();
}

static struct err fetch_logits(struct device *d, float *logits)
{
    if (d->n_logits == 0 || logits == NULL)
        return err_ok();
    return d->gpu->copy_from(d->stream, logits, d->logits,
                             d->n_logits * d->config->vocab_size * sizeof *logits);
}

/* Ids of all, alternatives where somebody wants them. */
static struct err fetch_choices(struct device *d, const struct device_flight *f)
{
    const size_t top_len = CUDA_SAMPLE_TOP * sizeof *f->tops;
    if (d->n_logits == 0)
        return err_ok();
    TRY(d->gpu->copy_from(d->stream, f->sampled, d->sampled, d->n_logits * sizeof *f->sampled));
    return f->has_tops ? d->gpu->copy_from(d->stream, f->tops, d->tops, d->n_logits * top_len)
                       : err_ok();
}

struct err device_launch(struct device *d, float *logits)
{
    const struct device_flight *f = &d->flights[d->n_launched % DEVICE_FLIGHTS];
    TRY(device_state(d)); /* pages that could not be zeroed or copied */
    d->dirty = true;
    TRY(enqueue(d, true));
    TRY(fetch_logits(d, logits));
    TRY(fetch_choices(d, f));
    TRY(d->gpu->event_record(f->passed, d->stream));
    d->n_launched++;
    return err_ok();
}

struct err device_logits(struct device *d, float *logits)
{
    TRY(device_state(d));
    d->dirty = true;
    TRY(enqueue(d, false));
    TRY(fetch_logits(d, logits));
    return d->gpu->stream_wait(d->stream);
}

struct err device_load(struct device *d, const struct model_config *config, struct weights *w,
                       struct shards *shards, struct model_files *files,
                       const struct device_sizes *sizes)
{
    d->config = config;
    d->sizes = *sizes;
    TRY(device_find_attention(d));
    TRY(device_make_work(d));
    TRY(device_read_weights(d, w, shards, files));
    return device_make_graphs(d);
}
