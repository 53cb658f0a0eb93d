/* What the instructions of AVX-512 BF16 compute on this machine, through avx512bf16's matmul,
 * against plain C of docs/NUMERICS.md: every kind of float, and whatever the rounding mode. Skipped
 * where the processor does not have them. */
#include <fenv.h>

#include "tests/unit/bf16_by_the_book.h"
#include "tests/unit/kernels_fixture.h"

static void assert_same_or_nan(float got, float want)
{
    if (isnan(want))
        assert_true(isnan(got));
    else
        assert_int_equal(det_bits(got), det_bits(want));
}

/* The sum over n_in of x times w, n_out columns of weights. */
static void multiply(float *y, const float *x, const uint16_t *w, size_t n_rows, size_t n_out,
                     size_t n_in)
{
    struct weight matrix = {w, WEIGHT_BF16, n_out, n_in};
    struct matmul_args args = {.x = x,
                               .n_rows = n_rows,
                               .n_cols = n_in,
                               .outputs = {{.y = y, .w = &matrix}},
                               .n_outputs = 1};
    struct pool *pool = pool_of(1);
    args.scratch = calloc(matmul_scratch_len(1, n_rows, n_in), sizeof *args.scratch);
    assert_non_null(args.scratch);
    tested->matmul(pool, &args);
    free(args.scratch);
    pool_free(pool);
}

static float widened(uint16_t w)
{
    return det_float((uint32_t)w << 16);
}

/* Random signs and fractions with exponents from `low` to `low + n - 1`. */
static uint32_t random_bits(uint64_t *seed, unsigned low, unsigned n)
{
    uint64_t r = tiny_random(seed);
    return (uint32_t)(r & 0x807fffffu) | (low + (unsigned)((r >> 32) % n)) << 23;
}

/* Sums of four products, of numbers whose exponents lie in one range each time: near 1, where the
 * order of the two products of a pair shows; at both ends, where results are flushed or
 * overflow; anywhere, with infinities and NaN. */
static void every_kind_of_number_is_multiplied_as_written(void **state)
{
    (void)state;
    static const struct {
        unsigned x_low, x_n, w_low, w_n;
    } ranges[] = {{120, 12, 120, 12}, {0, 80, 40, 60},    {0, 4, 120, 12}, {50, 20, 55, 12},
                  {60, 6, 60, 6},     {180, 76, 180, 76}, {0, 256, 0, 256}};
    enum { ROWS = 8, COLUMNS = 2000, N_IN = 4 };
    static float x[ROWS * N_IN], y[ROWS * COLUMNS], wide[COLUMNS * N_IN];
    static uint16_t w[COLUMNS * N_IN];
    uint64_t seed = 31;
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
        for (size_t i = 0; i < ROWS * N_IN; i++)
            x[i] = det_float(random_bits(&seed, ranges[r].x_low, ranges[r].x_n));
        for (size_t i = 0; i < COLUMNS * N_IN; i++) {
            w[i] = (uint16_t)(random_bits(&seed, ranges[r].w_low, ranges[r].w_n) >> 16);
            wide[i] = widened(w[i]);
        }
        multiply(y, x, w, ROWS, COLUMNS, N_IN);
        for (size_t i = 0; i < ROWS * COLUMNS; i++)
            assert_same_or_nan(
                y[i], bf16_pair_sum(x + i / COLUMNS * N_IN, wide + i % COLUMNS * N_IN, N_IN));
    }
}

/* 32 apart, two numbers are of one lane: the second product meets the rounded sum of the first. */
static void products_of_one_lane_meet_its_rounded_sum(void **state)
{
    (void)state;
    enum { COLUMNS = 5000, N_IN = 66 };
    static float x[N_IN], y[COLUMNS], wide[COLUMNS * N_IN];
    static uint16_t w[COLUMNS * N_IN];
    uint64_t seed = 32;
    x[0] = x[1] = x[32] = x[33] = x[64] = x[65] = 1.0f; /* all of lane 0 */
    for (size_t i = 0; i < COLUMNS * N_IN; i++) {
        w[i] = (uint16_t)(random_bits(&seed, 100, 50) >> 16);
        wide[i] = widened(w[i]);
    }
    multiply(y, x, w, 1, COLUMNS, N_IN);
    for (size_t i = 0; i < COLUMNS; i++)
        assert_same_or_nan(y[i], bf16_pair_sum(x, wide + i * N_IN, N_IN));
}

