/*
 * The matrix product on the emulated GPU for the tests of each chip's kernels: problems by dice,
 * the definition of docs/CUDA.md one element at a time, a launch; and what must hold for every
 * chip. Included once, after cmocka.h.
 */
#ifndef TESTS_UNIT_CUDA_MATMUL_SCENE_H
#define TESTS_UNIT_CUDA_MATMUL_SCENE_H

#include <math.h>
#include <stdio.h>

#include "kernels/cuda/args.h"
#include "kernels/cuda/kernel_set.h"
#include "kernels/det.h"
#include "kernels/emu/tensor_core.h"
#include "tests/unit/gpu_room.h"

enum { STORE, ADD, SILU, LOGITS, EPILOGUES };

/* Whose kernels are launched, and a step of its tensor cores: set by main. */
static const struct kernel_set *set;
static float (*step_of_chip)(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K]);

struct problem {
    size_t n_rows, n_out, n_cols;
    uint16_t *x, *w; /* (n_rows, n_cols), (n_out, n_cols) */
    float *before;   /* (n_rows, n_out), for ADD */
    float *bias;     /* (n_out) */
    bool biased;
    float *sums; /* as defined, (n_rows, n_out) */
};

/* The sums that the chip is to give. */
static void problem_define(struct problem *p)
{
    for (size_t r = 0; r < p->n_rows; r++)
        for (size_t o = 0; o < p->n_out; o++) {
            float sum = 0.0f;
            for (size_t k = 0; k < p->n_cols; k += 16) {
                uint16_t a[16] = {0}, b[16] = {0};
                for (size_t i = 0; i < 16 && k + i < p->n_cols; i++) {
                    a[i] = p->w[o * p->n_cols + k + i];
                    b[i] = p->x[r * p->n_cols + k + i];
                }
                sum = step_of_chip(sum, a, b);
            }
            p->sums[r * p->n_out + o] = p->biased ? sum + p->bias[o] : sum;
        }
}

static void problem_init(struct problem *p, size_t n_rows, size_t n_out, size_t n_cols)
{
    *p = (struct problem){.n_rows = n_rows, .n_out = n_out, .n_cols = n_cols};
    p->x = malloc(n_rows * n_cols * 2);
    p->w = malloc(n_out * n_cols * 2);
    p->before = malloc(n_rows * n_out * 4);
    p->bias = malloc(n_out * 4);
    p->biased = draw(2) == 0;
    p->sums = malloc(n_rows * n_out * 4);
    for (size_t i = 0; i < n_rows * n_cols; i++)
        p->x[i] = narrow((float)draw(2001) / 1000 - 1);
    for (size_t i = 0; i < n_out * n_cols; i++)
        p->w[i] = narrow((float)draw(2001) / 1000 - 1);
    for (size_t i = 0; i < n_rows * n_out; i++)
        p->before[i] = (float)draw(1000);
    for (size_t i = 0; i < n_out; i++)
        p->bias[i] = (float)draw(2001) / 300 - 3;
    problem_define(p);
}

static void problem_cleanup(struct problem *p)
{
    free(p->x);
    free(p->w);
    free(p->before);
    free(p->bias);
    free(p->sums);
}

/* Bytes of the output. */
static size_t out_len(const struct problem *p, int epilogue)
{
    size_t n = p->n_rows * p->n_out;
    return epilogue == ADD || epilogue == LOGITS ? n * 4 : epilogue == SILU ? n : n * 2;
}

static void expected(void *out, const struct problem *p, int epilogue)
{
    for (size_t i = 0; i < p->n_rows * p->n_out; i++) {
        size_t r = i / p->n_out, o = i % p->n_out;
        if (epilogue == STORE)
            ((uint16_t *)out)[i] = narrow(p->sums[i]);
        else if (epilogue == ADD)
            ((float *)out)[i] = p->before[i] + p->sums[i];
        else if (epilogue == LOGITS)
            ((float *)out)[i] = p->sums[i];
        else if (o % 16 < 8) {
            float g = p->sums[i], u = p->sums[i + 8];
            ((uint16_t *)out)[r * (p->n_out / 2) + o / 16 * 8 + o % 8] = narrow(det_silu(g) * u);
        }
    }
}

/* The set's last tile of n rows. */
static unsigned tile_of(unsigned n)
{
    unsigned i = set->n_tiles - 1;
    while (set->tiles[i].n_rows != n)
        i--;
    return i;
}

