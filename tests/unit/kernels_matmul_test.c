/* Matmul of every kernel set that this machine has: near the true value, in the order that
 * docs/NUMERICS.md writes, and the same bits whatever the number of threads, the other rows and the
 * other matrices; ref-1's whatever the instruction set. */
#include "tests/unit/bf16_by_the_book.h"
#include "tests/unit/kernels_fixture.h"

struct matmul_case {
    size_t n_rows, n_out, n_in;
    enum weight_type type;
    float *x, *values, *y;
    uint8_t *data; /* the weights begin one byte after it: they need not be aligned */
    struct weight w;
};

static struct matmul_case matmul_case(size_t n_rows, size_t n_out, size_t n_in,
                                      enum weight_type type)
{
    struct matmul_case c = {.n_rows = n_rows, .n_out = n_out, .n_in = n_in, .type = type};
    size_t n = n_out * n_in, len = n * weight_type_size(type);
    c.x = random_floats(n_rows * n_in, 1);
    c.values = calloc(n, sizeof *c.values);
    c.y = calloc(n_rows * n_out, sizeof *c.y);
    c.data = malloc(len + 1);
    assert_true(c.values != NULL && c.y != NULL && c.data != NULL);
    uint8_t *data = random_weights(type, n, 2, c.values);
    memcpy(c.data + 1, data, len);
    free(data);
    c.w = (struct weight){c.data + 1, type, n_out, n_in};
    poison(c.y, n_rows * n_out);
    return c;
}

static void matmul_case_free(struct matmul_case *c)
{
    free(c->x);
    free(c->values);
    free(c->y);
    free(c->data);
}

/* With scratch of the exact size. */
static void run(struct pool *pool, struct matmul_args *args)
{
    size_t len = matmul_scratch_len(pool_n_threads(pool), args->n_rows, args->n_cols);
    args->scratch = malloc(len * sizeof *args->scratch);
    assert_non_null(args->scratch);
    tested->matmul(pool, args);
    free(args->scratch);
}

/* One matrix, its first n_rows rows of x. */
static void multiply(struct pool *pool, const struct matmul_case *c, float *y, const float *x,
                     size_t n_rows)
{
    struct matmul_args args = {.x = x,
                               .n_rows = n_rows,
                               .n_cols = c->n_in,
                               .outputs = {{.y = y, .w = &c->w}},
                               .n_outputs = 1};
    run(pool, &args);
}

static bool rounds_rows(enum weight_type type)
{
    return type == WEIGHT_BF16 && strcmp(tested->name, "avx512bf16") == 0;
}

static const size_t shapes[][3] = {{1, 1, 1},    {1, 7, 16},   {2, 5, 15},  {3, 4, 33},
                                   {5, 130, 64}, {7, 67, 100}, {70, 9, 40}, {4, 200, 512}};

/* A float sum of n products is off by at most n eps sum |x w|; 16 lanes do much better. A row that
 * is rounded to bf16 is off by at most 2^-9 of each of its numbers, and nothing else changes. */
static void matmul_is_near_double(void **state)
{
    (void)state;
    struct pool *pool = pool_of(2);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c =
                matmul_case(shapes[s][0], shapes[s][1], shapes[s][2], (enum weight_type)type);
            multiply(pool, &c, c.y, c.x, c.n_rows);
            for (size_t o = 0; o < c.n_rows * c.n_out; o++) {
                const float *x = c.x + o / c.n_out * c.n_in, *w = c.values + o % c.n_out * c.n_in;
                double sum = 0, rounded = 0, size = 0;
                for (size_t k = 0; k < c.n_in; k++) {
                    float near = rounds_rows(c.type) ? bf16_nearest(x[k]) : x[k];
                    sum += (double)x[k] * (double)w[k];
                    rounded += (double)near * (double)w[k];
                    size += fabs((double)x[k] * (double)w[k]);
                }
                double bound = ((double)c.n_in / 16 + 6) * 0x1p-24 * size;
                assert_true(fabs((double)c.y[o] - rounded) <= bound);
                assert_true(fabs((double)c.y[o] - sum) <= bound + 0x1p-9 * size);
            }
            matmul_case_free(&c);
        }
    pool_free(pool);
}

static float by_the_book(const struct matmul_case *c, size_t m, size_t n)
{
    const float *x = c->x + m * c->n_in, *w = c->values + n * c->n_in;
    return rounds_rows(c->type) ? bf16_pair_sum(x, w, c->n_in) : lane_sum(tested, x, w, c->n_in);
}

