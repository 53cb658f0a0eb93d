/* What the device's memory is used for, and how much of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device_internal.h"
#include "engine/rope.h"

enum { ALIGN = 256, SPARE_BYTES = 256 << 20 };

static uint64_t aligned(uint64_t len)
{
    return (len + ALIGN - 1) / ALIGN * ALIGN;
}

uint64_t device_page_size(const struct model_config *config)
{
    return kv_page_size(config) / sizeof(float) * sizeof(uint16_t);
}

size_t device_max_pages(const struct model_config *c)
{
    uint64_t rows_of_page = (uint64_t)c->n_layers * 2 * c->n_kv_heads * KV_PAGE_TOKENS;
    return (size_t)(INT32_MAX / rows_of_page) - 1; /* one is spare */
}

uint64_t device_memory(const struct device *d)
{
    uint64_t free_len = d->info.memory_free;
    return free_len > SPARE_BYTES ? free_len - SPARE_BYTES : 0; /* the driver's own, and graphs */
}

static uint64_t matrix_size(const struct weight *w)
{
    return aligned((uint64_t)w->n_rows * w->n_cols * sizeof(uint16_t));
}

uint64_t device_weights_size(const struct model_config *config, const struct weights *w)
{
    uint64_t size = matrix_size(&w->embed);
    if (!config->tied)
        size += matrix_size(&w->output);
    for (size_t i = 0; i < config->n_layers; i++) {
        const struct layer_weights *l = &w->layers[i];
        const struct linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
            size += matrix_size(&all[j]->matrix);
    }
    for (size_t i = 0; i < w->n_vectors; i++)
        size += aligned(w->vectors[i].n * sizeof(float));
    return size;
}

static size_t table_len(const struct device_sizes *s)
{
    return kv_pages_for(s->max_context);
}

static size_t max_narrow(const struct device_sizes *s)
{
    return s->max_rows + DEVICE_PARTIALS_MAX;
}

/* Everything that a step works in, by name: one list, so that what is counted is what is reserved.
 */
struct area {
    struct gpu_address *at;
    uint64_t len;
};

enum { N_SAMPLING = 11, N_AREAS = 18 + N_SAMPLING };

static uint64_t inputs_len(const struct device_sizes *s)
{
    return 16 + s->max_logits * sizeof(uint32_t) +
           s->max_rows * (sizeof(struct cuda_plan_row) + sizeof(struct cuda_attention_fold)) +
           (s->max_rows + max_narrow(s)) * sizeof(struct cuda_attention_item);
}

size_t device_max_sampled(const struct device_sizes *s)
{
    size_t n = s->n_slots < s->max_rows ? s->n_slots : s->max_rows;
    return n < s->max_logits ? n : s->max_logits;
}

size_t device_mask_words(const struct device_sizes *s)
{
    return (s->n_sampled_vocab + 31) / 32;
}

/* Of the areas' list, those of sampling. */
static void list_sampling(struct area *out, struct device *d, const struct model_config *c,
                          const struct device_sizes *s)
{
    uint64_t slots = s->n_slots, rows = device_max_sampled(s);
    const struct area all[] = {
        {&d->params, slots * sizeof(struct cuda_sample_params)},
        {&d->biases, slots * ENGINE_BIAS_MAX * sizeof(struct cuda_token_float)},
        {&d->ends, slots * DEVICE_ENDS_MAX * sizeof(uint32_t)},
        {&d->counts, slots * s->n_sampled_vocab * sizeof(uint32_t)},
        {&d->masks, slots * device_mask_words(s) * sizeof(uint32_t)},
        {&d->allowed, device_mask_words(s) * sizeof(uint32_t)},
        {&d->slot_tokens, s->max_context * sizeof(uint32_t)},
        {&d->sampled, rows * sizeof(struct cuda_sampled)},
        {&d->tops, rows * CUDA_SAMPLE_TOP * sizeof(struct cuda_token_float)},
        {&d->z, rows * c->vocab_size * sizeof(float)},
        {&d->scratch, CUDA_SAMPLE_SCRATCH_LEN(rows, s->n_sampled_vocab)},
    };
    _Static_assert(sizeof all / sizeof all[0] == N_SAMPLING, "so many areas");
    memcpy(out, all, sizeof all);
}

