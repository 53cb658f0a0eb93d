/* Attention of the CUDA backend on the emulated GPU: bit for bit the definition of docs/CUDA.md,
 * for prefill and decode, any share of the work, any place of the pages, any order of threads,
 * copies and products; near double precision; slots that were never written are of no account, and
 * nothing is written beyond the outputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

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

static uint64_t dice = 1;

static uint32_t draw(uint32_t n)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((dice >> 33) % n);
}

static float widen(uint16_t x)
{
    return det_float((uint32_t)x << 16);
}

static void *of(struct gpu_address a)
{
    return (void *)(uintptr_t)a.at;
}

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

/* Some rows of the batch, all their heads: the definition takes its time. */
static void check_rows(const struct batch *b, const uint16_t *got, uint32_t every)
{
    const struct world *w = b->w;
    uint16_t want[BOOK_HEAD_MAX];
    uint32_t row = 0;
    for (size_t i = 0; i < b->n_pieces; i++)
        for (uint32_t j = 0; j < b->pieces[i].n_rows; j++, row++)
            for (uint32_t h = 0;
                 (row % every == 0 || j + 1 == b->pieces[i].n_rows) && h < w->shape.n_heads; h++) {
                struct book_query q = query_of(w, b->pieces[i].sequence, b->pieces[i].from + j, h);
                book_attention(want, &q);
                if (memcmp(want, got + ((size_t)row * w->shape.n_heads + h) * w->shape.head_dim,
                           w->shape.head_dim * 2u) != 0)
                    fail_msg("head_dim %u, %u heads on %u, window %u, row %u (position %u), head "
                             "%u, seed "
                             "%llu: other bits",
                             w->shape.head_dim, w->shape.n_heads, w->shape.n_kv_heads,
                             w->shape.window, row, q.position, h, (unsigned long long)b->seed);
            }
}

static void check(const struct batch *b, uint32_t every)
{
    uint16_t *got = malloc(b->n_rows * row_len(b->w) * 2);
    attend(got, b);
    check_rows(b, got, every);
    free(got);
}

static struct batch batch_of(const struct world *w, uint64_t seed)
{
    return (struct batch){
        .w = w, .n_multiprocessors = 2, .n_partials_max = PARTIALS, .n_blocks = 2, .seed = seed};
}

static void every_head_length_gives_the_defined_bits(void **state)
{
    (void)state;
    static const struct attention_shape shapes[] = {
        {4, 2, 64, 0, 0}, {3, 1, 96, 0, 0}, {4, 1, 128, 0, 0}, {2, 2, 128, 90, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct world w;
        world_init(&w, shapes[i], 2, 420, 3);
        struct batch b = batch_of(&w, i);
        batch_add(&b, 0, w.sequences[0].len - 70, 70); /* a wide tile and more */
        batch_add(&b, 1, w.sequences[1].len - 1, 1);   /* one row to decode */
        check(&b, 11);
        world_cleanup(&w);
    }
}

/* Lengths about the ends of pages and splits, groups that do not divide a tile, windows of all
 * sizes, flat and sharp scores. */
static void shapes_of_all_kinds_are_right(void **state)
{
    (void)state;
    static const uint32_t groups[] = {1, 2, 3, 5, 7, 8}, lens[] = {3, 64, 65, 130, 257, 300};
    for (uint64_t i = 0; i < 12; i++) {
        uint32_t n_kv_heads = 1 + draw(2);
        struct attention_shape shape = {groups[draw(6)] * n_kv_heads, n_kv_heads, 64,
                                        draw(2) == 0 ? 0 : 1 + draw(200), 0};
        struct world w;
        world_init(&w, shape, 3, lens[draw(6)], draw(2) == 0 ? 1.0f : 40.0f);
        struct batch b = batch_of(&w, i);
        b.n_blocks = 1 + draw(4);
        for (size_t q = 0; q < 3; q++) {
            uint32_t len = w.sequences[q].len, n = 1 + draw(len < 40 ? len : 40);
            batch_add(&b, q, draw(len - n + 1), n);
        }
        check(&b, 5);
        world_cleanup(&w);
    }
}

static void every_order_of_threads_copies_and_products_gives_them(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){2, 1, 64, 0, 0}, 1, 700,
               20); /* more pages than the ring has */
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct batch b = batch_of(&w, 100 + seed);
        b.n_blocks = 1;
        batch_add(&b, 0, w.sequences[0].len - 34, 34);
        check(&b, 33);
    }
    world_cleanup(&w);
}

