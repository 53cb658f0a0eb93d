/*
 * Sequences with queries, keys and values by dice, batches of their rows, and what lies on the
 * device for one: what the tests of attention share. Included once, after cmocka.h.
 */
#ifndef TESTS_UNIT_CUDA_ATTENTION_SCENE_H
#define TESTS_UNIT_CUDA_ATTENTION_SCENE_H

#include <math.h>
#include <stdio.h>

#ifndef CUDA_CHIP /* cuda_attention_sm80_test.c makes the same claims of another chip */
#define CUDA_CHIP 90
#endif

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kernel_set.h"
#include "tests/unit/attention_by_the_book.h"
#include "tests/unit/gpu_room.h"

enum { PAGE = 64, LAYERS = 2, LAYER = 1, SEQUENCES_MAX = 3, PARTIALS = 64, POISON = 0xff };

/* Whose kernels are launched: set by main. */
static const struct kernel_set *set;

struct sequence {
    uint32_t len;
    uint16_t *q;             /* (len, n_heads, head_dim) */
    uint16_t *keys, *values; /* (n_kv_heads, len, head_dim) */
};

struct world {
    struct attention_shape shape;
    float scale;
    struct sequence sequences[SEQUENCES_MAX];
    size_t n_sequences;
};

static uint16_t *draw_bf16(size_t n, float size)
{
    uint16_t *x = malloc(n * 2);
    for (size_t i = 0; i < n; i++)
        x[i] = book_narrow(((float)draw(2001) / 1000 - 1) * size);
    return x;
}

/* `sharp`: how far scores are apart. */
static void world_init(struct world *w, struct attention_shape shape, size_t n_sequences,
                       uint32_t len_max, float sharp)
{
    *w = (struct world){.shape = shape, .n_sequences = n_sequences};
    w->shape.n_multiprocessors = 2;
    w->scale = 1.0f / sqrtf((float)shape.head_dim);
    for (size_t i = 0; i < n_sequences; i++) {
        struct sequence *s = &w->sequences[i];
        s->len = len_max - draw(len_max / 3 + 1);
        size_t n = (size_t)s->len * shape.head_dim;
        s->q = draw_bf16(n * shape.n_heads, sharp);
        s->keys = draw_bf16(n * shape.n_kv_heads, 1);
        s->values = draw_bf16(n * shape.n_kv_heads, 1);
    }
}

static void world_cleanup(struct world *w)
{
    for (size_t i = 0; i < w->n_sequences; i++) {
        free(w->sequences[i].q);
        free(w->sequences[i].keys);
        free(w->sequences[i].values);
    }
}

/* Rows of a launch: some of each sequence, beside each other. */
struct piece {
    size_t sequence;
    uint32_t from, n_rows;
};

struct batch {
    const struct world *w;
    struct piece pieces[8];
    size_t n_pieces;
    uint32_t n_rows, n_multiprocessors, n_partials_max;
    unsigned n_blocks;
    uint64_t seed;
};

static void batch_add(struct batch *b, size_t sequence, uint32_t from, uint32_t n_rows)
{
    b->pieces[b->n_pieces++] = (struct piece){sequence, from, n_rows};
    b->n_rows += n_rows;
}

static size_t row_len(const struct world *w)
{
    return (size_t)w->shape.n_heads * w->shape.head_dim;
}

/* What lies on the device for one batch. */
struct stage {
    struct gpu_room room;
    struct cuda_attention_args args;
    struct cuda_attention_fold_args fold;
    struct attention_plan plan;
    struct gpu_address out;
};