/* Every number of rows of a tile and more; K shorter than a vector, not a multiple of one, and cut
 * into parts; columns that fill no tile, and more of them than a block. */
static void matmul_has_the_written_order(void **state)
{
    (void)state;
    static const size_t more[][3] = {
        {1, 67, 100},  {2, 67, 100},  {3, 67, 100},  {4, 67, 100},  {5, 67, 100},  {6, 67, 100},
        {7, 50, 63},   {8, 67, 100},  {9, 67, 100},  {13, 37, 31},  {101, 70, 8},  {12, 9, 1601},
        {9, 5, 768},   {1, 3, 9000},  {2, 100, 64},  {8, 26, 2049}, {5, 25, 4100}, {20, 52, 2080},
        {200, 50, 33}, {8, 50, 2048}, {17, 100, 32}, {3, 49, 1},    {5, 1700, 40}};
    struct pool *pool = pool_of(2);
    for (size_t s = 0; s < sizeof more / sizeof more[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c =
                matmul_case(more[s][0], more[s][1], more[s][2], (enum weight_type)type);
            multiply(pool, &c, c.y, c.x, c.n_rows);
            for (size_t i = 0; i < c.n_rows * c.n_out; i++)
                assert_int_equal(det_bits(c.y[i]),
                                 det_bits(by_the_book(&c, i / c.n_out, i % c.n_out)));
            matmul_case_free(&c);
        }
    pool_free(pool);
}

static void every_half_float_is_a_weight(void **state)
{
    (void)state;
    enum { N = 65536 };
    float *y = malloc(2 * N * sizeof *y), x[2] = {1, 1};
    struct matmul_case c = {.n_in = 1, .data = malloc(2 * N)};
    assert_true(y != NULL && c.data != NULL);
    struct pool *pool = pool_of(1);
    for (unsigned i = 0; i < N; i++)
        memcpy(c.data + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    c.w = (struct weight){c.data, WEIGHT_F16, N, 1};
    for (size_t n_rows = 1; n_rows <= 2; n_rows++) {
        multiply(pool, &c, y, x, n_rows);
        for (unsigned i = 0; i < N; i++) {
            double want = ldexp_half((uint16_t)i);
            assert_true(isnan(want) ? isnan(y[i]) : (double)y[i] == want);
        }
    }
    pool_free(pool);
    free(c.data);
    free(y);
}

static void matmul_has_the_written_order_in_every_instruction_set(void **state)
{
    (void)state;
    const struct lanes *lanes[LANES_VARIANTS_MAX];
    const struct backend *ref = NULL;
    assert_false(is_err(backend_get(&ref, "ref", true)));
    size_t n_lanes = lanes_all(lanes);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c =
                matmul_case(shapes[s][0], shapes[s][1], shapes[s][2], (enum weight_type)type);
            for (size_t v = 0; v < n_lanes; v++) {
                poison(c.y, c.n_rows * c.n_out);
                lanes[v]->matmul(c.y, c.x, &c.w, c.n_rows, 0, c.n_out);
                for (size_t i = 0; i < c.n_rows * c.n_out; i++) {
                    float want = lane_sum(ref, c.x + i / c.n_out * c.n_in,
                                          c.values + i % c.n_out * c.n_in, c.n_in);
                    assert_int_equal(det_bits(c.y[i]), det_bits(want));
                }
            }
            matmul_case_free(&c);
        }
}

/* Twice each: the same bits again. */
static void a_matmul_row_does_not_depend_on_rows_or_threads(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 31, 70, 300, 300};
    static const size_t sizes[][2] = {{100, 300}, {2100, 160}};
    struct pool *one = pool_of(1);
    for (size_t s = 0; s < 2; s++) {
        struct matmul_case c = matmul_case(300, sizes[s][1], sizes[s][0], WEIGHT_BF16);
        float *alone = calloc(c.n_rows * c.n_out, sizeof *alone);
        for (size_t m = 0; m < c.n_rows; m++)
            multiply(one, &c, alone + m * c.n_out, c.x + m * c.n_in, 1);
        for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
            struct pool *pool = pool_of(n_threads);
            for (size_t i = n_threads > 2 ? 12 : 0; i < sizeof counts / sizeof counts[0]; i++) {
                size_t n = counts[i], from = c.n_rows - n;
                poison(c.y, c.n_rows * c.n_out);
                multiply(pool, &c, c.y, c.x + from * c.n_in, n);
                assert_same_bits(c.y, alone + from * c.n_out, n * c.n_out);
            }
            pool_free(pool);
        }
        free(alone);
        matmul_case_free(&c);
    }
    pool_free(one);
}

