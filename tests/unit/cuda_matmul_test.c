/* The matrix product of the CUDA backend on the emulated GPU: bit for bit the chain of tensor-core
 * steps that docs/CUDA.md defines, for every tile shape and any company of rows; near double
 * precision; nothing written beyond its output; the same in every order of threads, copies and
 * products. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/cuda_matmul_scene.h"

/* (x w^T) w^T in bf16, by two launches of which the second overlaps the first. */
static struct err multiply_twice(uint16_t *out, const struct problem *p, unsigned tile,
                                 uint64_t seed)
{
    struct gpu_room r;
    struct gpu_kernel *k = NULL;
    struct gpu_launch how = kernel_set_matmul(set, 2, tile, p->n_out, p->n_rows);
    char name[KERNEL_NAME_MAX];
    struct cuda_matmul_args args = {
        .n_rows = (uint32_t)p->n_rows, .n_out = (uint32_t)p->n_out, .n_cols = (uint32_t)p->n_cols};
    size_t len = p->n_rows * p->n_out * 2;
    gpu_room_open(&r, seed);
    struct gpu_address w = gpu_room_put(&r, p->w, p->n_out * p->n_cols * 2), a[3];
    a[0] = gpu_room_put(&r, p->x, len);
    a[1] = gpu_room_put(&r, NULL, len);
    a[2] = gpu_room_put(&r, NULL, len);
    gpu_room_map(&r, &args.w, w, p->n_out, p->n_cols, set->tiles[tile].n_outs);
    kernel_set_matmul_name(name, set, "store", tile);
    gpu_must(r.driver->kernel_get(r.module, &k, name, how.shared_len));
    for (int i = 0; i < 2; i++) {
        how.overlaps_previous = i == 1;
        gpu_room_map(&r, &args.x, a[i], p->n_rows, p->n_cols, set->tiles[tile].n_rows);
        args.y = of(a[i + 1]);
        gpu_must(r.driver->launch(r.stream, k, &how, &args, sizeof args));
    }
    struct err e = r.driver->stream_wait(r.stream);
    if (!is_err(e))
        gpu_room_get(&r, out, a[2], len);
    gpu_room_close(&r);
    return e;
}

/* Several of a block's tiles follow each other through the buffers in which they are turned. */
static void results_of_many_rows_are_turned_right(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 130, 272, 72); /* parts of tiles, across and down */
    check(&p, STORE, 128, 2, 1);
    check(&p, ADD, 128, 2, 2);
    check(&p, SILU, 64, 3, 3);
    check(&p, ADD, 96, 1, 4);
    check(&p, STORE, 256, 2, 5);
    problem_cleanup(&p);
    problem_init(&p, 3, 136, 64 * 8); /* more stages than the ring has */
    for (uint64_t seed = 0; seed < 3; seed++)
        check(&p, seed == 1 ? ADD : STORE, seed == 2 ? 96 : 128, 1, seed);
    problem_cleanup(&p);
}

/* The number of matmul_few's tile of n rows. */
static unsigned few(unsigned n)
{
    unsigned i = 0;
    while (!kernel_set_matmul_few(set, i) || set->tiles[i].n_rows != n)
        i++;
    return i;
}

/* As many parts of a matrix's outputs as there are blocks, more, and more than a block takes at
 * once; rows for several tiles; more columns than the rings hold, and a part of a stage. */
static void tiles_of_few_rows_are_as_wide_as_blocks_allow(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 70, 16 * 21, 72);
    check_tile(&p, STORE, few(32), 3, 1);
    check_tile(&p, ADD, few(64), 2, 2);
    check_tile(&p, SILU, few(64), 1, 3);
    check_tile(&p, LOGITS, few(16), 4, 4);
    check_tile(&p, ADD, few(32), 11, 5);
    problem_cleanup(&p);
    problem_init(&p, 33, 80, FEW_COLS * 9 + 8);
    for (unsigned n = 8; n <= FEW_ROWS_MAX; n *= 2)
        check_tile(&p, n == 32 ? ADD : SILU, few(n), n <= 16 ? 2 : 1, n);
    problem_cleanup(&p);
}