/* The end of one sequence: at once, in chunks, and token by token with its splits shared out or
 * not. */
static void a_row_does_not_depend_on_its_company(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){6, 2, 64, 0, 0}, 3, 640, 12);
    const uint32_t n_whole = 90, first = w.sequences[0].len - n_whole;
    const size_t n = row_len(&w);
    uint16_t *whole = malloc(n_whole * n * 2), *part = malloc(100 * n * 2);
    struct batch b = batch_of(&w, 1);
    batch_add(&b, 0, first, n_whole);
    attend(whole, &b);
    for (uint32_t i = 0; i < 8; i++) {
        struct batch other = batch_of(&w, 2 + i);
        uint32_t rows = i < 4 ? 1 : 1 + draw(60), from = draw(n_whole - rows + 1);
        other.n_multiprocessors = 1 + 20 * (i % 2);
        other.n_partials_max = i == 7 ? 0 : PARTIALS;
        batch_add(&other, 1, draw(100), 1 + draw(5));
        batch_add(&other, 0, first + from, rows);
        attend(part, &other);
        assert_memory_equal(part + (other.n_rows - rows) * n, whole + from * n, rows * n * 2);
    }
    free(whole);
    free(part);
    world_cleanup(&w);
}

static void rows_whose_splits_are_shared_out_are_folded_each(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){4, 2, 64, 0, 0}, 1, 900, 3);
    struct batch b = batch_of(&w, 300);
    b.n_multiprocessors = 40;
    batch_add(&b, 0, w.sequences[0].len - 5, 5);
    check(&b, 1);
    world_cleanup(&w);
}

static void near_double(const struct world *w, uint32_t position, double *error, double *size)
{
    const uint32_t d = w->shape.head_dim;
    uint16_t got[BOOK_HEAD_MAX];
    double p[1024], l = 0, most = -INFINITY;
    struct book_query q = query_of(w, 0, position, 0);
    book_attention(got, &q);
    for (uint32_t j = 0; j <= position; j++) {
        p[j] = 0;
        for (uint32_t i = 0; i < d; i++)
            p[j] += (double)widen(q.q[i]) * (double)widen(q.keys[(size_t)j * d + i]);
        most = p[j] > most ? p[j] : most;
    }
    for (uint32_t j = 0; j <= position; j++)
        l += p[j] = book_sees(&q, j) ? exp((double)w->scale * (p[j] - most)) : 0;
    for (uint32_t i = 0; i < d; i++) {
        double want = 0;
        for (uint32_t j = 0; j <= position; j++)
            want += p[j] / l * (double)widen(q.values[(size_t)j * d + i]);
        *error += pow((double)widen(got[i]) - want, 2);
        *size += want * want;
    }
}

/* Weights and results are bf16: a relative error of 2^-9 each at most, half of that on the whole.
 */
static void attention_is_near_double(void **state)
{
    (void)state;
    static const float sharps[] = {0.1f, 3, 60};
    for (int i = 0; i < 3; i++) {
        struct world w;
        double error = 0, size = 0;
        world_init(&w, (struct attention_shape){1, 1, 64, 0, 0}, 1, 900, sharps[i]);
        for (uint32_t position = 0; position < w.sequences[0].len; position += 37)
            near_double(&w, position, &error, &size);
        printf("scores %g apart: relative error %.2e\n", (double)sharps[i], sqrt(error / size));
        assert_true(sqrt(error / size) < 4e-3);
        world_cleanup(&w);
    }
}

/* Every row's every split that it sees is in one item, once; what is to be folded is folded once.
 */
