/* The operations on rows, of every kernel set that this machine has: near the true value, in the
 * order that docs/NUMERICS.md writes, and the same bits whatever the number of threads; ref-1's
 * whatever the instruction set. */
#include "tests/unit/kernels_fixture.h"

static void the_other_lanes_agree_in_every_instruction_set(void **state)
{
    (void)state;
    enum { N = 77, KEYS_HERE = 9, HEAD_DIM = 20 };
    float *x = random_floats(N, 13), *keys = random_floats(KEYS_HERE * HEAD_DIM, 14);
    float first[4][N], sums[2] = {0};
    const struct lanes *lanes[LANES_VARIANTS_MAX];
    size_t n = lanes_all(lanes);
    for (size_t i = 0; i < n; i++) {
        float got[4][N] = {0};
        lanes[i]->scores(got[0], x, keys, KEYS_HERE, HEAD_DIM, 0.3f);
        memcpy(got[1], x, sizeof got[1]);
        float sum = lanes[i]->exp_sum(got[1], N, 1.5f), squares = lanes[i]->sum_squares(x, N);
        lanes[i]->accumulate(got[2], x, keys, KEYS_HERE, HEAD_DIM);
        memcpy(got[3], x, sizeof got[3]);
        lanes[i]->silu_mul(got[3], x, N);
        if (i == 0) {
            memcpy(first, got, sizeof first);
            sums[0] = sum;
            sums[1] = squares;
        }
        assert_memory_equal(first, got, sizeof first);
        assert_true(sums[0] == sum && sums[1] == squares);
    }
    free(x);
    free(keys);
}

/* A block's largest number, weights and their sum, written out; with a NaN, and with what cannot be
 * chosen. */
static void assert_block(const struct lanes *l, const float z[LANES_BLOCK], bool has_nan)
{
    float most = -INFINITY, w[LANES_BLOCK];
    uint64_t sum = 0;
    for (size_t i = 0; i < LANES_BLOCK; i++)
        most = z[i] > most ? z[i] : most;
    float got = l->block_max(z);
    assert_true(has_nan ? isnan(got) : got == most);
    if (has_nan)
        return;
    l->block_exp(w, z, most, 0.7f, 0.01f);
    for (size_t i = 0; i < LANES_BLOCK; i++) {
        float p = det_exp((z[i] - most) / 0.7f), want = p >= 0.01f ? p * 0x1p40f : 0.0f;
        assert_int_equal(det_bits(w[i]), det_bits(want));
        sum += (uint64_t)want;
    }
    assert_true(l->block_floors(w) == sum);
}

static void blocks_of_sampling_are_as_written_in_every_instruction_set(void **state)
{
    (void)state;
    const struct lanes *lanes[LANES_VARIANTS_MAX];
    for (size_t n = lanes_all(lanes), i = 0; i < n; i++)
        for (size_t at = 0; at < LANES_BLOCK; at++) {
            float *z = random_floats(LANES_BLOCK, 40 + at);
            z[at] = 3.0f;
            assert_block(lanes[i], z, false);
            z[(at + 5) % LANES_BLOCK] = -INFINITY;
            assert_block(lanes[i], z, false);
            z[at] = NAN;
            assert_block(lanes[i], z, true);
            free(z);
        }
}

static void rmsnorm_is_near_double(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 100 };
    struct pool *pool = pool_of(1);
    float *x = random_floats(ROWS * COLS, 3), *w = random_floats(COLS, 4), out[ROWS * COLS];
    tested->rmsnorm(pool, out, x, w, ROWS, COLS, 1e-5f);
    for (size_t r = 0; r < ROWS; r++) {
        double sum = 0;
        for (size_t i = 0; i < COLS; i++)
            sum += (double)x[r * COLS + i] * (double)x[r * COLS + i];
        for (size_t i = 0; i < COLS; i++) {
            double want = (double)x[r * COLS + i] / sqrt(sum / COLS + (double)1e-5f) * (double)w[i];
            assert_true(fabs((double)out[r * COLS + i] - want) <= 1e-6 * fabs(want) + 1e-9);
        }
    }
    tested->rmsnorm(pool, x, x, w, ROWS, COLS, 1e-5f); /* in place */
    assert_same_bits(x, out, ROWS * COLS);
    pool_free(pool);
    free(x);
    free(w);
}

/* Two rows of positions 0 and 1, one head of queries and one of keys; out: q, then the keys and the
 * values that the cache holds. */
static void rope_write(float out[6 * 6], const float *table, size_t dim, size_t n_turned,
                       const float *x, unsigned n_threads)
{
    struct pool *pool = pool_of(n_threads);
    float data[2 * 2 * 2 * KV_PAGE_TOKENS * 6], v[2 * 6];
    struct kv_cache cache = {data, 2, 2, 1, dim};
    poison(data, sizeof data / sizeof data[0]);
    const uint32_t pages[] = {1};
    const struct kv_row rows[] = {{0, pages}, {1, pages}};
    memcpy(out, x, 2 * dim * sizeof *x);
    for (size_t i = 0; i < 2 * dim; i++)
        v[i] = -x[i];
    struct rope_args args = {.q = out,
                             .k = x,
                             .v = v,
                             .cos_sin = table,
                             .cache = &cache,
                             .layer = 1,
                             .rows = rows,
                             .n_rows = 2,
                             .n_heads = 1,
                             .n_turned = n_turned};
    tested->rope_write(pool, &args);
    memcpy(out + 2 * dim, kv_cache_keys(&cache, 1, 1), 2 * dim * sizeof *x);
    memcpy(out + 4 * dim, kv_cache_values(&cache, 1, 1), 2 * dim * sizeof *x);
    assert_true(isnan(kv_cache_keys(&cache, 1, 1)[2 * dim])); /* the next position */
    pool_free(pool);
}

