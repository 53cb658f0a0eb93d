/* The operations on rows of the CUDA backend, on the emulated GPU: bit for bit the definition of
 * docs/NUMERICS.md written out one element at a time, near double precision, the same in any order
 * of threads and in any company, and nothing written beyond their outputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/args.h"
#include "tests/unit/gpu_room.h"

enum { PAGE = 64, SHARED_LEN = 64 };

static float draw_float(void)
{
    return (float)draw(1 << 20) / (1 << 19) - 1.0f;
}

/* The sum of a warp: lanes by halves. */
static float sum_of_warp(const float own[32])
{
    float lanes[32], next[32];
    memcpy(lanes, own, sizeof lanes);
    for (size_t apart = 16; apart > 0; apart /= 2) {
        for (size_t l = 0; l < 32; l++)
            next[l] = lanes[l] + lanes[l ^ apart];
        memcpy(lanes, next, sizeof lanes);
    }
    return lanes[0];
}

/* Of a block: thread t holds own[t]; warps ascending. */
static float sum_of_block(const float own[CUDA_BLOCK])
{
    float sum = 0.0f;
    for (size_t warp = 0; warp < CUDA_BLOCK / 32; warp++)
        sum = sum + sum_of_warp(own + 32 * warp);
    return sum;
}

static void norm_row(uint16_t *out, const float *x, const float *weight, size_t n, float eps)
{
    float own[CUDA_BLOCK], of[CUDA_BLOCK][4] = {{0}};
    for (size_t i = 0; i < n; i++) {
        float *sum = &of[i / 4 % CUDA_BLOCK][i % 4];
        *sum = fmaf(x[i], x[i], *sum);
    }
    for (size_t t = 0; t < CUDA_BLOCK; t++)
        own[t] = (of[t][0] + of[t][1]) + (of[t][2] + of[t][3]);
    float scale = 1.0f / sqrtf(sum_of_block(own) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = narrow((x[i] * scale) * weight[i]);
}

static void embeds_each_token(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        size_t n_rows = 1 + draw(5), n_cols = 4 * (1 + draw(600)), n_vocab = 1 + draw(40);
        uint16_t *table = malloc(n_vocab * n_cols * 2);
        uint32_t tokens[8];
        float *x = malloc(n_rows * n_cols * 4);
        for (size_t i = 0; i < n_vocab * n_cols; i++)
            table[i] = (uint16_t)draw(0x10000);
        for (size_t r = 0; r < n_rows; r++)
            tokens[r] = draw((uint32_t)n_vocab);
        struct gpu_room r;
        gpu_room_open(&r, seed);
        struct gpu_address out = gpu_room_put(&r, NULL, n_rows * n_cols * 4);
        struct cuda_embed_args args = {.x = of(out),
                                       .table = of(gpu_room_put(&r, table, n_vocab * n_cols * 2)),
                                       .tokens = of(gpu_room_put(&r, tokens, n_rows * 4)),
                                       .n_cols = (uint32_t)n_cols};
        struct gpu_launch how = {.grid = {(unsigned)n_rows, 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
        gpu_must(gpu_room_try(&r, "embed_rows", &how, &args, sizeof args));
        gpu_room_get(&r, x, out, n_rows * n_cols * 4);
        for (size_t i = 0; i < n_rows * n_cols; i++) {
            float want = widen(table[tokens[i / n_cols] * n_cols + i % n_cols]);
            assert_memory_equal(&x[i], &want, 4);
        }
        gpu_room_close(&r);
        free(table);
        free(x);
    }
}

/* Rows of x by one launch on a device of its own. */
static void norm_on_gpu(uint16_t *out, const float *x, const float *weight, size_t n_rows,
                        size_t n_cols, uint64_t seed)
{
    struct gpu_room r;
    gpu_room_open(&r, seed);
    struct gpu_address to = gpu_room_put(&r, NULL, n_rows * n_cols * 2);
    struct cuda_rmsnorm_args args = {.out = of(to),
                                     .x = of(gpu_room_put(&r, x, n_rows * n_cols * 4)),
                                     .weight = of(gpu_room_put(&r, weight, n_cols * 4)),
                                     .n_cols = (uint32_t)n_cols,
                                     .eps = 1e-5f};
    struct gpu_launch how = {
        .grid = {(unsigned)n_rows, 1, 1}, .block = {CUDA_BLOCK, 1, 1}, .shared_len = SHARED_LEN};
    gpu_must(gpu_room_try(&r, "rmsnorm_rows", &how, &args, sizeof args));
    gpu_room_get(&r, out, to, n_rows * n_cols * 2);
    gpu_room_close(&r);
}

static void norms_rows_as_defined_in_any_company(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 32, 576, 1024, 1028, 8192, 8200, 12288};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        enum { ROWS = 4 };
        size_t n = sizes[s];
        float *x = malloc(ROWS * n * 4), *weight = malloc(n * 4);
        uint16_t *got = malloc(ROWS * n * 2), *alone = malloc(n * 2), *want = malloc(n * 2);
        for (size_t i = 0; i < ROWS * n; i++)
            x[i] = draw_float() * (float)(1 + draw(100));
        for (size_t i = 0; i < n; i++)
            weight[i] = draw_float();
        norm_on_gpu(got, x, weight, ROWS, n, 7 * s);
        for (size_t row = 0; row < ROWS; row++) {
            norm_row(want, x + row * n, weight, n, 1e-5f);
            assert_memory_equal(got + row * n, want, n * 2);
            norm_on_gpu(alone, x + row * n, weight, 1, n, 7 * s + row + 1);
            assert_memory_equal(got + row * n, alone, n * 2);
        }
        free(x);
        free(weight);
        free(got);
        free(alone);
        free(want);
    }
}