static void a_plan_covers_every_row_and_split_once(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t seen[256][16] = {{0}};
        struct world w = {.shape = {.n_heads = 8,
                                    .n_kv_heads = 8 >> draw(3),
                                    .head_dim = 64,
                                    .window = draw(2) * draw(900)}};
        struct batch b = batch_of(&w, i);
        struct attention_plan plan;
        b.n_multiprocessors = 1 + draw(140);
        b.n_partials_max = draw(60);
        for (int piece = 0; piece < 5; piece++)
            batch_add(&b, 0, draw(4000), draw(2) == 0 ? 1 : 1 + draw(50));
        make_plan(&plan, &b);
        for (uint32_t k = 0; k < plan.n_wide + plan.n_narrow; k++) {
            struct cuda_attention_item *item =
                k < plan.n_wide ? &plan.wide[k] : &plan.narrow[k - plan.n_wide];
            assert_true(item->n_rows <= (uint32_t)ATTENTION_ROWS(k < plan.n_wide ? 128 : 64,
                                                                 8 / w.shape.n_kv_heads));
            for (uint32_t r = item->row; r < item->row + item->n_rows; r++)
                for (uint32_t s = item->first_split; s < item->end_split; s++)
                    seen[r][s]++;
        }
        assert_true(plan.n_partials <= b.n_partials_max && plan.n_folds <= b.n_rows);
        for (uint32_t piece = 0, row = 0; piece < b.n_pieces; piece++)
            for (uint32_t j = 0; j < b.pieces[piece].n_rows; j++, row++) {
                struct book_query q = {.position = b.pieces[piece].from + j,
                                       .window = w.shape.window};
                for (uint32_t s = 0; s <= q.position / BOOK_SPLIT; s++)
                    if (book_sees_any(&q, s * BOOK_SPLIT, BOOK_SPLIT))
                        assert_int_equal(seen[row][s], 1);
            }
        plan_cleanup(&plan);
    }
}

static void refuses_shapes_without_a_kernel(void **state)
{
    (void)state;
    struct attention_shape s = {.n_heads = 32, .n_kv_heads = 8, .head_dim = 80};
    assert_true(is_err(attention_check(&s)));
    assert_non_null(strstr(err_message(), "not 80"));
    s = (struct attention_shape){.n_heads = 65, .n_kv_heads = 1, .head_dim = 64};
    assert_true(is_err(attention_check(&s)));
    s = (struct attention_shape){.n_heads = 32, .n_kv_heads = 8, .head_dim = 96};
    assert_false(is_err(attention_check(&s)));
}

static void powers_of_two_are_as_near_as_stated(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2000000; i++) {
        float x = (float)draw(1 << 24) / (1 << 24) * 72 - 64;
        double want = exp2((double)x);
        assert_true(fabs((double)det_exp2(x) / want - 1) < 1.5e-7);
        assert_true(fabs((double)det_exp2_bf16(x) / want - 1) < 1.1e-4);
    }
    assert_true(det_exp2_bf16(0) == 1 && det_exp2(0) == 1 && det_exp2(-1) == 0.5f &&
                det_exp2(126) == 0x1p126f);
    assert_true(det_exp2(-INFINITY) == 0x1p-126f && det_exp2_bf16(-1000) == 0x1p-64f &&
                det_exp2_bf16(NAN) == 0x1p-64f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_length_gives_the_defined_bits),
        cmocka_unit_test(shapes_of_all_kinds_are_right),
        cmocka_unit_test(every_order_of_threads_copies_and_products_gives_them),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(rows_whose_splits_are_shared_out_are_folded_each),
        cmocka_unit_test(attention_is_near_double),
        cmocka_unit_test(a_plan_covers_every_row_and_split_once),
        cmocka_unit_test(refuses_shapes_without_a_kernel),
        cmocka_unit_test(powers_of_two_are_as_near_as_stated),
    };
    set = CUDA_CHIP == 80 ? &kernel_set_sm80 : &kernel_set_sm90;
    book_step = CUDA_CHIP == 80 ? tensor_core_step_80 : tensor_core_step;
    gpu_emu_chip(CUDA_CHIP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