static void list_areas(struct area out[N_AREAS], struct device *d, const struct model_config *c,
                       const struct device_sizes *s)
{
    uint64_t rows = s->max_rows, q = (uint64_t)c->n_heads * c->head_dim,
             kv = (uint64_t)c->n_kv_heads * c->head_dim;
    const struct area all[N_AREAS - N_SAMPLING] = {
        {&d->cos_sin, (uint64_t)s->max_context * c->rope.dim * sizeof(float)},
        {&d->x, rows * c->hidden_size * sizeof(float)},
        {&d->h.at, rows * c->hidden_size * sizeof(uint16_t)},
        {&d->attended.at, rows * q * sizeof(uint16_t)},
        {&d->inner.at, rows * c->intermediate_size * sizeof(uint16_t)},
        {&d->qkv, rows * (q + 2 * kv) * sizeof(uint16_t)},
        {&d->logits, (uint64_t)s->max_logits * c->vocab_size * sizeof(float)},
        {&d->partial_sums, DEVICE_PARTIALS_MAX * q * sizeof(float)},
        {&d->partial_weights, (uint64_t)DEVICE_PARTIALS_MAX * c->n_heads * 2 * sizeof(float)},
        {&d->tokens, rows * sizeof(uint32_t)},
        {&d->positions, rows * sizeof(uint32_t)},
        {&d->page_tables, rows * table_len(s) * sizeof(uint32_t)},
        {&d->newest, s->n_slots * sizeof(uint32_t)},
        {&d->newest_at, s->n_slots * sizeof(uint32_t)},
        {&d->slot_tables, s->n_slots * table_len(s) * sizeof(uint32_t)},
        {&d->inputs_at, inputs_len(s)},
        {&d->copies_at, DEVICE_COPIES * sizeof(struct cuda_page_copy)},
        {&d->cache, (s->n_pages + 1) * device_page_size(c)},
    };
    memcpy(out, all, sizeof all);
    list_sampling(out + N_AREAS - N_SAMPLING, d, c, s);
}

uint64_t device_work_size(const struct model_config *config, const struct device_sizes *sizes)
{
    struct device none = {0};
    struct area areas[N_AREAS];
    uint64_t size = 0;
    list_areas(areas, &none, config, sizes);
    for (size_t i = 0; i < N_AREAS; i++)
        if (areas[i].at != &none.cache)
            size += aligned(areas[i].len);
    return size + device_page_size(config); /* the spare page */
}

struct err device_alloc(struct device *d, struct gpu_address *out, uint64_t len)
{
    struct device_allocations *m = &d->memory;
    struct gpu_address *list = reallocarray(m->at, m->n + 1, sizeof *list);
    if (list == NULL)
        return err_set(ERR_MEMORY, "no memory for a list of the GPU's");
    m->at = list;
    TRY(d->gpu->alloc(d->handle, out, len));
    list[m->n++] = *out;
    return err_ok();
}

void device_memory_free(struct device *d)
{
    for (size_t i = 0; i < d->memory.n; i++)
        d->gpu->free(d->handle, d->memory.at[i]);
    free(d->memory.at);
    for (size_t i = 0; i < DEVICE_FLIGHTS; i++)
        d->gpu->host_free(d->handle, d->flights[i].pinned);
    d->gpu->host_free(d->handle, d->copies);
    free(d->n_in_table);
    free(d->slot_has_tops);
    free(d->runs);
    free(d->layers);
}

static uint64_t flight_len(const struct device_sizes *s)
{
    uint64_t inputs = (inputs_len(s) + 15) / 16 * 16, rows = device_max_sampled(s);
    return inputs + DEVICE_STAGE_LEN + rows * sizeof(struct cuda_sampled) +
           rows * CUDA_SAMPLE_TOP * sizeof(struct cuda_token_float);
}

static struct err make_flight(struct device *d, struct device_flight *f)
{
    const struct device_sizes *s = &d->sizes;
    TRY(d->gpu->event_new(d->handle, &f->passed));
    TRY(d->gpu->host_alloc(d->handle, &f->pinned, flight_len(s)));
    uint8_t *at = f->pinned;
    f->stage = at + (inputs_len(s) + 15) / 16 * 16;
    f->sampled = (struct cuda_sampled *)(void *)(f->stage + DEVICE_STAGE_LEN);
    f->tops = (struct cuda_token_float *)(void *)(f->sampled + device_max_sampled(s));
    return err_ok();
}