/* As the final norm takes the rows that need logits, one of them twice. */
static void norms_the_rows_that_are_named(void **state)
{
    (void)state;
    enum { N = 300, ROWS = 5, NAMED = 3 };
    static const uint32_t rows[NAMED] = {4, 0, 4};
    static float x[ROWS * N], weight[N];
    static uint16_t got[NAMED * N], want[N];
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = draw_float();
    for (size_t i = 0; i < N; i++)
        weight[i] = draw_float();
    struct gpu_room r;
    gpu_room_open(&r, 3);
    struct gpu_address to = gpu_room_put(&r, NULL, sizeof got);
    struct cuda_rmsnorm_args args = {.out = of(to),
                                     .x = of(gpu_room_put(&r, x, sizeof x)),
                                     .weight = of(gpu_room_put(&r, weight, sizeof weight)),
                                     .rows = of(gpu_room_put(&r, rows, sizeof rows)),
                                     .n_cols = N,
                                     .eps = 1e-5f};
    struct gpu_launch how = {
        .grid = {NAMED, 1, 1}, .block = {CUDA_BLOCK, 1, 1}, .shared_len = SHARED_LEN};
    gpu_must(gpu_room_try(&r, "rmsnorm_rows", &how, &args, sizeof args));
    gpu_room_get(&r, got, to, sizeof got);
    gpu_room_close(&r);
    for (size_t i = 0; i < NAMED; i++) {
        norm_row(want, x + rows[i] * N, weight, N, 1e-5f);
        assert_memory_equal(got + i * N, want, sizeof want);
    }
}

static void a_norm_is_near_double(void **state)
{
    (void)state;
    enum { N = 2048 };
    static float x[N], weight[N];
    static uint16_t got[N];
    double squares = 0, error = 0, size = 0;
    for (size_t i = 0; i < N; i++) {
        x[i] = draw_float() * 8;
        weight[i] = draw_float();
        squares += (double)x[i] * x[i];
    }
    norm_on_gpu(got, x, weight, 1, N, 1);
    for (size_t i = 0; i < N; i++) {
        double want = x[i] / sqrt(squares / N + 1e-5) * weight[i];
        error += pow(widen(got[i]) - want, 2);
        size += want * want;
    }
    assert_true(sqrt(error / size) < 2.5e-3); /* half a unit of bf16's eight bits, spread evenly */
}

/* A scene for rope_write: a few rows at positions of several pages, in a cache of poison. */
struct scene {
    size_t n_rows, n_heads, n_kv_heads, head_dim, n_turned, n_layers, layer, n_pages, table_len;
    bool with_norm;
    uint16_t *qkv, *cache;
    float *cos_sin, *q_norm, *k_norm;
    uint32_t *positions, *tables;
};

