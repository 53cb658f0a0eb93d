/* What surrounds a step on the emulated GPU: rows made from plan and slots, pages zeroed and
 * copied, tokens counted; what was not to be written is as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/args.h"
#include "tests/unit/gpu_room.h"

enum { PAGE = 64 };

static void launch(struct gpu_room *r, const char *kernel, unsigned x, unsigned y, const void *args,
                   size_t args_len)
{
    struct gpu_launch how = {.grid = {x, y, 1}, .block = {CUDA_BLOCK, 1, 1}};
    gpu_must(gpu_room_try(r, kernel, &how, args, args_len));
}

static void *draw_bytes(size_t len)
{
    uint8_t *p = malloc(len);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)draw(256);
    return p;
}

enum { SLOTS = 5, TABLE = 700, SPARE = 12345 }; /* a table longer than a block has threads */

struct step_rows {
    uint32_t *tokens, *positions, *tables;
};

/* One row as it is meant; entries behind its position stay poison. */
static void expect_row(struct step_rows *want, size_t row, struct cuda_plan_row plan,
                       const uint32_t *newest, const uint32_t *newest_at, const uint32_t *tables)
{
    uint32_t *table = want->tables + row * TABLE;
    if (plan.slot == CUDA_NO_SLOT) {
        want->tokens[row] = want->positions[row] = 0;
        table[0] = SPARE;
        return;
    }
    bool is_newest = plan.token == CUDA_NEWEST;
    want->tokens[row] = is_newest ? newest[plan.slot] : plan.token;
    want->positions[row] = is_newest ? newest_at[plan.slot] : plan.position;
    memcpy(table, tables + plan.slot * TABLE, (want->positions[row] / PAGE + 1) * 4);
}

static void check_prepare(size_t n_rows, uint64_t seed)
{
    struct gpu_room r;
    uint32_t newest[SLOTS], newest_at[SLOTS], *tables = draw_bytes((size_t)SLOTS * TABLE * 4);
    struct cuda_plan_row *plan = malloc(n_rows * sizeof *plan);
    size_t len = n_rows * (2 + TABLE) * 4;
    uint32_t *want_all = malloc(len), *got = malloc(len);
    struct step_rows want = {want_all, want_all + n_rows, want_all + 2 * n_rows};
    memset(want_all, 0xff, len);
    for (size_t i = 0; i < SLOTS; i++) {
        newest[i] = draw(100000);
        newest_at[i] = draw(TABLE * PAGE);
    }
    for (size_t i = 0; i < n_rows; i++) {
        plan[i] = (struct cuda_plan_row){.slot = draw(4) ? draw(SLOTS) : CUDA_NO_SLOT,
                                         .token = draw(2) ? draw(1000) : CUDA_NEWEST,
                                         .position = draw(TABLE * PAGE)};
        expect_row(&want, i, plan[i], newest, newest_at, tables);
    }
    gpu_room_open(&r, seed);
    struct gpu_address out = gpu_room_put(&r, NULL, len);
    uint32_t *to = of(out);
    struct cuda_prepare_args args = {.tokens = to,
                                     .positions = to + n_rows,
                                     .page_tables = to + 2 * n_rows,
                                     .plan = of(gpu_room_put(&r, plan, n_rows * sizeof *plan)),
                                     .newest = of(gpu_room_put(&r, newest, sizeof newest)),
                                     .newest_at = of(gpu_room_put(&r, newest_at, sizeof newest_at)),
                                     .slot_tables =
                                         of(gpu_room_put(&r, tables, (size_t)SLOTS * TABLE * 4)),
                                     .page_table_len = TABLE,
                                     .spare_page = SPARE};
    launch(&r, "prepare_rows", (unsigned)n_rows, 1, &args, sizeof args);
    gpu_room_get(&r, got, out, len);
    assert_memory_equal(got, want_all, len);
    gpu_room_close(&r);
    free(tables);
    free(plan);
    free(want_all);
    free(got);
}

static void rows_are_made_from_plan_and_slots(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++)
        check_prepare(1 + draw(20), seed);
}

/* A cache of random bytes, and what is meant to be in it after a launch. */
enum { PAGES = 7, LAYERS = 3, KV_HEADS = 2, HEAD_DIM = 20 };
enum { PAGE_LEN = LAYERS * 2 * KV_HEADS * PAGE * HEAD_DIM };