/* The second of two products reads what the first writes, and begins before that has ended. */
static void a_product_may_begin_before_the_one_ahead_has_ended(void **state)
{
    (void)state;
    enum { N_ROWS = 5, SIDE = 144 };
    struct problem p;
    problem_init(&p, N_ROWS, SIDE, SIDE);
    p.biased = false;
    uint16_t want[N_ROWS * SIDE], between[N_ROWS * SIDE], out[N_ROWS * SIDE], *x = p.x;
    gpu_must(multiply(between, &p, STORE, tile_of(8), 1, 1));
    p.x = between;
    gpu_must(multiply(want, &p, STORE, tile_of(8), 1, 1));
    p.x = x;
    for (uint64_t seed = 0; seed < DRAWN(5) * set->n_tiles; seed++) {
        gpu_must(multiply_twice(out, &p, (unsigned)(seed % set->n_tiles), seed));
        assert_memory_equal(out, want, sizeof want);
    }
    problem_cleanup(&p);
}

/* Twice the same sums into one result, by launches of which the second overlaps the first. */
static struct err add_twice(float *out, const struct problem *p, unsigned tile, uint64_t seed)
{
    struct gpu_room r;
    struct gpu_kernel *k = NULL;
    struct gpu_launch how = kernel_set_matmul(set, 2, tile, p->n_out, p->n_rows);
    struct cuda_matmul_args args = {
        .n_rows = (uint32_t)p->n_rows, .n_out = (uint32_t)p->n_out, .n_cols = (uint32_t)p->n_cols};
    char name[KERNEL_NAME_MAX];
    gpu_room_open(&r, seed);
    struct gpu_address x = gpu_room_put(&r, p->x, p->n_rows * p->n_cols * 2);
    struct gpu_address w = gpu_room_put(&r, p->w, p->n_out * p->n_cols * 2);
    struct gpu_address sums = gpu_room_put(&r, p->before, out_len(p, ADD));
    gpu_room_map(&r, &args.w, w, p->n_out, p->n_cols, set->tiles[tile].n_outs);
    gpu_room_map(&r, &args.x, x, p->n_rows, p->n_cols, set->tiles[tile].n_rows);
    args.sum_into = of(sums);
    kernel_set_matmul_name(name, set, "add", tile);
    gpu_must(r.driver->kernel_get(r.module, &k, name, how.shared_len));
    for (int i = 0; i < 2; i++) {
        how.overlaps_previous = i == 1;
        gpu_must(r.driver->launch(r.stream, k, &how, &args, sizeof args));
    }
    struct err e = r.driver->stream_wait(r.stream);
    if (!is_err(e))
        gpu_room_get(&r, out, sums, out_len(p, ADD));
    gpu_room_close(&r);
    return e;
}

static void sums_are_added_to_what_the_launch_ahead_left(void **state)
{
    (void)state;
    enum { N_ROWS = 5, N_OUT = 80, N = N_ROWS * N_OUT };
    struct problem p;
    float want[N], out[N];
    problem_init(&p, N_ROWS, N_OUT, 72);
    p.biased = false;
    problem_define(&p);
    for (size_t i = 0; i < N; i++)
        want[i] = (p.before[i] + p.sums[i]) + p.sums[i];
    for (uint64_t seed = 0; seed < DRAWN(5) * set->n_tiles; seed++) {
        gpu_must(add_twice(out, &p, (unsigned)(seed % set->n_tiles), seed));
        assert_memory_equal(out, want, sizeof want);
    }
    problem_cleanup(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_shape_gives_the_defined_bits),
        cmocka_unit_test(results_of_many_rows_are_turned_right),
        cmocka_unit_test(tiles_of_few_rows_are_as_wide_as_blocks_allow),
        cmocka_unit_test(a_product_may_begin_before_the_one_ahead_has_ended),
        cmocka_unit_test(sums_are_added_to_what_the_launch_ahead_left),
        cmocka_unit_test(every_order_of_threads_copies_and_products_gives_them),
        cmocka_unit_test(shapes_of_all_sizes_are_right),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(a_product_is_near_double),
    };
    set = &kernel_set_sm90;
    step_of_chip = tensor_core_step;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
