/* The operations of every kernel set that this machine has: near the true value, in the order that
 * docs/NUMERICS.md writes, and the same bits whatever the number of threads, the other rows and the
 * pages; ref-1's whatever the instruction set. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/backend.h"
#include "kernels/det.h"
#include "kernels/ref/lanes.h"
#include "tests/unit/tiny_model.h"

static const struct backend *tested; /* all tests run once for each */

static size_t n_lanes_of(const struct backend *b)
{
    return strcmp(b->name, "avx2") == 0 ? 8 : 16;
}

static struct pool *pool_of(unsigned n_threads)
{
    struct pool *p = NULL;
    assert_false(is_err(pool_new(&p, n_threads)));
    return p;
}

static float *random_floats(size_t n, uint64_t seed)
{
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = tiny_normal(&seed);
    return x;
}

/* n weights of a type, from random floats, with their exact values. */
static void *random_weights(enum weight_type type, size_t n, uint64_t seed, float *values)
{
    uint8_t *data = calloc(n + 1, 4);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        float x = tiny_normal(&seed);
        uint32_t u = det_bits(x);
        uint16_t half =
            (uint16_t)(type == WEIGHT_BF16 ? u >> 16
                                           : (u >> 16 & 0x8000u) | (0x3c00u + (u >> 13 & 0x3ffu)));
        if (type == WEIGHT_F32)
            memcpy(data + 4 * i, &x, 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
    weight_widen(values, data, type, n);
    return data;
}

static void assert_same_bits(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

static void poison(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
}

static double ldexp_half(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    double sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    return exponent == 0 ? sign * ldexp(fraction, -24)
                         : sign * ldexp(1024 + fraction, exponent - 25);
}

static void widens_every_half_float_exactly(void **state)
{
    (void)state;
    uint16_t *all = malloc(65536 * sizeof *all);
    float *wide = malloc(65536 * sizeof *wide);
    assert_true(all != NULL && wide != NULL);
    for (unsigned i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    const struct lanes *lanes[2];
    for (size_t v = lanes_all(lanes); v-- > 0;) {
        lanes[v]->widen(wide, all, WEIGHT_F16, 65536);
        for (unsigned i = 0; i < 65536; i++) {
            double want = ldexp_half(all[i]);
            if (isnan(want))
                assert_true(isnan(wide[i]));
            else
                assert_int_equal(det_bits(wide[i]), det_bits((float)want));
        }
        lanes[v]->widen(wide, all, WEIGHT_BF16, 65536);
        for (unsigned i = 0; i < 65536; i++)
            assert_int_equal(det_bits(wide[i]), i << 16);
    }
    free(all);
    free(wide);
}

struct matmul_case {
    size_t n_rows, n_out, n_in;
    enum weight_type type;
    float *x, *values, *y;
    struct weight w;
};

static struct matmul_case matmul_case(size_t n_rows, size_t n_out, size_t n_in,
                                      enum weight_type type)
{
    struct matmul_case c = {.n_rows = n_rows, .n_out = n_out, .n_in = n_in, .type = type};
    c.x = random_floats(n_rows * n_in, 1);
    c.values = calloc(n_out * n_in, sizeof *c.values);
    c.y = calloc(n_rows * n_out, sizeof *c.y);
    assert_true(c.values != NULL && c.y != NULL);
    c.w = (struct weight){random_weights(type, n_out * n_in, 2, c.values), type, n_out, n_in};
    poison(c.y, n_rows * n_out);
    return c;
}

static void matmul_case_free(struct matmul_case *c)
{
    free(c->x);
    free(c->values);
    free(c->y);
    free((void *)(uintptr_t)c->w.data);
}

static const size_t matmul_shapes[][3] = {{1, 1, 1},    {1, 7, 16},   {2, 5, 15},  {3, 4, 33},
                                          {5, 130, 64}, {7, 67, 100}, {70, 9, 40}, {4, 200, 512}};

/* A float sum of n products is off by at most n eps sum |x w|; 16 lanes do much better. */
static void matmul_is_near_double(void **state)
{
    (void)state;
    struct pool *pool = pool_of(2);
    for (size_t s = 0; s < sizeof matmul_shapes / sizeof matmul_shapes[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c = matmul_case(matmul_shapes[s][0], matmul_shapes[s][1],
                                               matmul_shapes[s][2], (enum weight_type)type);
            tested->matmul(pool, c.y, c.x, &c.w, c.n_rows);
            for (size_t m = 0; m < c.n_rows; m++)
                for (size_t n = 0; n < c.n_out; n++) {
                    double sum = 0, size = 0;
                    for (size_t k = 0; k < c.n_in; k++) {
                        double p = (double)c.x[m * c.n_in + k] * (double)c.values[n * c.n_in + k];
                        sum += p;
                        size += fabs(p);
                    }
                    double error = fabs((double)c.y[m * c.n_out + n] - sum);
                    assert_true(error <= ((double)c.n_in / 16 + 6) * 0x1p-24 * size);
                }
            matmul_case_free(&c);
        }
    pool_free(pool);
}

/* The lane sum of docs/NUMERICS.md, written out one element at a time; NULL w: of x alone. */
static float lane_sum(const struct backend *b, const float *x, const float *w, size_t n)
{
    float lanes[16] = {0};
    size_t n_lanes = n_lanes_of(b);
    bool fused = strcmp(b->name, "ref") != 0;
    for (size_t k = 0; k < (n + n_lanes - 1) / n_lanes * n_lanes; k++) {
        float a = k < n ? x[k] : 0.0f, c = w == NULL ? 1.0f : k < n ? w[k] : 0.0f;
        volatile float product = a * c;
        float *lane = &lanes[k % n_lanes];
        *lane = fused ? fmaf(a, c, *lane) : *lane + product;
    }
    for (size_t step = n_lanes / 2; step > 0; step /= 2)
        for (size_t l = 0; l < step; l++)
            lanes[l] = lanes[l] + lanes[l + step];
    return lanes[0];
}

static void matmul_has_the_written_order(void **state)
{
    (void)state;
    static const size_t more[][3] = {{1, 67, 100}, {2, 67, 100}, {3, 67, 100},  {4, 67, 100},
                                     {5, 67, 100}, {6, 67, 100}, {8, 67, 100},  {9, 67, 100},
                                     {13, 37, 31}, {101, 70, 8}, {12, 9, 1601}, {9, 5, 768}};
    struct pool *pool = pool_of(2);
    for (size_t s = 0; s < sizeof more / sizeof more[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c =
                matmul_case(more[s][0], more[s][1], more[s][2], (enum weight_type)type);
            tested->matmul(pool, c.y, c.x, &c.w, c.n_rows);
            for (size_t i = 0; i < c.n_rows * c.n_out; i++) {
                float want = lane_sum(tested, c.x + i / c.n_out * c.n_in,
                                      c.values + i % c.n_out * c.n_in, c.n_in);
                assert_int_equal(det_bits(c.y[i]), det_bits(want));
            }
            matmul_case_free(&c);
        }
    pool_free(pool);
}

static void every_half_float_is_a_weight(void **state)
{
    (void)state;
    enum { N = 65536 };
    uint16_t *all = malloc(N * sizeof *all);
    float *y = malloc(2 * N * sizeof *y), x[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    assert_true(all != NULL && y != NULL);
    struct pool *pool = pool_of(1);
    for (unsigned i = 0; i < N; i++)
        all[i] = (uint16_t)i;
    struct weight w = {all, WEIGHT_F16, N, 1};
    for (size_t n_rows = 1; n_rows <= 2; n_rows++) {
        tested->matmul(pool, y, x, &w, n_rows);
        for (unsigned i = 0; i < N; i++) {
            double want = ldexp_half((uint16_t)i);
            assert_true(isnan(want) ? isnan(y[i]) : (double)y[i] == want);
        }
    }
    pool_free(pool);
    free(all);
    free(y);
}

static void matmul_has_the_written_order_in_every_instruction_set(void **state)
{
    (void)state;
    const struct lanes *lanes[2];
    const struct backend *ref = NULL;
    assert_false(is_err(backend_get(&ref, "ref")));
    size_t n_lanes = lanes_all(lanes);
    for (size_t s = 0; s < sizeof matmul_shapes / sizeof matmul_shapes[0]; s++)
        for (int type = WEIGHT_F32; type <= WEIGHT_BF16; type++) {
            struct matmul_case c = matmul_case(matmul_shapes[s][0], matmul_shapes[s][1],
                                               matmul_shapes[s][2], (enum weight_type)type);
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

static void a_matmul_row_does_not_depend_on_rows_or_threads(void **state)
{
    (void)state;
    struct matmul_case c = matmul_case(70, 300, 100, WEIGHT_BF16);
    float *alone = calloc(c.n_rows * c.n_out, sizeof *alone);
    struct pool *one = pool_of(1);
    for (size_t m = 0; m < c.n_rows; m++)
        tested->matmul(one, alone + m * c.n_out, c.x + m * c.n_in, &c.w, 1);
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        poison(c.y, c.n_rows * c.n_out);
        tested->matmul(pool, c.y, c.x, &c.w, c.n_rows);
        assert_same_bits(c.y, alone, c.n_rows * c.n_out);
        pool_free(pool);
    }
    pool_free(one);
    free(alone);
    matmul_case_free(&c);
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
    tested->rope(pool, x, table, rows, 2, 1, 4);
    const float want[] = {1, 2, 3, 4, 0.6f - 2.4f, -4, 1.8f + 0.8f, 2};
    for (size_t i = 0; i < 8; i++)
        assert_true(fabsf(x[i] - want[i]) < 1e-6f);
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
    tested->kv_write(pool, &cache, 1, k, v, rows, KEYS);
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

static void det_exp_is_within_its_bound(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -870000; i <= 887000; i += 7) {
        float x = (float)i * 1e-4f;
        double want = exp((double)x);
        worst = fmax(worst, fabs((double)det_exp(x) - want) / want);
    }
    assert_true(worst < 1.0e-7);
    assert_true(det_exp(0.0f) == 1.0f);
    assert_true(det_exp(-200.0f) == 0.0f && det_exp(-INFINITY) == 0.0f);
    assert_true(isinf(det_exp(200.0f)) && isnan(det_exp(NAN)));
    assert_true(fabs((double)det_exp(-100.0f) - exp(-100.0)) <= 0x1p-149); /* subnormal */
}

static void the_double_functions_are_within_their_bounds(void **state)
{
    (void)state;
    uint64_t seed = 15;
    for (int i = 0; i < 20000; i++) {
        double u = (double)(tiny_random(&seed) >> 11) * 0x1p-53;
        double x = exp(60 * u - 30), e = 80 * u - 40, s, c;
        assert_true(fabs(det_log64(x) - log(x)) <= 4e-16 * fmax(1, fabs(log(x))));
        assert_true(fabs(det_exp64(e) - exp(e)) <= 6e-16 * exp(e));
        det_sincos64(u * 131072, &s, &c);
        assert_true(fabs(s - sin(u * 131072)) < 3e-16 + 1e-15);
        assert_true(fabs(c - cos(u * 131072)) < 3e-16 + 1e-15);
    }
}

static void count_items(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    unsigned char *counts = context;
    for (size_t i = begin; i < end; i++)
        counts[i]++;
}

static void the_pool_does_every_item_once(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        for (size_t n = 0; n < 300; n++) {
            unsigned char counts[300] = {0};
            pool_run(pool, n, 1 + n % 7, count_items, counts);
            for (size_t i = 0; i < 300; i++)
                assert_int_equal(counts[i], i < n);
        }
        pool_free(pool);
    }
}

static void refuses_unknown_backends_and_empty_pools(void **state)
{
    (void)state;
    const struct backend *b = NULL;
    struct pool *p = NULL;
    assert_int_equal(backend_get(&b, "abacus").code, ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(), "abacus"));
    assert_int_equal(pool_new(&p, 0).code, ERR_USAGE);
}

static void the_best_backend_comes_first(void **state)
{
    (void)state;
    const struct backend *all[BACKENDS_MAX], *best = NULL, *named = NULL;
    size_t n = backend_all(all);
    assert_true(n >= 1 && n <= BACKENDS_MAX);
    assert_string_equal(all[n - 1]->name, "ref");
    assert_false(is_err(backend_get(&best, NULL)));
    assert_ptr_equal(best, all[0]);
    for (size_t i = 0; i < n; i++) {
        assert_false(is_err(backend_get(&named, all[i]->name)));
        assert_ptr_equal(named, all[i]);
        for (size_t j = 0; j < i; j++) /* no two of them are promised to agree */
            assert_string_not_equal(all[i]->numerics, all[j]->numerics);
    }
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(widens_every_half_float_exactly),
        cmocka_unit_test(matmul_has_the_written_order_in_every_instruction_set),
        cmocka_unit_test(the_other_lanes_agree_in_every_instruction_set),
        cmocka_unit_test(det_exp_is_within_its_bound),
        cmocka_unit_test(the_double_functions_are_within_their_bounds),
        cmocka_unit_test(the_pool_does_every_item_once),
        cmocka_unit_test(refuses_unknown_backends_and_empty_pools),
        cmocka_unit_test(the_best_backend_comes_first),
    };
    const struct CMUnitTest each[] = {
        cmocka_unit_test(matmul_is_near_double),
        cmocka_unit_test(matmul_has_the_written_order),
        cmocka_unit_test(every_half_float_is_a_weight),
        cmocka_unit_test(a_matmul_row_does_not_depend_on_rows_or_threads),
        cmocka_unit_test(rmsnorm_is_near_double),
        cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(silu_mul_and_add_are_near_double),
        cmocka_unit_test(add_bias_adds_to_every_row),
        cmocka_unit_test(rmsnorm_of_heads_is_that_of_each_head),
        cmocka_unit_test(silu_mul_has_the_written_order),
        cmocka_unit_test(attention_is_near_double_and_causal),
        cmocka_unit_test(attention_sees_its_window_alone),
        cmocka_unit_test(a_window_as_long_as_the_sequence_changes_no_bit),
        cmocka_unit_test(attention_has_the_written_order),
        cmocka_unit_test(attention_does_not_depend_on_pages_rows_or_threads),
    };
    const struct backend *all[BACKENDS_MAX];
    int failed = cmocka_run_group_tests(shared, NULL, NULL);
    for (size_t i = backend_all(all); i-- > 0;) {
        tested = all[i];
        print_message("backend %s\n", tested->name);
        failed += cmocka_run_group_tests_name(tested->name, each, NULL, NULL);
    }
    return failed;
}