/* Three matrices of three types at once, as one after the other. */
static void matrices_of_one_operation_do_not_mix(void **state)
{
    (void)state;
    enum { ROWS = 11, COLS = 70 };
    static const size_t n_out[MATMUL_OUTPUTS_MAX] = {131, 5, 48};
    struct matmul_case c[MATMUL_OUTPUTS_MAX];
    struct matmul_args args = {.n_rows = ROWS, .n_cols = COLS, .n_outputs = MATMUL_OUTPUTS_MAX};
    for (int i = 0; i < MATMUL_OUTPUTS_MAX; i++) {
        c[i] = matmul_case(ROWS, n_out[i], COLS, (enum weight_type)i);
        args.outputs[i] = (struct matmul_output){.y = c[i].y, .w = &c[i].w};
    }
    args.x = c[0].x;
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        run(pool, &args);
        for (int i = 0; i < MATMUL_OUTPUTS_MAX; i++) {
            float *alone = calloc(ROWS * n_out[i], sizeof *alone);
            assert_non_null(alone);
            multiply(pool, &c[i], alone, c[0].x, ROWS);
            assert_same_bits(c[i].y, alone, ROWS * n_out[i]);
            poison(c[i].y, ROWS * n_out[i]);
            free(alone);
        }
        pool_free(pool);
    }
    for (int i = 0; i < MATMUL_OUTPUTS_MAX; i++)
        matmul_case_free(&c[i]);
}

/* Few rows, which each thread rounds for itself, and many, which go in runs of columns. */
static void a_bias_and_a_sum_come_after_the_product(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 8, 9, 70};
    enum { COLS = 70, OUT = 331 };
    float *bias = random_floats(OUT, 22), *x = random_floats(70 * OUT, 23);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
            size_t n = counts[i] * OUT;
            struct pool *pool = pool_of(n_threads);
            struct matmul_case c = matmul_case(counts[i], OUT, COLS, WEIGHT_BF16);
            float *product = calloc(n, sizeof *product), *sum = calloc(n, sizeof *sum);
            assert_true(product != NULL && sum != NULL);
            memcpy(sum, x, n * sizeof *sum);
            multiply(pool, &c, product, c.x, c.n_rows);
            struct matmul_args args = {
                .x = c.x, .n_rows = c.n_rows, .n_cols = COLS, .n_outputs = 1};
            args.outputs[0] = (struct matmul_output){c.y, &c.w, bias, sum};
            run(pool, &args);
            for (size_t o = 0; o < n; o++) {
                volatile float want = product[o] + bias[o % OUT];
                assert_int_equal(det_bits(c.y[o]), det_bits(want));
                assert_int_equal(det_bits(sum[o]), det_bits(x[o] + want));
            }
            pool_free(pool);
            matmul_case_free(&c);
            free(product);
            free(sum);
        }
    free(bias);
    free(x);
}

/* Columns of a matrix of one row of K are its weights: what the gate does with them, alone. */
static void gate(struct pool *pool, float *g, float *u, float *g_weights, float *u_weights,
                 size_t n)
{
    const float one = 1.0f;
    const struct weight w[] = {{g_weights, WEIGHT_F32, n, 1}, {u_weights, WEIGHT_F32, n, 1}};
    struct matmul_args args = {.x = &one, .n_rows = 1, .n_cols = 1, .is_gated = true};
    args.n_outputs = 2;
    args.outputs[0] = (struct matmul_output){.y = g, .w = &w[0]};
    args.outputs[1] = (struct matmul_output){.y = u, .w = &w[1]};
    run(pool, &args);
}