/* One launch on `n_blocks` blocks, in clusters where it can. */
static struct err multiply(void *out, const struct problem *p, int epilogue, unsigned tile,
                           unsigned n_blocks, uint64_t seed)
{
    static const char *const names[] = {"store", "add", "silu", "logits"};
    struct gpu_room r;
    struct cuda_matmul_args args = {
        .n_rows = (uint32_t)p->n_rows, .n_out = (uint32_t)p->n_out, .n_cols = (uint32_t)p->n_cols};
    char name[KERNEL_NAME_MAX];
    struct gpu_launch how = kernel_set_matmul(set, 1, tile, p->n_out, p->n_rows);
    kernel_set_matmul_name(name, set, names[epilogue], tile);
    gpu_room_open(&r, seed);
    struct gpu_address x = gpu_room_put(&r, p->x, p->n_rows * p->n_cols * 2);
    struct gpu_address w = gpu_room_put(&r, p->w, p->n_out * p->n_cols * 2);
    struct gpu_address y =
        gpu_room_put(&r, epilogue == ADD ? p->before : NULL, out_len(p, epilogue));
    if (set->has_copy_engine) {
        gpu_room_map(&r, &args.w, w, p->n_out, p->n_cols, set->tiles[tile].n_outs);
        gpu_room_map(&r, &args.x, x, p->n_rows, p->n_cols, set->tiles[tile].n_rows);
    } else {
        args.w_at = of(w);
        args.x_at = of(x);
    }
    args.y = of(y);
    args.sum_into = of(y);
    args.bias = p->biased ? of(gpu_room_put(&r, p->bias, p->n_out * 4)) : NULL;
    how.cluster = n_blocks % how.cluster == 0 ? how.cluster : 1;
    how.grid[0] = n_blocks;
    how.overlaps_previous = false;
    struct err e = gpu_room_try(&r, name, &how, &args, sizeof args);
    if (!is_err(e))
        gpu_room_get(&r, out, y, out_len(p, epilogue));
    gpu_room_close(&r);
    return e;
}

static void check_tile(const struct problem *p, int epilogue, unsigned tile, unsigned n_blocks,
                       uint64_t seed)
{
    size_t len = out_len(p, epilogue);
    void *got = malloc(len), *want = malloc(len);
    gpu_must(multiply(got, p, epilogue, tile, n_blocks, seed));
    expected(want, p, epilogue);
    if (memcmp(got, want, len) != 0)
        fail_msg("rows %zu, outputs %zu, columns %zu, tiles of %u by %u, %u blocks, seed %llu: "
                 "other bits",
                 p->n_rows, p->n_out, p->n_cols, set->tiles[tile].n_rows, set->tiles[tile].n_outs,
                 n_blocks, (unsigned long long)seed);
    free(got);
    free(want);
}

/* With tiles of n rows. */
static void check(const struct problem *p, int epilogue, unsigned n, unsigned n_blocks,
                  uint64_t seed)
{
    check_tile(p, epilogue, tile_of(n), n_blocks, seed);
}

static void every_tile_shape_gives_the_defined_bits(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 11, 144, 136);
    for (unsigned i = 0; i < set->n_tiles; i++)
        for (int epilogue = STORE; epilogue < EPILOGUES; epilogue++)
            check_tile(&p, epilogue, i, 1, i);
    problem_cleanup(&p);
}

static void every_order_of_threads_copies_and_products_gives_them(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 9, 160, 64 * 11); /* more stages than the ring has */
    for (uint64_t seed = 0; seed < DRAWN(12); seed++)
        check(&p, STORE, 8, 1, 100 + seed);
    problem_cleanup(&p);
}

static void shapes_of_all_sizes_are_right(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DRAWN(10); i++) {
        struct problem p;
        size_t n_out = 16 * (1 + draw(20)), n_cols = 8 * (1 + draw(30));
        problem_init(&p, 1 + draw(40), n_out, n_cols);
        check(&p, (int)draw(EPILOGUES), draw(2) == 0 ? 16 : 32, 1 + draw(4), i);
        problem_cleanup(&p);
    }
}

static void a_row_does_not_depend_on_its_company(void **state)
{
    (void)state;
    struct problem all;
    problem_init(&all, 20, 48, 80);
    size_t len = out_len(&all, ADD), row_len = all.n_out * 4;
    uint8_t *together = malloc(len), *alone = malloc(row_len);
    gpu_must(multiply(together, &all, ADD, tile_of(32), 1, 1));
    for (size_t row = 0; row < all.n_rows; row += 7) {
        struct problem one = all;
        one.n_rows = 1;
        one.x = all.x + row * all.n_cols;
        one.before = all.before + row * all.n_out;
        gpu_must(multiply(alone, &one, ADD, tile_of(8), 1, row));
        assert_memory_equal(alone, together + row * row_len, row_len);
    }
    free(together);
    free(alone);
    problem_cleanup(&all);
}

/* The published arithmetic cuts toward zero at 25 bits, so its error grows with K a little faster
 * than that of rounding; bf16 at the end is what remains. */
static void a_product_is_near_double(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 4, 64, 1024);
    float *got = malloc(out_len(&p, ADD));
    memset(p.before, 0, out_len(&p, ADD));
    p.biased = false;
    gpu_must(multiply(got, &p, ADD, tile_of(8), 1, 1));
    double error = 0, size = 0;
    for (size_t i = 0; i < p.n_rows * p.n_out; i++) {
        double want = 0;
        for (size_t k = 0; k < p.n_cols; k++)
            want += (double)widen(p.x[i / p.n_out * p.n_cols + k]) *
                    (double)widen(p.w[i % p.n_out * p.n_cols + k]);
        error += pow(got[i] - want, 2);
        size += want * want;
    }
    assert_true(sqrt(error / size) < 3e-6);
    free(got);
    problem_cleanup(&p);
}

#endif