/* The cache with each sequence's pages where the dice say; all else is NaN. */
static void put_cache(struct stage *s, const struct batch *b, uint32_t *tables, uint32_t table_len)
{
    const struct attention_shape *shape = &b->w->shape;
    const size_t head_len = (size_t)PAGE * shape->head_dim,
                 block_len = shape->n_kv_heads * head_len;
    const uint32_t n_pages = SEQUENCES_MAX * table_len + 1;
    const size_t len = n_pages * LAYERS * 2 * block_len * 2;
    uint16_t *cache = malloc(len);
    uint8_t *taken = calloc(n_pages, 1);
    memset(cache, POISON, len);
    for (size_t i = 0; i < b->w->n_sequences; i++) {
        const struct sequence *q = &b->w->sequences[i];
        for (uint32_t j = 0; j < q->len; j++) {
            uint32_t *page = &tables[i * table_len + j / PAGE];
            while (j % PAGE == 0 && taken[ *page = draw(n_pages)])
                continue;
            taken[*page] = 1;
            for (uint32_t h = 0; h < shape->n_kv_heads; h++) {
                uint16_t *to = cache + ((size_t)*page * LAYERS + LAYER) * 2 * block_len +
                               h * head_len + j % PAGE * shape->head_dim;
                size_t from = ((size_t)h * q->len + j) * shape->head_dim;
                memcpy(to, q->keys + from, shape->head_dim * 2);
                memcpy(to + block_len, q->values + from, shape->head_dim * 2);
            }
        }
    }
    struct gpu_address at = gpu_room_put(&s->room, cache, len);
    struct gpu_tensor t = attention_cache_tensor(
        at, (uint64_t)n_pages * LAYERS * 2 * shape->n_kv_heads * PAGE, shape->head_dim);
    s->args.cache_at = of(at);
    if (set->has_copy_engine)
        gpu_must(s->room.driver->tensor_map(s->room.gpu, &s->args.cache, &t));
    free(taken);
    free(cache);
}

static void put_rows(struct stage *s, const struct batch *b, uint32_t table_len)
{
    const struct world *w = b->w;
    const size_t width = row_len(w) + 2 * (size_t)w->shape.n_kv_heads * w->shape.head_dim;
    uint16_t *qkv = malloc(b->n_rows * width * 2);
    uint32_t *positions = malloc(b->n_rows * 4),
             *tables = malloc((size_t)b->n_rows * table_len * 4);
    uint32_t *of_sequence = malloc((size_t)SEQUENCES_MAX * table_len * 4), row = 0;
    memset(qkv, POISON, b->n_rows * width * 2);
    memset(of_sequence, 0, (size_t)SEQUENCES_MAX * table_len * 4);
    put_cache(s, b, of_sequence, table_len);
    for (size_t i = 0; i < b->n_pieces; i++)
        for (uint32_t j = 0; j < b->pieces[i].n_rows; j++, row++) {
            size_t sequence = b->pieces[i].sequence;
            positions[row] = b->pieces[i].from + j;
            memcpy(qkv + row * width, w->sequences[sequence].q + positions[row] * row_len(w),
                   row_len(w) * 2);
            memcpy(tables + row * table_len, of_sequence + sequence * table_len, table_len * 4);
        }
    s->args.qkv = of(gpu_room_put(&s->room, qkv, b->n_rows * width * 2));
    s->args.positions = of(gpu_room_put(&s->room, positions, b->n_rows * 4));
    s->args.page_tables = of(gpu_room_put(&s->room, tables, (size_t)b->n_rows * table_len * 4));
    s->args.page_table_len = table_len;
    free(qkv);
    free(positions);
    free(tables);
    free(of_sequence);
}

static void make_plan(struct attention_plan *plan, const struct batch *b)
{
    struct attention_run runs[8];
    uint32_t row = 0;
    struct attention_shape shape = b->w->shape;
    shape.n_multiprocessors = b->n_multiprocessors;
    for (size_t i = 0; i < b->n_pieces; row += b->pieces[i++].n_rows)
        runs[i] = (struct attention_run){row, b->pieces[i].n_rows, b->pieces[i].from};
    const size_t n = b->n_rows, more = n + b->n_partials_max;
    *plan = (struct attention_plan){.wide = malloc(n * sizeof *plan->wide),
                                    .narrow = malloc(more * sizeof *plan->narrow),
                                    .folds = malloc(n * sizeof *plan->folds),
                                    .n_partials_max = b->n_partials_max};
    attention_plan_make(plan, &shape, runs, b->n_pieces);
}

static void plan_cleanup(struct attention_plan *plan)
{
    free(plan->wide);
    free(plan->narrow);
    free(plan->folds);
}

