/* Attention of every kernel set that this machine has: near the true value, causal and within its
 * window, in the order that docs/NUMERICS.md writes, and the same bits whatever the number of
 * threads, the other rows and the pages. */
#include "tests/unit/kernels_fixture.h"

/* Groups of 7 heads; dimensions of all kinds of tiles: several vectors, one, and a part of one. */
enum { HEADS = 14, KV_HEADS = 2, DIM = 84, KEYS = 200, PAGES = 8 };
#define SCALE 0.125f

/* One sequence of KEYS positions in the given pages; queries at the given positions. */
static void attend(float *out, struct pool *pool, const uint32_t *page_table, const float *q,
                   const float *k, const float *v, const uint32_t *positions, size_t n_rows,
                   size_t window)
{
    struct kv_cache cache = {NULL, PAGES, 2, KV_HEADS, DIM};
    size_t len = PAGES * kv_cache_page_len(&cache);
    cache.data = calloc(len, sizeof(float));
    float *scratch = calloc(pool_n_threads(pool) * HEADS * KEYS, sizeof *scratch);
    assert_true(cache.data != NULL && scratch != NULL);
    poison(cache.data, len); /* a slot that was not written must not count */
    struct kv_row rows[KEYS];
    for (uint32_t i = 0; i < KEYS; i++)
        rows[i] = (struct kv_row){i, page_table};
    struct rope_args store = {
        .k = k, .v = v, .cache = &cache, .layer = 1, .rows = rows, .n_rows = KEYS};
    tested->rope_write(pool, &store);
    for (size_t i = 0; i < n_rows; i++)
        rows[i].position = positions[i];
    struct attention_args args = {.out = out,
                                  .q = q,
                                  .cache = &cache,
                                  .layer = 1,
                                  .rows = rows,
                                  .n_rows = n_rows,
                                  .n_heads = HEADS,
                                  .window = window,
                                  .scale = SCALE,
                                  .scratch = scratch,
                                  .scratch_len = HEADS / KV_HEADS * KEYS};
    tested->attention(pool, &args);
    free(scratch);
    free(cache.data);
}

/* One row and head by docs/NUMERICS.md, one element at a time. */
static void attend_by_the_book(float *out, const float *q, const float *k, const float *v,
                               size_t kv, size_t first, uint32_t position)
{
    static float p[KEYS];
    float max = -INFINITY;
    bool fused = strcmp(tested->name, "ref") != 0;
    for (size_t j = first; j <= position; j++) {
        p[j] = lane_sum(tested, q, k + (j * KV_HEADS + kv) * DIM, DIM) * SCALE;
        max = fmaxf(max, p[j]);
    }
    for (size_t j = first; j <= position; j++)
        p[j] = det_exp(p[j] - max);
    float sum = lane_sum(tested, p + first, NULL, position + 1 - first);
    for (size_t d = 0; d < DIM; d++) {
        out[d] = 0.0f;
        for (size_t j = first; j <= position; j++) {
            float value = v[(j * KV_HEADS + kv) * DIM + d];
            volatile float product = p[j] * value;
            out[d] = fused ? fmaf(p[j], value, out[d]) : out[d] + product;
        }
        out[d] = out[d] / sum;
    }
}

static void attention_has_the_written_order(void **state)
{
    (void)state;
    const uint32_t pages[] = {3, 1, 0, 2}, positions[] = {0, 6, 63, 64, 199};
    enum { ROWS = 5 };
    struct pool *pool = pool_of(1);
    float *q = random_floats(ROWS * HEADS * DIM, 7), *k = random_floats(KEYS * KV_HEADS * DIM, 8);
    float *v = random_floats(KEYS * KV_HEADS * DIM, 9), out[ROWS * HEADS * DIM], want[DIM];
    static const size_t windows[] = {0, 1, 70};
    for (size_t w = 0; w < 3; w++) {
        attend(out, pool, pages, q, k, v, positions, ROWS, windows[w]);
        for (size_t i = 0; i < ROWS * HEADS; i++) {
            size_t end = positions[i / HEADS] + 1u;
            size_t first = windows[w] != 0 && end > windows[w] ? end - windows[w] : 0;
            attend_by_the_book(want, q + i * DIM, k, v, i % HEADS / (HEADS / KV_HEADS), first,
                               positions[i / HEADS]);
            assert_same_bits(out + i * DIM, want, DIM);
        }
    }
    pool_free(pool);
    free(q);
    free(k);
    free(v);
}

static double attend_double(const float *q, const float *k, const float *v, size_t head,
                            uint32_t position, size_t d, size_t first)
{
    double p[KEYS], max = -INFINITY, sum = 0, out = 0;
    size_t kv = head / (HEADS / KV_HEADS);
    for (size_t j = first; j <= position; j++) {
        p[j] = 0;
        for (size_t i = 0; i < DIM; i++)
            p[j] += (double)q[i] * (double)k[(j * KV_HEADS + kv) * DIM + i];
        p[j] *= (double)SCALE;
        max = fmax(max, p[j]);
    }
    for (size_t j = first; j <= position; j++)
        sum += p[j] = exp(p[j] - max);
    for (size_t j = first; j <= position; j++)
        out += p[j] / sum * (double)v[(j * KV_HEADS + kv) * DIM + d];
    return out;
}

