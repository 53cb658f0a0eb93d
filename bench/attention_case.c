#include "bench/attention_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/kernel_set.h"

enum { PAGE = ATTENTION_KEYS, PARTIALS_MAX = 2048 };

static size_t row_len(const struct attention_case *c)
{
    return (size_t)(c->shape.n_heads + 2 * c->shape.n_kv_heads) * c->shape.head_dim;
}

static void find_kernels(struct attention_case *c, enum rig_code code)
{
    struct attention_kernels *k = &c->kernels[code];
    const uint32_t dim = c->shape.head_dim;
    const size_t heads = (size_t)PARTIALS_MAX * c->shape.n_heads;
    char name[KERNEL_NAME_MAX];
    if (c->r->modules[code] == NULL)
        return;
    kernel_set_attention_name(name, &kernel_set_sm90, dim, ATTENTION_WIDE);
    k->wide = rig_kernel(c->r, code, name, (size_t)ATTENTION_SHARED_LEN(dim, ATTENTION_WIDE));
    kernel_set_attention_name(name, &kernel_set_sm90, dim, ATTENTION_NARROW);
    k->narrow = rig_kernel(c->r, code, name, (size_t)ATTENTION_SHARED_LEN(dim, ATTENTION_NARROW));
    k->fold = rig_kernel(c->r, code, "attention_fold", CUDA_FOLD_SHARED_LEN);
    k->partial_sums = rig_alloc(c->r, heads * dim * sizeof(float));
    k->partial_weights = rig_alloc(c->r, heads * 2 * sizeof(float));
}

/* A partial that is not written counts as none: the inexact code writes one for each item. */
static void clear_partials(const struct attention_case *c, enum rig_code code)
{
    const size_t n = (size_t)PARTIALS_MAX * c->shape.n_heads;
    float *none = malloc(n * 2 * sizeof *none);
    if (none == NULL)
        must(err_set(ERR_MEMORY, "no memory for partial results"));
    for (size_t i = 0; i < n; i++) {
        none[2 * i] = -INFINITY;
        none[2 * i + 1] = 0;
    }
    must(c->r->driver->copy_to(c->r->stream, c->kernels[code].partial_weights, none,
                               n * 2 * sizeof *none));
    must(c->r->driver->stream_wait(c->r->stream));
    free(none);
}

/* Each sequence's pages anywhere in the cache. */
static void draw_table(struct attention_case *c)
{
    const size_t n = (size_t)c->size.n_sequences * c->table_len;
    uint64_t random = 3;
    c->table = malloc(n * sizeof *c->table);
    if (c->table == NULL)
        must(err_set(ERR_MEMORY, "no memory for page tables"));
    for (size_t i = 0; i < n; i++)
        c->table[i] = (uint32_t)i;
    for (size_t i = n - 1; i > 0; i--) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t other = (size_t)((random >> 33) % (i + 1));
        uint32_t page = c->table[i];
        c->table[i] = c->table[other];
        c->table[other] = page;
    }
}

static void put_cache(struct attention_case *c)
{
    const struct attention_shape *s = &c->shape;
    const uint64_t n_slots =
        (uint64_t)c->size.n_sequences * c->table_len * c->size.n_layers * 2 * s->n_kv_heads * PAGE;
    c->cache = rig_random(c->r, n_slots * s->head_dim);
    const struct gpu_tensor t = attention_cache_tensor(c->cache, n_slots, s->head_dim);
    must(c->r->driver->tensor_map(c->r->gpu, &c->cache_map, &t));
}

static void put_rows(struct attention_case *c)
{
    const size_t table_len = c->table_len * sizeof(uint32_t);
    uint32_t *positions = malloc(c->n_rows * sizeof *positions);
    uint8_t *tables = malloc(c->n_rows * table_len);
    if (positions == NULL || tables == NULL)
        must(err_set(ERR_MEMORY, "no memory for rows"));
    for (uint32_t row = 0; row < c->n_rows; row++) {
        uint32_t sequence = row / c->size.n_new;
        positions[row] = c->size.len - c->size.n_new + row % c->size.n_new;
        memcpy(tables + row * table_len, c->table + (size_t)sequence * c->table_len, table_len);
    }
    c->positions = rig_put(c->r, positions, c->n_rows * sizeof *positions);
    c->page_tables = rig_put(c->r, tables, c->n_rows * table_len);
    free(positions);
    free(tables);
    c->qkv = rig_random(c->r, c->n_rows * row_len(c));
    c->out = rig_alloc(c->r, attention_results_len(c));
}