static void stage_init(struct stage *s, const struct batch *b)
{
    const struct attention_shape *shape = &b->w->shape;
    uint32_t longest = 0;
    for (size_t i = 0; i < b->w->n_sequences; i++)
        longest = b->w->sequences[i].len > longest ? b->w->sequences[i].len : longest;
    *s = (struct stage){
        .args = {.n_heads = shape->n_heads,
                 .n_kv_heads = shape->n_kv_heads,
                 .layer = LAYER,
                 .n_layers = LAYERS,
                 .window = shape->window,
                 .scale = b->w->scale},
        .fold = {.n_heads = shape->n_heads, .head_dim = shape->head_dim, .scale = b->w->scale}};
    gpu_room_open(&s->room, b->seed);
    put_rows(s, b, longest / PAGE + 1);
    make_plan(&s->plan, b);
    const size_t heads = (size_t)(b->n_partials_max + 1) * shape->n_heads;
    struct gpu_address sums = gpu_room_put(&s->room, NULL, heads * shape->head_dim * 4);
    struct gpu_address weights = gpu_room_put(&s->room, NULL, heads * 2 * 4);
    s->out = gpu_room_put(&s->room, NULL, b->n_rows * row_len(b->w) * 2);
    s->args.out = s->fold.out = of(s->out);
    s->args.partial_sums = of(sums);
    s->args.partial_weights = of(weights);
    s->fold.partial_sums = of(sums);
    s->fold.partial_weights = of(weights);
}

static struct err launch_items(struct stage *s, const struct batch *b, unsigned tile,
                               const struct cuda_attention_item *items, uint32_t n)
{
    char name[KERNEL_NAME_MAX];
    const uint32_t head_dim = b->w->shape.head_dim;
    struct gpu_launch how = kernel_set_attention(set, 1, head_dim, tile);
    kernel_set_attention_name(name, set, head_dim, tile);
    how.grid[0] = b->n_blocks;
    s->args.items = of(gpu_room_put(&s->room, items, (n + 1) * sizeof *items));
    s->args.n_items = of(gpu_room_put(&s->room, &n, sizeof n));
    return gpu_room_try(&s->room, name, &how, &s->args, sizeof s->args);
}

static struct err launch_folds(struct stage *s, const struct batch *b)
{
    struct gpu_launch how = {.grid = {b->n_blocks, 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
    s->fold.folds = of(gpu_room_put(&s->room, s->plan.folds, (b->n_rows) * sizeof *s->plan.folds));
    s->fold.n_folds = of(gpu_room_put(&s->room, &s->plan.n_folds, sizeof s->plan.n_folds));
    return gpu_room_try(&s->room, "attention_fold", &how, &s->fold, sizeof s->fold);
}

static struct err launch_all(struct stage *s, const struct batch *b)
{
    TRY(launch_items(s, b, ATTENTION_WIDE, s->plan.wide, s->plan.n_wide));
    TRY(launch_items(s, b, ATTENTION_NARROW, s->plan.narrow, s->plan.n_narrow));
    return launch_folds(s, b);
}

/* out (n_rows, n_heads, head_dim). */
static void attend(uint16_t *out, const struct batch *b)
{
    struct stage s;
    stage_init(&s, b);
    gpu_must(launch_all(&s, b));
    gpu_room_get(&s.room, out, s.out, b->n_rows * row_len(b->w) * 2);
    plan_cleanup(&s.plan);
    gpu_room_close(&s.room);
}

static struct book_query query_of(const struct world *w, size_t sequence, uint32_t position,
                                  uint32_t head)
{
    const struct sequence *s = &w->sequences[sequence];
    const uint32_t kv_head = head / (w->shape.n_heads / w->shape.n_kv_heads), d = w->shape.head_dim;
    const size_t first = (size_t)kv_head * s->len * d;
    return (struct book_query){.q = s->q + ((size_t)position * w->shape.n_heads + head) * d,
                               .keys = s->keys + first,
                               .values = s->values + first,
                               .head_dim = d,
                               .position = position,
                               .window = w->shape.window,
                               .scale = w->scale};
}

static struct batch batch_of(const struct world *w, uint64_t seed)
{
    return (struct batch){
        .w = w, .n_multiprocessors = 2, .n_partials_max = PARTIALS, .n_blocks = 2, .seed = seed};
}

#endif
