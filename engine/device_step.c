/* One step as the host says it: slots and pages, rows, the attention's list of work; then the
 * pages' own work, which is enqueued between steps. */
#include <stdlib.h>
#include <string.h>

#include "engine/device_internal.h"

/* The same at both ends. */
static struct device_inputs lay_out(uint8_t *at, const struct device_sizes *s, size_t n_rows)
{
    struct device_inputs in = {.counts = (uint32_t *)(void *)at};
    in.logit_rows = in.counts + 4;
    in.plan = (struct cuda_plan_row *)(void *)(in.logit_rows + s->max_logits);
    in.folds = (struct cuda_attention_fold *)(void *)(in.plan + n_rows);
    in.wide = (struct cuda_attention_item *)(void *)(in.folds + n_rows);
    in.narrow = in.wide + n_rows;
    return in;
}

void device_lay_out(struct device *d, size_t n_rows)
{
    d->inputs = lay_out(d->flights[d->n_launched % DEVICE_FLIGHTS].pinned, &d->sizes, n_rows);
    d->inputs_on_device = lay_out(device_pointer(d->inputs_at), &d->sizes, n_rows);
}

/* Up to the rows, whose number is not known yet. */
void device_begin(struct device *d)
{
    struct device_flight *f = &d->flights[d->n_launched % DEVICE_FLIGHTS];
    device_lay_out(d, 0);
    f->n_staged = 0;
    f->has_tops = false;
    d->n_rows = d->n_logits = d->n_runs = 0;
}

void device_add_rows(struct device *d, size_t slot, const uint32_t *tokens, size_t position,
                     size_t n)
{
    d->runs[d->n_runs++] = (struct attention_run){
        .row = (uint32_t)d->n_rows, .n_rows = (uint32_t)n, .position = (uint32_t)position};
    for (size_t i = 0; i < n; i++)
        d->inputs.plan[d->n_rows++] =
            (struct cuda_plan_row){.slot = (uint32_t)slot,
                                   .token = tokens != NULL ? tokens[i] : CUDA_NEWEST,
                                   .position = (uint32_t)(position + i)};
}

void device_want_logits(struct device *d, size_t row)
{
    struct device_flight *f = &d->flights[d->n_launched % DEVICE_FLIGHTS];
    d->inputs.logit_rows[d->n_logits++] = (uint32_t)row;
    f->has_tops = f->has_tops || d->slot_has_tops[d->inputs.plan[row].slot];
}

/* As far as the last list is filled. It goes there from the flight's pinned memory, which is left
 * alone until the step has been read. */
struct err device_send_inputs(struct device *d)
{
    const struct device_inputs *in = &d->inputs;
    device_lay_out(d, d->n_rows);
    struct attention_plan plan = {.wide = in->wide,
                                  .narrow = in->narrow,
                                  .folds = in->folds,
                                  .n_partials_max = DEVICE_PARTIALS_MAX};
    struct attention_shape shape = device_attention_shape(d->config, d->info.n_multiprocessors);
    attention_plan_make(&plan, &shape, d->runs, d->n_runs);
    in->counts[0] = plan.n_wide;
    in->counts[1] = plan.n_narrow;
    in->counts[2] = plan.n_folds;
    return d->gpu->copy_to(
        d->stream, d->inputs_at, in->counts,
        (size_t)((uint8_t *)(in->narrow + plan.n_narrow) - (uint8_t *)in->counts));
}

static void zero_page(void *context, uint32_t page)
{
    struct device *d = context;
    if (d->cache.at == 0)
        return; /* it was lost, and its pages with it */
    uint64_t len = device_page_size(d->config);
    device_fail(d, d->gpu->fill(d->stream, device_at(d->cache, page * len), 0, len));
}

/* Enough blocks to be bound by memory. */
enum { COPY_BLOCKS = 32 };

static struct err enqueue_copy(struct device *d, size_t at)
{
    const struct model_config *c = d->config;
    struct gpu_address entry = device_at(d->copies_at, at * sizeof *d->copies);
    const struct cuda_copy_pages_args args = {.cache = device_pointer(d->cache),
                                              .copies = device_pointer(entry),
                                              .n_layers = c->n_layers,
                                              .n_kv_heads = c->n_kv_heads,
                                              .head_dim = c->head_dim};
    const struct gpu_launch how = {.grid = {COPY_BLOCKS, 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
    TRY(d->gpu->copy_to(d->stream, entry, &d->copies[at], sizeof *d->copies));
    return d->gpu->launch(d->stream, d->kernels.copy_pages, &how, &args, sizeof args);
}

/* The entries are a ring: when it is full, all that was enqueued must have passed. */
static void copy_page(void *context, uint32_t to, uint32_t from, size_t n_tokens)
{
    struct device *d = context;
    if (d->cache.at == 0)
        return;
    size_t at = d->n_copies++ % DEVICE_COPIES;
    if (at == 0 && d->n_copies > 1)
        device_fail(d, d->gpu->stream_wait(d->stream));
    d->copies[at] = (struct cuda_page_copy){.to = to, .from = from, .n_tokens = (uint32_t)n_tokens};
    device_fail(d, enqueue_copy(d, at));
}

struct kv_store device_kv_store(struct device *d)
{
    return (struct kv_store){.context = d, .zero = zero_page, .copy = copy_page};
}