static void make_plan_room(struct attention_case *c)
{
    const size_t n = c->n_rows, more = n + PARTIALS_MAX;
    c->plan = (struct attention_plan){.wide = malloc(n * sizeof *c->plan.wide),
                                      .narrow = malloc(more * sizeof *c->plan.narrow),
                                      .folds = malloc(n * sizeof *c->plan.folds),
                                      .n_partials_max = PARTIALS_MAX};
    if (c->plan.wide == NULL || c->plan.narrow == NULL || c->plan.folds == NULL)
        must(err_set(ERR_MEMORY, "no memory for a plan"));
    c->wide = rig_alloc(c->r, n * sizeof *c->plan.wide);
    c->narrow = rig_alloc(c->r, more * sizeof *c->plan.narrow);
    c->folds = rig_alloc(c->r, n * sizeof *c->plan.folds);
    c->counts = rig_alloc(c->r, 3 * sizeof(uint32_t));
}

static void send(const struct attention_case *c, struct gpu_address to, const void *from,
                 size_t len)
{
    if (len > 0)
        must(c->r->driver->copy_to(c->r->stream, to, from, len));
}

static void plan_runs(struct attention_case *c, const struct attention_run *runs, size_t n)
{
    struct attention_plan *p = &c->plan;
    attention_plan_make(p, &c->shape, runs, n);
    const uint32_t counts[3] = {p->n_wide, p->n_narrow, p->n_folds};
    send(c, c->wide, p->wide, p->n_wide * sizeof *p->wide);
    send(c, c->narrow, p->narrow, p->n_narrow * sizeof *p->narrow);
    send(c, c->folds, p->folds, p->n_folds * sizeof *p->folds);
    send(c, c->counts, counts, sizeof counts);
    must(c->r->driver->stream_wait(c->r->stream));
}

static void plan_all(struct attention_case *c)
{
    const struct attention_size *s = &c->size;
    struct attention_run *runs = malloc(s->n_sequences * sizeof *runs);
    if (runs == NULL)
        must(err_set(ERR_MEMORY, "no memory for a plan"));
    for (uint32_t i = 0; i < s->n_sequences; i++)
        runs[i] = (struct attention_run){i * s->n_new, s->n_new, s->len - s->n_new};
    plan_runs(c, runs, s->n_sequences);
    free(runs);
}

void attention_case_init(struct attention_case *c, struct rig *r, const struct attention_size *s)
{
    *c = (struct attention_case){.r = r, .size = *s};
    c->shape = (struct attention_shape){.n_heads = s->n_heads,
                                        .n_kv_heads = s->n_kv_heads,
                                        .head_dim = s->head_dim,
                                        .n_multiprocessors = r->info.n_multiprocessors};
    must(attention_check(&c->shape));
    c->n_rows = s->n_sequences * s->n_new;
    c->table_len = (s->len + PAGE - 1) / PAGE;
    draw_table(c);
    put_cache(c);
    put_rows(c);
    make_plan_room(c);
    plan_all(c);
    for (int code = 0; code < RIG_PROBES; code++)
        find_kernels(c, (enum rig_code)code);
}

void attention_case_cleanup(struct attention_case *c)
{
    free(c->table);
    free(c->plan.wide);
    free(c->plan.narrow);
    free(c->plan.folds);
    rig_release(c->r);
}

/* --- launches --- */

static float scale_of(const struct attention_case *c)
{
    return 1.0f / sqrtf((float)c->shape.head_dim);
}

static void launch_list(const struct attention_case *c, enum rig_code code, size_t turn, bool wide)
{
    const struct attention_kernels *k = &c->kernels[code];
    const unsigned tile = wide ? ATTENTION_WIDE : ATTENTION_NARROW;
    const uint32_t *counts = rig_pointer(c->counts);
    const struct cuda_attention_args args = {.cache = c->cache_map,
                                             .out = rig_pointer(c->out),
                                             .qkv = rig_pointer(c->qkv),
                                             .positions = rig_pointer(c->positions),
                                             .page_tables = rig_pointer(c->page_tables),
                                             .items = rig_pointer(wide ? c->wide : c->narrow),
                                             .n_items = &counts[wide ? 0 : 1],
                                             .partial_sums = rig_pointer(k->partial_sums),
                                             .partial_weights = rig_pointer(k->partial_weights),
                                             .page_table_len = c->table_len,
                                             .n_heads = c->shape.n_heads,
                                             .n_kv_heads = c->shape.n_kv_heads,
                                             .layer = (uint32_t)(turn % c->size.n_layers),
                                             .n_layers = c->size.n_layers,
                                             .scale = scale_of(c)};
    const struct gpu_launch how =
        kernel_set_attention(&kernel_set_sm90, c->shape.n_multiprocessors, c->shape.head_dim, tile);
    must(c->r->driver->launch(c->r->stream, wide ? k->wide : k->narrow, &how, &args, sizeof args));
}