enum { POSITIONS = 3 * PAGE };

static size_t qkv_len(const struct scene *s)
{
    return s->n_rows * (s->n_heads + 2 * s->n_kv_heads) * s->head_dim;
}

static size_t cache_len(const struct scene *s)
{
    return s->n_pages * s->n_layers * 2 * s->n_kv_heads * PAGE * s->head_dim;
}

static float *draw_floats(size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = draw_float();
    return x;
}

static void scene_init(struct scene *s, size_t head_dim, size_t n_turned, bool with_norm)
{
    *s = (struct scene){.n_rows = 3,
                        .n_heads = 4,
                        .n_kv_heads = 2,
                        .head_dim = head_dim,
                        .n_turned = n_turned,
                        .n_layers = 2,
                        .layer = 1,
                        .n_pages = 9,
                        .table_len = POSITIONS / PAGE,
                        .with_norm = with_norm};
    s->qkv = malloc(qkv_len(s) * 2);
    for (size_t i = 0; i < qkv_len(s); i++)
        s->qkv[i] = narrow(draw_float());
    s->cache = malloc(cache_len(s) * 2);
    memset(s->cache, 0xff, cache_len(s) * 2);
    s->cos_sin = draw_floats(POSITIONS * n_turned);
    s->q_norm = draw_floats(head_dim);
    s->k_norm = draw_floats(head_dim);
    s->positions = malloc(s->n_rows * 4);
    s->tables = malloc(s->n_rows * s->table_len * 4);
    for (size_t r = 0; r < s->n_rows; r++) {
        s->positions[r] = draw(POSITIONS);
        for (size_t i = 0; i < s->table_len; i++) /* no page twice */
            s->tables[r * s->table_len + i] = (uint32_t)((r * s->table_len + i) * 7 % s->n_pages);
    }
}

static void scene_cleanup(struct scene *s)
{
    free(s->qkv);
    free(s->cache);
    free(s->cos_sin);
    free(s->q_norm);
    free(s->k_norm);
    free(s->positions);
    free(s->tables);
}

/* Where pair i lies: those that are turned first, then the others. */
static void find_pair(const struct scene *s, size_t i, size_t *a, size_t *b)
{
    size_t turned = s->n_turned / 2, rest = (s->head_dim - s->n_turned) / 2;
    *a = i < turned ? i : s->n_turned + (i - turned);
    *b = *a + (i < turned ? turned : rest);
}

static float norm_scale(const uint16_t *from, const struct scene *s)
{
    float own[32] = {0};
    for (size_t i = 0; i < s->head_dim / 2; i++) {
        size_t at_a, at_b;
        find_pair(s, i, &at_a, &at_b);
        float a = widen(from[at_a]), b = widen(from[at_b]);
        own[i % 32] = fmaf(b, b, fmaf(a, a, own[i % 32]));
    }
    return 1.0f / sqrtf(sum_of_warp(own) / (float)s->head_dim + 1e-6f);
}

static void turn(uint16_t *to, const uint16_t *from, const float *weight, const struct scene *s,
                 size_t row)
{
    float x[ROPE_HEAD_MAX], scale = norm_scale(from, s);
    for (size_t i = 0; i < s->head_dim; i++)
        x[i] = s->with_norm ? (widen(from[i]) * scale) * weight[i] : widen(from[i]);
    for (size_t i = s->n_turned; i < s->head_dim; i++)
        to[i] = narrow(x[i]);
    size_t half = s->n_turned / 2;
    const float *angles = s->cos_sin + s->positions[row] * 2 * half;
    for (size_t i = 0; i < half; i++) {
        to[i] = narrow(x[i] * angles[i] - x[half + i] * angles[half + i]);
        to[half + i] = narrow(x[half + i] * angles[i] + x[i] * angles[half + i]);
    }
}

static uint16_t *cache_row(const struct scene *s, size_t row, size_t head, size_t values)
{
    size_t position = s->positions[row];
    size_t page = s->tables[row * s->table_len + position / PAGE];
    size_t block = ((page * s->n_layers + s->layer) * 2 + values) * s->n_kv_heads + head;
    return s->cache + (block * PAGE + position % PAGE) * s->head_dim;
}

