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

#include "tests/unit/cuda_attention_scene.h"

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

static void every_head_length_gives_the_defined_bits(void **state)
{
    (void)state;
    static const struct attention_shape shapes[] = {
        {4, 2, 64, 0, 0}, {3, 1, 96, 0, 0}, {4, 1, 128, 0, 0}, {2, 2, 128, 90, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct world w;
        world_init(&w, shapes[i], 2, 760, 3);
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
    static const uint32_t groups[] = {1, 2, 3, 5, 7, 8}, lens[] = {3, 64, 65, 130, 560, 700};
    for (uint64_t i = 0; i < DRAWN(12); i++) {
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

/* Windows of one tile's rows that begin in two blocks, a last position that one row sees and the
 * row before does not, in the wide tile and the narrow one. */
static void rows_about_the_ends_of_blocks_see_what_they_should(void **state)
{
    (void)state;
    for (uint32_t window = 0; window <= 90; window += 90) {
        struct world w;
        world_init(&w, (struct attention_shape){2, 1, 64, window, 0}, 1, 800, 3);
        struct batch b = batch_of(&w, 500);
        batch_add(&b, 0, 3 * 128 + 89 - 20, 40);
        batch_add(&b, 0, 3 * 128 + 89 - 10, 20);
        batch_add(&b, 0, 4 * 128 - 2, 3);
        check(&b, 1);
        world_cleanup(&w);
    }
}

static void every_order_of_threads_copies_and_products_gives_them(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){2, 1, 64, 0, 0}, 1, 700,
               20); /* more pages than the ring has */
    for (uint64_t seed = 0; seed < DRAWN(10); seed++) {
        struct batch b = batch_of(&w, 100 + seed);
        b.n_blocks = 1;
        batch_add(&b, 0, w.sequences[0].len - 34, 34);
        check(&b, 33);
    }
    world_cleanup(&w);
}

/* Several pieces of work in one block, each of which ends with a full block of slots: nothing is
 * cleared there, so nothing but the queries' own barrier is between one piece and the next. */
static void a_piece_of_work_leaves_the_queries_of_the_one_before_alone(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){4, 2, 64, 0, 0}, 2, 384, 20);
    for (uint64_t seed = 0; seed < DRAWN(3); seed++) {
        struct batch b = batch_of(&w, 500 + seed);
        b.n_blocks = 1;
        batch_add(&b, 0, 256 - 64, 64); /* wide */
        batch_add(&b, 1, 256 - 32, 32); /* narrow */
        check(&b, 7);
    }
    world_cleanup(&w);
}

/* The end of one sequence: at once, in chunks, and token by token with its splits shared out or
 * not. */
static void a_row_does_not_depend_on_its_company(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (struct attention_shape){6, 2, 64, 0, 0}, 3, 900, 12);
    const uint32_t n_whole = 90, first = w.sequences[0].len - n_whole;
    const size_t n = row_len(&w);
    uint16_t *whole = malloc(n_whole * n * 2), *part = malloc(100 * n * 2);
    struct batch b = batch_of(&w, 1);
    batch_add(&b, 0, first, n_whole);
    attend(whole, &b);
    for (uint32_t i = 8 - DRAWN(8); i < 8; i++) {
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
    world_init(&w, (struct attention_shape){4, 2, 64, 0, 0}, 1, 1500, 3);
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
        float x = (float)draw(1 << 24) / (1 << 24) * 128 - 126;
        assert_true(fabs((double)det_exp2(x) / exp2((double)x) - 1) < 1.5e-7);
    }
    for (int n = -126; n <= 126; n++)
        assert_true(det_exp2((float)n) == ldexpf(1, n) &&
                    det_exp2_integer((float)n) == ldexpf(1, n));
    assert_true(det_exp2(-126.1f) == 0 && det_exp2(-INFINITY) == 0 && isnan(det_exp2(NAN)));
    assert_true(det_exp2_integer(127) == 0x1p127f && det_exp2_integer(-127) == 0 &&
                det_exp2_integer(-INFINITY) == 0);
}

/* The emulated chip's are off by dice. */
static void the_chips_powers_of_two_make_the_defined_weights(void **state)
{
    (void)state;
    struct gpu_room r;
    uint64_t n_other = 0;
    gpu_room_open(&r, 1);
    struct gpu_address at = gpu_room_put(&r, &n_other, sizeof n_other);
    const struct cuda_exp2_check_args args = {.n_other = of(at)};
    const struct gpu_launch how = {.grid = {64, 1, 1}, .block = {CUDA_BLOCK, 1, 1}, .cluster = 1};
    gpu_must(gpu_room_try(&r, "exp2_check", &how, &args, sizeof args));
    gpu_room_get(&r, &n_other, at, sizeof n_other);
    assert_int_equal(n_other, 0);
    gpu_room_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_length_gives_the_defined_bits),
        cmocka_unit_test(shapes_of_all_kinds_are_right),
        cmocka_unit_test(rows_about_the_ends_of_blocks_see_what_they_should),
        cmocka_unit_test(every_order_of_threads_copies_and_products_gives_them),
        cmocka_unit_test(a_piece_of_work_leaves_the_queries_of_the_one_before_alone),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(rows_whose_splits_are_shared_out_are_folded_each),
        cmocka_unit_test(attention_is_near_double),
        cmocka_unit_test(a_plan_covers_every_row_and_split_once),
        cmocka_unit_test(refuses_shapes_without_a_kernel),
        cmocka_unit_test(powers_of_two_are_as_near_as_stated),
        cmocka_unit_test(the_chips_powers_of_two_make_the_defined_weights),
    };
    set = CUDA_CHIP == 80 ? &kernel_set_sm80 : &kernel_set_sm90;
    book_step = CUDA_CHIP == 80 ? tensor_core_step_80 : tensor_core_step;
    gpu_emu_chip(CUDA_CHIP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