static void the_gate_has_the_written_order(void **state)
{
    (void)state;
    enum { N = 1003 };
    float *g = random_floats(N, 5), *u = random_floats(N, 6), out[N], up[N];
    for (size_t i = 0; i < N; i++)
        g[i] *= 60.0f; /* beyond both ends of exp */
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        g[0] = INFINITY;
        g[1] = -INFINITY;
        gate(pool, out, up, g, u, N);
        for (size_t i = 0; i < N; i++) {
            volatile float quotient = g[i] / (1.0f + det_exp(-g[i]));
            assert_int_equal(det_bits(out[i]), det_bits(quotient * u[i]));
            double d = (double)g[i], want = d / (1 + exp(-d)) * (double)u[i];
            assert_true(i < 2 || fabs((double)out[i] - want) <= 1e-6 * fabs(want) + 1e-30);
        }
        g[0] = NAN;
        gate(pool, out, up, g, u, N);
        assert_true(isnan(out[0]) && !isnan(out[2]));
        pool_free(pool);
    }
    free(g);
    free(u);
}

/* Gate and up with biases, as each of them alone and then gated; columns of all kinds of blocks. */
static void gate_and_up_are_multiplied_as_alone(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 3, 8, 9, 70};
    enum { COLS = 40, OUT = 421 };
    float *bias[2] = {random_floats(OUT, 24), random_floats(OUT, 25)};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
            size_t n = counts[i] * OUT;
            struct pool *pool = pool_of(n_threads);
            struct matmul_case c[2];
            float *alone[2];
            struct matmul_args args = {.n_rows = counts[i], .n_cols = COLS, .n_outputs = 2};
            for (int k = 0; k < 2; k++) {
                c[k] = matmul_case(counts[i], OUT, COLS, k == 0 ? WEIGHT_BF16 : WEIGHT_F16);
                alone[k] = calloc(n, sizeof *alone[k]);
                assert_non_null(alone[k]);
                args.outputs[k] = (struct matmul_output){alone[k], &c[k].w, bias[k], NULL};
            }
            args.x = c[0].x;
            run(pool, &args);
            args.outputs[0].y = c[0].y;
            args.outputs[1].y = c[1].y;
            args.is_gated = true;
            run(pool, &args);
            for (size_t o = 0; o < n; o++) {
                volatile float quotient = alone[0][o] / (1.0f + det_exp(-alone[0][o]));
                assert_int_equal(det_bits(c[0].y[o]), det_bits(quotient * alone[1][o]));
            }
            pool_free(pool);
            for (int k = 0; k < 2; k++) {
                matmul_case_free(&c[k]);
                free(alone[k]);
            }
        }
    free(bias[0]);
    free(bias[1]);
}

/* A NaN, an infinity or a huge number in one row or one column stays there. */
static void what_is_not_finite_stays_in_its_row_and_column(void **state)
{
    (void)state;
    static const uint16_t odd[] = {0x7fc0, 0x7f80, 0xff80};
    for (size_t n_rows = 1; n_rows <= 20; n_rows += n_rows < 9 ? 1 : 11) {
        struct matmul_case c = matmul_case(n_rows, 30, 65, WEIGHT_BF16);
        struct pool *pool = pool_of(1);
        float *before = calloc(n_rows * 30, sizeof *before);
        assert_non_null(before);
        multiply(pool, &c, before, c.x, n_rows);
        for (size_t v = 0; v < 3; v++) {
            memcpy(c.data + 1 + 2 * (17 * 65 + 64), &odd[v], 2); /* the last weight of column 17 */
            multiply(pool, &c, c.y, c.x, n_rows);
            for (size_t i = 0; i < n_rows * 30; i++)
                assert_true(i % 30 == 17 ? !isfinite(c.y[i]) : c.y[i] == before[i]);
        }
        pool_free(pool);
        free(before);
        matmul_case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(matmul_has_the_written_order_in_every_instruction_set),
    };
    const struct CMUnitTest each[] = {
        cmocka_unit_test(matmul_is_near_double),
        cmocka_unit_test(matmul_has_the_written_order),
        cmocka_unit_test(every_half_float_is_a_weight),
        cmocka_unit_test(a_matmul_row_does_not_depend_on_rows_or_threads),
        cmocka_unit_test(matrices_of_one_operation_do_not_mix),
        cmocka_unit_test(a_bias_and_a_sum_come_after_the_product),
        cmocka_unit_test(the_gate_has_the_written_order),
        cmocka_unit_test(gate_and_up_are_multiplied_as_alone),
        cmocka_unit_test(what_is_not_finite_stays_in_its_row_and_column),
    };
    return cmocka_run_group_tests(shared, NULL, NULL) + RUN_ON_EVERY_BACKEND(each);
}
