/* Which tiles a product is computed with: what the model of kernel_set.c chooses where the answer
 * is known from measurements of an H200, and what must hold for every shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/args.h"
#include "kernels/cuda/kernel_set.h"

enum { H200 = 132 };

static unsigned rows_of_tile(size_t n_out, size_t n_rows)
{
    const struct kernel_set *s = &kernel_set_sm90;
    return s->tiles[kernel_set_matmul_tile(s, H200, n_out, n_rows)].n_rows;
}

static void few_rows_are_one_tile(void **state)
{
    (void)state;
    const struct kernel_set *sets[] = {&kernel_set_sm90, &kernel_set_sm80};
    for (size_t i = 0; i < 2; i++)
        for (size_t n_rows = 1; n_rows <= 64; n_rows++) {
            const unsigned tile = kernel_set_matmul_tile(sets[i], H200, 4096, n_rows);
            const unsigned n = sets[i]->tiles[tile].n_rows;
            assert_true(n >= n_rows && (n == 8 || n < 2 * n_rows));
        }
}

/* A matrix of few outputs has small tiles, so that every multiprocessor has one; one of many has
 * large ones, which read less. */
static void tiles_spread_over_the_chip(void **state)
{
    (void)state;
    assert_int_equal(rows_of_tile(28672, 64), 64);
    assert_int_equal(rows_of_tile(28672, 96), 96);
    assert_int_equal(rows_of_tile(28672, 128), 128);
    assert_int_equal(rows_of_tile(6144, 256), 128);
    assert_int_equal(rows_of_tile(4096, 128), 64);
    assert_int_equal(rows_of_tile(4096, 256), 64);
    assert_int_equal(rows_of_tile(28672, 256), 256);
    assert_int_equal(rows_of_tile(4096, 512), 128);
    assert_int_equal(rows_of_tile(28672, 512), 128);
    assert_int_equal(rows_of_tile(4096, 192), 64);
    assert_int_equal(rows_of_tile(6144, 384), 96);
    assert_int_equal(rows_of_tile(6144, 1024), 128);
    assert_int_equal(rows_of_tile(4096, 1024), 256);
    for (size_t n_rows = 4096; n_rows <= 8192; n_rows *= 2) {
        assert_int_equal(rows_of_tile(4096, n_rows), 256);
        assert_int_equal(rows_of_tile(6144, n_rows), 256);
        assert_int_equal(rows_of_tile(28672, n_rows), 256);
    }
}

/* Whole clusters, no more blocks than tiles, none where there is nothing to do but one. */
static void a_launch_has_a_block_for_each_tile_or_fills_the_chip(void **state)
{
    (void)state;
    const struct kernel_set *sets[] = {&kernel_set_sm90, &kernel_set_sm80};
    for (size_t s = 0; s < 2; s++)
        for (unsigned i = 0; i < sets[s]->n_tiles; i++)
            for (size_t n_out = 8; n_out <= 32768; n_out *= 2) {
                const struct gpu_launch how = kernel_set_matmul(sets[s], H200, i, n_out, 300);
                assert_true(how.grid[0] >= 1 && how.grid[0] % how.cluster == 0);
                assert_true(how.grid[0] <= 2 * H200);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_are_one_tile),
        cmocka_unit_test(tiles_spread_over_the_chip),
        cmocka_unit_test(a_launch_has_a_block_for_each_tile_or_fills_the_chip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