static void rope_turns_pairs_on_their_way_to_the_cache(void **state)
{
    (void)state;
    const float table[] = {1, 1, 0, 0, 0.6f, 0.0f, 0.8f, 1.0f}; /* positions 0 and 1, half = 2 */
    const float x[] = {1, 2, 3, 4, 1, 2, 3, 4};
    const float want[] = {1, 2, 3, 4, 0.6f - 2.4f, -4, 1.8f + 0.8f, 2};
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        float out[6 * 6];
        rope_write(out, table, 4, 4, x, n_threads);
        for (size_t i = 0; i < 8; i++) {
            assert_true(fabsf(out[i] - want[i]) < 1e-6f);
            assert_true(out[8 + i] == out[i] && out[16 + i] == -x[i]);
        }
    }
}

static void rope_leaves_the_rest_of_a_head_alone(void **state)
{
    (void)state;
    const float table[] = {0, 1, 0, 1}; /* a quarter turn at both positions */
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const float want[] = {-2, 1, 3, 4, 5, 6, -8, 7, 9, 10, 11, 12};
    float out[6 * 6];
    rope_write(out, table, 6, 2, x, 2);
    for (size_t i = 0; i < 12; i++)
        assert_true(out[i] == want[i] && out[12 + i] == want[i] && out[24 + i] == -x[i]);
}

/* Heads of 80 elements, of which 72 are turned: whole vectors of pairs, and others after them. Rows
 * on pages of their own; out: the queries, then the whole cache. */
enum { ROPE_ROWS = 5, ROPE_HEADS = 6, ROPE_KEYS = 2, ROPE_DIM = 80, ROPE_TURNED = 72 };
enum {
    ROPE_Q_LEN = ROPE_ROWS * ROPE_HEADS * ROPE_DIM,
    ROPE_CACHE_LEN = ROPE_ROWS * 2 * ROPE_KEYS * KV_PAGE_TOKENS * ROPE_DIM
};

static float *rope_heads(const struct backend *b, unsigned n_threads)
{
    struct pool *pool = pool_of(n_threads);
    float *x = random_floats(ROPE_Q_LEN, 31);
    float *table = random_floats(ROPE_ROWS * ROPE_TURNED, 32);
    float *out = calloc(ROPE_Q_LEN + ROPE_CACHE_LEN, sizeof *out);
    assert_non_null(out);
    memcpy(out, x, ROPE_Q_LEN * sizeof *x);
    struct kv_cache cache = {out + ROPE_Q_LEN, ROPE_ROWS, 1, ROPE_KEYS, ROPE_DIM};
    uint32_t pages[ROPE_ROWS];
    struct kv_row rows[ROPE_ROWS];
    for (uint32_t i = 0; i < ROPE_ROWS; i++) {
        pages[i] = (i + 2) % ROPE_ROWS;
        rows[i] = (struct kv_row){i, &pages[i]};
    }
    const struct rope_args args = {.q = out,
                                   .k = x + 7,
                                   .v = x + 100,
                                   .cos_sin = table,
                                   .cache = &cache,
                                   .rows = rows,
                                   .n_rows = ROPE_ROWS,
                                   .n_heads = ROPE_HEADS,
                                   .n_turned = ROPE_TURNED};
    b->rope_write(pool, &args);
    pool_free(pool);
    free(x);
    free(table);
    return out;
}

static void rope_is_that_of_ref_to_the_bit(void **state)
{
    (void)state;
    const struct backend *ref = NULL;
    assert_false(is_err(backend_get(&ref, "ref", true)));
    float *want = rope_heads(ref, 1);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        float *got = rope_heads(tested, n_threads);
        assert_same_bits(got, want, ROPE_Q_LEN + ROPE_CACHE_LEN);
        free(got);
    }
    free(want);
}

/* Heads are rows of head_dim: each is normed alone, in place, whatever its row's other heads. */
static void rmsnorm_of_heads_is_that_of_each_head(void **state)
{
    (void)state;
    enum { ROWS = 50, LEN = 4 * 20 };
    float *x = random_floats(ROWS * LEN, 24), *w = random_floats(20, 25), alone[20];
    float *out = calloc(ROWS * LEN, sizeof *out);
    assert_non_null(out);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        memcpy(out, x, ROWS * LEN * sizeof *out);
        tested->rmsnorm(pool, out, out, w, ROWS * 4, 20, 1e-6f);
        for (size_t i = 0; i < ROWS * 4; i++) {
            tested->rmsnorm(pool, alone, x + i * 20, w, 1, 20, 1e-6f);
            assert_same_bits(out + i * 20, alone, 20);
        }
        pool_free(pool);
    }
    free(x);
    free(w);
    free(out);
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(the_other_lanes_agree_in_every_instruction_set),
        cmocka_unit_test(blocks_of_sampling_are_as_written_in_every_instruction_set),
    };
    const struct CMUnitTest each[] = {
        cmocka_unit_test(rmsnorm_is_near_double),
        cmocka_unit_test(rope_turns_pairs_on_their_way_to_the_cache),
        cmocka_unit_test(rope_leaves_the_rest_of_a_head_alone),
        cmocka_unit_test(rope_is_that_of_ref_to_the_bit),
        cmocka_unit_test(rmsnorm_of_heads_is_that_of_each_head),
    };
    return cmocka_run_group_tests(shared, NULL, NULL) + RUN_ON_EVERY_BACKEND(each);
}