static void the_odd_number_of_a_pair_comes_first(void **state)
{
    (void)state;
    const float x[] = {1, 1, [32] = 1, [33] = 1};
    uint16_t w[34] = {0};
    float y;
    w[1] = 0x4b80; /* 2^24, then 1 is lost, then - 2^24, then 1 more is not */
    w[0] = 0x3f80;
    w[33] = 0xcb80;
    w[32] = 0x3f80;
    multiply(&y, x, w, 1, 1, 34);
    assert_true(y == 1.0f);
    w[1] = w[33] = 0x3f80; /* the other way round both ones come before a large one */
    w[0] = 0x4b80;
    w[32] = 0xcb80;
    multiply(&y, x, w, 1, 1, 34);
    assert_true(y == 0.0f);
}

/* 2^-126 - 2^-150 lies half way between two subnormals, but is a whole number of 24 bits: it is
 * smaller than the smallest normal number, so it is flushed. Half of that less rounds up to it. */
static void a_result_is_flushed_by_its_rounding_to_24_bits(void **state)
{
    (void)state;
    const float x[] = {0x1p-75f, 0x1p-63f}, less[] = {0x1p-76f, 0x1p-63f};
    const uint16_t w[] = {0x9a00, 0x2000};      /* -2^-75, 2^-63 */
    const uint16_t w_less[] = {0x9980, 0x2000}; /* -2^-76 */
    float y;
    multiply(&y, x, w, 1, 1, 2);
    assert_int_equal(det_bits(y), 0);
    multiply(&y, less, w_less, 1, 1, 2);
    assert_int_equal(det_bits(y), det_bits(0x1p-126f));
}

static void rows_are_rounded_to_the_nearest_even(void **state)
{
    (void)state;
    static const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0x7f7fffff,
                                    0x007fffff, 0x807fffff, 0x00000001, 0x7f800000, 0xff800000,
                                    0x7fc00001, 0x7f800001, 0x00800000, 0x80000000, 0x7f7f7fff};
    const uint16_t one = 0x3f80;
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        float x = det_float(bits[i]), y;
        multiply(&y, &x, &one, 1, 1, 1);
        assert_same_or_nan(y, bf16_nearest(x) + 0.0f);
    }
    uint64_t seed = 33;
    for (int i = 0; i < 100000; i += 16) {
        float x[16], y[16];
        for (size_t j = 0; j < 16; j++)
            x[j] = det_float((uint32_t)tiny_random(&seed));
        multiply(y, x, &one, 16, 1, 1);
        for (size_t j = 0; j < 16; j++)
            assert_same_or_nan(y[j], bf16_nearest(x[j]) + 0.0f);
    }
}

/* Neither the rounding of rows nor that of products looks at the thread's mode. */
static void the_rounding_mode_does_not_matter_to_a_pair(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    uint64_t seed = 34;
    for (int i = 0; i < 2000; i++) {
        float x[2], wide[2], y;
        uint16_t w[2];
        for (size_t j = 0; j < 2; j++) {
            x[j] = det_float(random_bits(&seed, 120, 8));
            w[j] = (uint16_t)(random_bits(&seed, 120, 8) >> 16);
            wide[j] = widened(w[j]);
        }
        float want = bf16_pair_sum(x, wide, 2);
        fesetround(modes[i % 4]);
        multiply(&y, x, w, 1, 1, 2);
        fesetround(FE_TONEAREST);
        assert_int_equal(det_bits(y), det_bits(want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_number_is_multiplied_as_written),
        cmocka_unit_test(products_of_one_lane_meet_its_rounded_sum),
        cmocka_unit_test(the_odd_number_of_a_pair_comes_first),
        cmocka_unit_test(a_result_is_flushed_by_its_rounding_to_24_bits),
        cmocka_unit_test(rows_are_rounded_to_the_nearest_even),
        cmocka_unit_test(the_rounding_mode_does_not_matter_to_a_pair),
    };
    if (is_err(backend_get(&tested, "avx512bf16", true)))
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