static void attention_is_near_double_and_causal(void **state)
{
    (void)state;
    const uint32_t pages[] = {0, 1, 2, 3}, positions[] = {0, 1, 63, 64, 130, 199};
    enum { ROWS = 6 };
    struct pool *pool = pool_of(1);
    float *q = random_floats(ROWS * HEADS * DIM, 7), *k = random_floats(KEYS * KV_HEADS * DIM, 8);
    float *v = random_floats(KEYS * KV_HEADS * DIM, 9), out[ROWS * HEADS * DIM];
    poison(out, ROWS * HEADS * DIM);
    attend(out, pool, pages, q, k, v, positions, ROWS, 0);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t h = 0; h < HEADS; h++)
            for (size_t d = 0; d < DIM; d++) {
                size_t at = (r * HEADS + h) * DIM;
                double want = attend_double(q + at, k, v, h, positions[r], d, 0);
                assert_true(fabs((double)out[at + d] - want) < 3e-6);
            }
    pool_free(pool);
    free(q);
    free(k);
    free(v);
}

/* Keys and values outside the row's window are poisoned: they must not count, not even times 0. */
static void attention_sees_its_window_alone(void **state)
{
    (void)state;
    static const size_t windows[] = {1, 2, 63, 64, 65, 100, 131, 1000};
    const uint32_t pages[] = {3, 1, 0, 2}, positions[] = {0, 5, 63, 64, 130, 199};
    enum { LEN = HEADS * DIM, KV_LEN = KV_HEADS * DIM };
    struct pool *pool = pool_of(1);
    float *q = random_floats(LEN, 16), out[LEN];
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++)
        for (size_t p = 0; p < sizeof positions / sizeof positions[0]; p++) {
            float *k = random_floats(KEYS * KV_LEN, 17), *v = random_floats(KEYS * KV_LEN, 18);
            size_t end = positions[p] + 1u, first = end > windows[w] ? end - windows[w] : 0;
            poison(k, first * KV_LEN);
            poison(v, first * KV_LEN);
            poison(k + end * KV_LEN, (KEYS - end) * KV_LEN);
            poison(v + end * KV_LEN, (KEYS - end) * KV_LEN);
            attend(out, pool, pages, q, k, v, positions + p, 1, windows[w]);
            for (size_t h = 0; h < HEADS; h++)
                for (size_t d = 0; d < DIM; d++) {
                    double want = attend_double(q + h * DIM, k, v, h, positions[p], d, first);
                    assert_true(fabs((double)out[h * DIM + d] - want) < 3e-6);
                }
            free(k);
            free(v);
        }
    pool_free(pool);
    free(q);
}

static void a_window_as_long_as_the_sequence_changes_no_bit(void **state)
{
    (void)state;
    const uint32_t pages[] = {0, 1, 2, 3}, positions[] = {0, 64, 130, 199};
    enum { ROWS = 4, LEN = ROWS * HEADS * DIM };
    struct pool *pool = pool_of(1);
    float *q = random_floats(LEN, 19), *k = random_floats(KEYS * KV_HEADS * DIM, 20);
    float *v = random_floats(KEYS * KV_HEADS * DIM, 21), all[LEN], windowed[LEN];
    attend(all, pool, pages, q, k, v, positions, ROWS, 0);
    attend(windowed, pool, pages, q, k, v, positions, ROWS, KEYS);
    assert_same_bits(all, windowed, LEN);
    pool_free(pool);
    free(q);
    free(k);
    free(v);
}

static void attention_does_not_depend_on_pages_rows_or_threads(void **state)
{
    (void)state;
    const uint32_t plain[] = {0, 1, 2, 3}, mixed[] = {5, 0, 7, 2};
    const uint32_t positions[] = {199, 64, 7, 130};
    static const size_t windows[] = {0, 70};
    enum { ROWS = 4, LEN = HEADS * DIM };
    float *q = random_floats(ROWS * LEN, 10), *k = random_floats(KEYS * KV_HEADS * DIM, 11);
    float *v = random_floats(KEYS * KV_HEADS * DIM, 12), alone[ROWS * LEN], out[ROWS * LEN];
    struct pool *one = pool_of(1);
    for (size_t w = 0; w < 2; w++) {
        for (size_t r = 0; r < ROWS; r++)
            attend(alone + r * LEN, one, plain, q + r * LEN, k, v, positions + r, 1, windows[w]);
        for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
            struct pool *pool = pool_of(n_threads);
            poison(out, ROWS * LEN);
            attend(out, pool, mixed, q, k, v, positions, ROWS, windows[w]);
            assert_same_bits(out, alone, ROWS * LEN);
            pool_free(pool);
        }
    }
    pool_free(one);
    free(q);
    free(k);
    free(v);
}

int main(void)
{
    const struct CMUnitTest each[] = {
        cmocka_unit_test(attention_is_near_double_and_causal),
        cmocka_unit_test(attention_sees_its_window_alone),
        cmocka_unit_test(a_window_as_long_as_the_sequence_changes_no_bit),
        cmocka_unit_test(attention_has_the_written_order),
        cmocka_unit_test(attention_does_not_depend_on_pages_rows_or_threads),
    };
    return RUN_ON_EVERY_BACKEND(each);
}