/* What is meant, in the scene itself. */
static void write_expected(struct scene *s)
{
    for (size_t r = 0; r < s->n_rows; r++) {
        uint16_t *q = s->qkv + r * (s->n_heads + 2 * s->n_kv_heads) * s->head_dim;
        uint16_t *k = q + s->n_heads * s->head_dim, *v = k + s->n_kv_heads * s->head_dim;
        for (size_t h = 0; h < s->n_kv_heads; h++) {
            turn(cache_row(s, r, h, 0), k + h * s->head_dim, s->k_norm, s, r);
            memcpy(cache_row(s, r, h, 1), v + h * s->head_dim, s->head_dim * 2);
        }
        for (size_t h = 0; h < s->n_heads; h++) {
            uint16_t before[ROPE_HEAD_MAX];
            memcpy(before, q + h * s->head_dim, s->head_dim * 2);
            turn(q + h * s->head_dim, before, s->q_norm, s, r);
        }
    }
}

static void check_rope_write(size_t head_dim, size_t n_turned, bool with_norm, uint64_t seed)
{
    struct scene s;
    struct gpu_room r;
    scene_init(&s, head_dim, n_turned, with_norm);
    gpu_room_open(&r, seed);
    struct gpu_address qkv = gpu_room_put(&r, s.qkv, qkv_len(&s) * 2);
    struct gpu_address cache = gpu_room_put(&r, s.cache, cache_len(&s) * 2);
    struct cuda_rope_write_args args = {
        .qkv = of(qkv),
        .cache = of(cache),
        .cos_sin = of(gpu_room_put(&r, s.cos_sin, POSITIONS * n_turned * 4)),
        .q_norm = with_norm ? of(gpu_room_put(&r, s.q_norm, head_dim * 4)) : NULL,
        .k_norm = with_norm ? of(gpu_room_put(&r, s.k_norm, head_dim * 4)) : NULL,
        .positions = of(gpu_room_put(&r, s.positions, s.n_rows * 4)),
        .page_tables = of(gpu_room_put(&r, s.tables, s.n_rows * s.table_len * 4)),
        .page_table_len = (uint32_t)s.table_len,
        .n_heads = (uint32_t)s.n_heads,
        .n_kv_heads = (uint32_t)s.n_kv_heads,
        .head_dim = (uint32_t)head_dim,
        .n_turned = (uint32_t)n_turned,
        .layer = (uint32_t)s.layer,
        .n_layers = (uint32_t)s.n_layers,
        .eps = 1e-6f};
    struct gpu_launch how = {
        .grid = {(unsigned)ROPE_BLOCKS(s.n_heads, s.n_kv_heads), (unsigned)s.n_rows, 1},
        .block = {CUDA_BLOCK, 1, 1},
        .shared_len = SHARED_LEN};
    gpu_must(gpu_room_try(&r, "rope_write", &how, &args, sizeof args));
    uint16_t *got_qkv = malloc(qkv_len(&s) * 2), *got_cache = malloc(cache_len(&s) * 2);
    gpu_room_get(&r, got_qkv, qkv, qkv_len(&s) * 2);
    gpu_room_get(&r, got_cache, cache, cache_len(&s) * 2);
    write_expected(&s);
    assert_memory_equal(got_qkv, s.qkv, qkv_len(&s) * 2);
    assert_memory_equal(got_cache, s.cache, cache_len(&s) * 2); /* and nothing beside it */
    free(got_qkv);
    free(got_cache);
    gpu_room_close(&r);
    scene_cleanup(&s);
}

static void turns_and_writes_as_defined(void **state)
{
    (void)state;
    static const size_t dims[][2] = {{2, 2},  {64, 64}, {80, 80},   {128, 128}, {128, 96},
                                     {80, 2}, {64, 34}, {256, 256}, {256, 250}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            check_rope_write(dims[i][0], dims[i][1], false, seed);
            check_rope_write(dims[i][0], dims[i][1], true, seed);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeds_each_token),
        cmocka_unit_test(norms_rows_as_defined_in_any_company),
        cmocka_unit_test(norms_the_rows_that_are_named),
        cmocka_unit_test(a_norm_is_near_double),
        cmocka_unit_test(turns_and_writes_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