static struct err make_host_side(struct device *d)
{
    const struct device_sizes *s = &d->sizes;
    void *copies = NULL;
    for (size_t i = 0; i < DEVICE_FLIGHTS; i++)
        TRY(make_flight(d, &d->flights[i]));
    TRY(d->gpu->host_alloc(d->handle, &copies, DEVICE_COPIES * sizeof *d->copies));
    d->copies = copies;
    d->n_in_table = calloc(s->n_slots, sizeof *d->n_in_table);
    d->slot_has_tops = calloc(s->n_slots, sizeof *d->slot_has_tops);
    d->runs = calloc(s->max_rows, sizeof *d->runs);
    if (d->n_in_table == NULL || d->slot_has_tops == NULL || d->runs == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu slots and %zu rows", s->n_slots, s->max_rows);
    return err_ok();
}

struct err device_tensor_map(struct device *d, struct gpu_tensor_map *out,
                             const struct gpu_tensor *t)
{
    return d->set->has_copy_engine ? d->gpu->tensor_map(d->handle, out, t) : err_ok();
}

static struct err make_operand(struct device *d, struct device_operand *o, size_t n_cols)
{
    for (unsigned i = 0; i < d->set->n_tiles; i++) {
        const struct gpu_tensor t = {.base = o->at,
                                     .type = GPU_TENSOR_BF16,
                                     .swizzle = GPU_SWIZZLE_128,
                                     .rank = 2,
                                     .dims = {n_cols, d->sizes.max_rows},
                                     .strides = {n_cols * sizeof(uint16_t)},
                                     .box = {MATMUL_K, d->set->tiles[i].n_rows}};
        TRY(device_tensor_map(d, &o->maps[i], &t));
    }
    return err_ok();
}

static struct err make_maps(struct device *d)
{
    const struct model_config *c = d->config;
    uint64_t n_blocks = (uint64_t)(d->sizes.n_pages + 1) * c->n_layers * 2 * c->n_kv_heads;
    const struct gpu_tensor cache =
        attention_cache_tensor(d->cache, n_blocks * KV_PAGE_TOKENS, c->head_dim);
    TRY(device_tensor_map(d, &d->cache_map, &cache));
    TRY(make_operand(d, &d->h, c->hidden_size));
    TRY(make_operand(d, &d->attended, (size_t)c->n_heads * c->head_dim));
    return make_operand(d, &d->inner, c->intermediate_size);
}

/* The table of the CPU path, made there. */
static struct err send_rope_table(struct device *d)
{
    size_t len = d->sizes.max_context * d->config->rope.dim * sizeof(float);
    float *table = malloc(len);
    if (table == NULL)
        return err_set(ERR_MEMORY, "no memory for a table of %zu bytes", len);
    rope_table(table, &d->config->rope, (unsigned)d->sizes.max_context);
    struct err e = d->gpu->copy_to(d->stream, d->cos_sin, table, len);
    if (!is_err(e))
        e = d->gpu->stream_wait(d->stream);
    free(table);
    return e;
}

struct err device_make_work(struct device *d)
{
    struct area areas[N_AREAS];
    d->table_len = table_len(&d->sizes);
    d->spare_page = d->sizes.n_pages;
    list_areas(areas, d, d->config, &d->sizes);
    for (size_t i = 0; i < N_AREAS; i++)
        TRY(device_alloc(d, areas[i].at, areas[i].len));
    TRY(make_host_side(d));
    TRY(make_maps(d));
    TRY(d->gpu->fill(d->stream, d->cache, 0, (d->sizes.n_pages + 1) * device_page_size(d->config)));
    /* A slot of which nothing was said is greedy. */
    TRY(d->gpu->fill(d->stream, d->params, 0,
                     d->sizes.n_slots * sizeof(struct cuda_sample_params)));
    if (d->sizes.sampled_ids != NULL)
        TRY(d->gpu->copy_to(d->stream, d->allowed, d->sizes.sampled_ids,
                            device_mask_words(&d->sizes) * sizeof(uint32_t)));
    return send_rope_table(d);
}

void device_fail(struct device *d, struct err e)
{
    if (!is_err(e) || d->failure != ERR_NONE)
        return;
    d->failure = e.code;
    snprintf(d->failure_message, sizeof d->failure_message, "%s", err_message());
}

struct err device_state(const struct device *d)
{
    return d->failure == ERR_NONE ? err_ok() : err_set(d->failure, "%s", d->failure_message);
}

struct err device_wipe(struct device *d)
{
    struct area areas[N_AREAS];
    TRY(device_state(d));
    if (!d->dirty)
        return err_ok();
    list_areas(areas, d, d->config, &d->sizes);
    for (size_t i = 0; i < N_AREAS; i++)
        if (areas[i].at != &d->cache && areas[i].at != &d->cos_sin && areas[i].at != &d->allowed)
            TRY(d->gpu->fill(d->stream, *areas[i].at, 0, areas[i].len));
    TRY(d->gpu->stream_wait(d->stream));
    for (size_t i = 0; i < DEVICE_FLIGHTS; i++)
        memset(d->flights[i].pinned, 0, flight_len(&d->sizes));
    memset(d->n_in_table, 0, d->sizes.n_slots * sizeof *d->n_in_table);
    d->dirty = false;
    return err_ok();
}