static void only_the_pages_named_are_zeroed(void **state)
{
    (void)state;
    size_t len = (size_t)PAGES * PAGE_LEN * 2;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct gpu_room r;
        uint16_t *cache = draw_bytes(len), *got = malloc(len);
        uint32_t pages[2] = {draw(3), 3 + draw(PAGES - 3)};
        gpu_room_open(&r, seed);
        struct gpu_address a = gpu_room_put(&r, cache, len);
        struct cuda_zero_pages_args args = {.cache = of(a),
                                            .pages = of(gpu_room_put(&r, pages, sizeof pages)),
                                            .page_len = PAGE_LEN};
        launch(&r, "zero_pages", 1 + draw(4), 2, &args, sizeof args);
        for (size_t i = 0; i < 2; i++)
            memset(cache + (size_t)pages[i] * PAGE_LEN, 0, (size_t)PAGE_LEN * 2);
        gpu_room_get(&r, got, a, len);
        assert_memory_equal(got, cache, len);
        gpu_room_close(&r);
        free(cache);
        free(got);
    }
}

static void copy_expected(uint16_t *cache, struct cuda_page_copy copy)
{
    for (size_t run = 0; run < (size_t)LAYERS * 2 * KV_HEADS; run++)
        memcpy(cache + (size_t)copy.to * PAGE_LEN + run * PAGE * HEAD_DIM,
               cache + (size_t)copy.from * PAGE_LEN + run * PAGE * HEAD_DIM,
               (size_t)copy.n_tokens * HEAD_DIM * 2);
}

static void only_the_positions_named_are_copied(void **state)
{
    (void)state;
    size_t len = (size_t)PAGES * PAGE_LEN * 2;
    static const uint32_t n_tokens[] = {0, 1, 37, PAGE};
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct gpu_room r;
        uint16_t *cache = draw_bytes(len), *got = malloc(len);
        struct cuda_page_copy copies[2] = {{draw(2), 2, n_tokens[seed]},
                                           {3, 2 + 2 * draw(2), n_tokens[(seed + 1) % 4]}};
        gpu_room_open(&r, seed);
        struct gpu_address a = gpu_room_put(&r, cache, len);
        struct cuda_copy_pages_args args = {.cache = of(a),
                                            .copies = of(gpu_room_put(&r, copies, sizeof copies)),
                                            .n_layers = LAYERS,
                                            .n_kv_heads = KV_HEADS,
                                            .head_dim = HEAD_DIM};
        launch(&r, "copy_pages", 1 + draw(4), 2, &args, sizeof args);
        copy_expected(cache, copies[0]);
        copy_expected(cache, copies[1]);
        gpu_room_get(&r, got, a, len);
        assert_memory_equal(got, cache, len);
        gpu_room_close(&r);
        free(cache);
        free(got);
    }
}

static void tokens_are_counted_once_each(void **state)
{
    (void)state;
    enum { VOCAB = 50, TOKENS = 2000, BEYOND = 64 };
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct gpu_room r;
        uint32_t tokens[TOKENS], want[VOCAB] = {0}, got[VOCAB], n = 1 + draw(TOKENS);
        uint32_t n_prompt = draw(n + 1);
        for (size_t i = 0; i < n; i++) {
            tokens[i] = draw(10) ? draw(VOCAB) : BEYOND;
            if (tokens[i] < VOCAB && i < n_prompt)
                want[tokens[i]] |= CUDA_IN_PROMPT;
            else if (tokens[i] < VOCAB)
                want[tokens[i]]++;
        }
        memset(got, 0, sizeof got);
        gpu_room_open(&r, seed);
        struct gpu_address counts = gpu_room_put(&r, got, sizeof got);
        struct cuda_count_args args = {.counts = of(counts),
                                       .tokens = of(gpu_room_put(&r, tokens, n * 4)),
                                       .n_tokens = n,
                                       .n_prompt = n_prompt,
                                       .n_vocab = VOCAB};
        launch(&r, "count_tokens", 1 + draw(3), 1, &args, sizeof args);
        gpu_room_get(&r, got, counts, sizeof got);
        assert_memory_equal(got, want, sizeof want);
        gpu_room_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_made_from_plan_and_slots),
        cmocka_unit_test(only_the_pages_named_are_zeroed),
        cmocka_unit_test(only_the_positions_named_are_copied),
        cmocka_unit_test(tokens_are_counted_once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
