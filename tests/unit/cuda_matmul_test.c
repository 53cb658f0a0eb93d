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
static struct err multiply_twice(uint16_t *out, const struct problem *p, uint64_t seed)
{
    struct gpu_room r;
    struct gpu_kernel *k = NULL;
    struct cuda_matmul_args args = {
        .n_rows = (uint32_t)p->n_rows, .n_out = (uint32_t)p->n_out, .n_cols = (uint32_t)p->n_cols};
    size_t len = p->n_rows * p->n_out * 2;
    gpu_room_open(&r, seed);
    struct gpu_address w = gpu_room_put(&r, p->w, p->n_out * p->n_cols * 2), a[3];
    a[0] = gpu_room_put(&r, p->x, len);
    a[1] = gpu_room_put(&r, NULL, len);
    a[2] = gpu_room_put(&r, NULL, len);
    make_map(&r, &args.w, w, p->n_out, p->n_cols, MATMUL_OUT);
    gpu_must(r.driver->kernel_get(r.module, &k, "matmul_store_8", MATMUL_SHARED_LEN(8)));
    for (int i = 0; i < 2; i++) {
        struct gpu_launch how = {.grid = {2, 1, 1},
                                 .block = {MATMUL_BLOCK, 1, 1},
                                 .shared_len = MATMUL_SHARED_LEN(8),
                                 .overlaps_previous = i == 1};
        make_map(&r, &args.x, a[i], p->n_rows, p->n_cols, 8);
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
    for (uint64_t seed = 0; seed < 12; seed++) {
        gpu_must(multiply_twice(out, &p, seed));
        assert_memory_equal(out, want, sizeof want);
    }
    problem_cleanup(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_shape_gives_the_defined_bits),
        cmocka_unit_test(results_of_many_rows_are_turned_right),
        cmocka_unit_test(a_product_may_begin_before_the_one_ahead_has_ended),
        cmocka_unit_test(every_order_of_threads_copies_and_products_gives_them),
        cmocka_unit_test(shapes_of_all_sizes_are_right),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(a_product_is_near_double),
    };
    set = &kernel_set_sm90;
    step_of_chip = tensor_core_step;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
