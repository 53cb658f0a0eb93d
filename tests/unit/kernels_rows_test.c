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
    const struct lanes *lanes[2];
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

static void rope_turns_pairs(void **state)
{
    (void)state;
    struct pool *pool = pool_of(1);
    const float table[] = {1, 1, 0, 0, 0.6f, 0.0f, 0.8f, 1.0f}; /* positions 0 and 1, half = 2 */
    float x[] = {1, 2, 3, 4, 1, 2, 3, 4};
    const uint32_t pages[] = {0};
    const struct kv_row rows[] = {{0, pages}, {1, pages}};
    tested->rope(pool, x, table, rows, 2, 1, 4, 4);
    const float want[] = {1, 2, 3, 4, 0.6f - 2.4f, -4, 1.8f + 0.8f, 2};
    for (size_t i = 0; i < 8; i++)
        assert_true(fabsf(x[i] - want[i]) < 1e-6f);
    pool_free(pool);
}

static void rope_leaves_the_rest_of_a_head_alone(void **state)
{
    (void)state;
    struct pool *pool = pool_of(2);
    const float table[] = {0, 1}; /* a quarter turn at position 0 */
    float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const uint32_t pages[] = {0};
    const struct kv_row rows[] = {{0, pages}, {0, pages}};
    tested->rope(pool, x, table, rows, 2, 1, 6, 2);
    const float want[] = {-2, 1, 3, 4, 5, 6, -8, 7, 9, 10, 11, 12};
    for (size_t i = 0; i < 12; i++)
        assert_true(x[i] == want[i]);
    pool_free(pool);
}

static void silu_mul_and_add_are_near_double(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct pool *pool = pool_of(2);
    float *gate = random_floats(N, 5), *up = random_floats(N, 6), out[N];
    for (size_t i = 0; i < N; i++)
        out[i] = gate[i] *= 20.0f;
    tested->silu_mul(pool, out, up, N);
    for (size_t i = 0; i < N; i++) {
        double g = (double)gate[i], want = g / (1 + exp(-g)) * (double)up[i];
        assert_true(fabs((double)out[i] - want) <= 1e-6 * fabs(want) + 1e-30);
    }
    memcpy(out, gate, sizeof out);
    tested->add(pool, out, up, N);
    for (size_t i = 0; i < N; i++)
        assert_true(out[i] == gate[i] + up[i]);
    pool_free(pool);
    free(gate);
    free(up);
}

static void add_bias_adds_to_every_row(void **state)
{
    (void)state;
    enum { ROWS = 300, COLS = 77 };
    float *x = random_floats(ROWS * COLS, 22), *bias = random_floats(COLS, 23);
    float *out = calloc(ROWS * COLS, sizeof *out);
    assert_non_null(out);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        memcpy(out, x, ROWS * COLS * sizeof *out);
        tested->add_bias(pool, out, bias, ROWS, COLS);
        for (size_t i = 0; i < ROWS * COLS; i++)
            assert_true(out[i] == x[i] + bias[i % COLS]);
        pool_free(pool);
    }
    free(x);
    free(bias);
    free(out);
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

static void silu_mul_has_the_written_order(void **state)
{
    (void)state;
    enum { N = 1003 };
    struct pool *pool = pool_of(1);
    float *gate = random_floats(N, 5), *up = random_floats(N, 6), out[N];
    for (size_t i = 0; i < N; i++)
        gate[i] *= 60.0f; /* beyond both ends of exp */
    gate[0] = INFINITY;
    gate[1] = -INFINITY;
    memcpy(out, gate, sizeof out);
    tested->silu_mul(pool, out, up, N);
    for (size_t i = 0; i < N; i++) {
        volatile float quotient = gate[i] / (1.0f + det_exp(-gate[i]));
        assert_int_equal(det_bits(out[i]), det_bits(quotient * up[i]));
    }
    gate[0] = NAN;
    tested->silu_mul(pool, gate, up, 1);
    assert_true(isnan(gate[0]));
    pool_free(pool);
    free(gate);
    free(up);
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(the_other_lanes_agree_in_every_instruction_set),
    };
    const struct CMUnitTest each[] = {
        cmocka_unit_test(rmsnorm_is_near_double),
        cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(rope_leaves_the_rest_of_a_head_alone),
        cmocka_unit_test(silu_mul_and_add_are_near_double),
        cmocka_unit_test(add_bias_adds_to_every_row),
        cmocka_unit_test(rmsnorm_of_heads_is_that_of_each_head),
        cmocka_unit_test(silu_mul_has_the_written_order),
    };
    return cmocka_run_group_tests(shared, NULL, NULL) + RUN_ON_EVERY_BACKEND(each);
}