void attention_case_fold(const struct attention_case *c, enum rig_code code)
{
    const struct attention_kernels *k = &c->kernels[code];
    const struct cuda_attention_fold_args args = {
        .out = rig_pointer(c->out),
        .partial_sums = rig_pointer(k->partial_sums),
        .partial_weights = rig_pointer(k->partial_weights),
        .folds = rig_pointer(c->folds),
        .n_folds = (const uint32_t *)rig_pointer(c->counts) + 2,
        .n_heads = c->shape.n_heads,
        .head_dim = c->shape.head_dim,
        .scale = scale_of(c)};
    const struct gpu_launch how = kernel_set_fold(&kernel_set_sm90, c->shape.n_multiprocessors);
    must(c->r->driver->launch(c->r->stream, k->fold, &how, &args, sizeof args));
}

void attention_case_launch(const struct attention_case *c, enum rig_code code, size_t turn)
{
    if (c->plan.n_wide > 0)
        launch_list(c, code, turn, true);
    if (c->plan.n_narrow > 0)
        launch_list(c, code, turn, false);
    if (c->plan.n_folds > 0)
        attention_case_fold(c, code);
}

void attention_case_run(void *context, size_t turn)
{
    const struct attention_run_of *run = context;
    attention_case_launch(run->c, run->code, turn);
}

double attention_case_operations(const struct attention_case *c)
{
    double len = c->size.len, before = len - c->size.n_new;
    return 2.0 * c->size.n_sequences * (len * len - before * before) * c->shape.n_heads *
           c->shape.head_dim;
}

double attention_case_bytes(const struct attention_case *c)
{
    return 4.0 * c->size.n_sequences * c->size.len * c->shape.n_kv_heads * c->shape.head_dim;
}

/* --- what must be true before a time is taken --- */

/* Alone it is decoded, its splits shared out among blocks: no bit may show that. */
static void check_last_row_alone(struct attention_case *c, const uint16_t *results)
{
    const size_t n = (size_t)c->shape.n_heads * c->shape.head_dim;
    const size_t at = (c->n_rows - 1) * n;
    const struct attention_run last = {c->n_rows - 1, 1, c->size.len - 1};
    uint16_t *alone = malloc(n * sizeof *alone);
    if (alone == NULL)
        must(err_set(ERR_MEMORY, "no memory for a row"));
    plan_runs(c, &last, 1);
    rig_fill(c->r, c->out, 0xff, attention_results_len(c));
    attention_case_launch(c, RIG_EXACT, 0);
    must(c->r->driver->stream_wait(c->r->stream));
    rig_get(c->r, alone, (struct gpu_address){c->out.at + at * sizeof *alone}, n * sizeof *alone);
    if (memcmp(alone, results + at, n * sizeof *alone) != 0)
        must(err_set(ERR_UNTRUE, "attention: the last row alone has other bits"));
    free(alone);
    plan_all(c);
}

void attention_case_check(struct attention_case *c, enum rig_code code, char hash[17])
{
    const size_t len = attention_results_len(c);
    uint16_t *results = malloc(len);
    struct sha256_stream *stream = sha256_new();
    if (results == NULL)
        must(err_set(ERR_MEMORY, "no memory for results"));
    clear_partials(c, code);
    rig_fill(c->r, c->out, 0xff, len);
    attention_case_launch(c, code, 0);
    must(c->r->driver->stream_wait(c->r->stream));
    rig_get(c->r, results, c->out, len);
    attention_check_results(c, results, code == RIG_EXACT ? 4e-3 : 6e-3);
    if (code == RIG_EXACT)
        check_last_row_alone(c, results);
    sha256_update(stream, bytes_of(results, len));
    hash_text(hash, stream);
    free(results);
}
