/* The matrix product for chips of compute capability 8, on an emulated Ampere, which refuses what
 * that lacks: the same chain of steps, by its own tensor cores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/cuda_matmul_scene.h"

/* More tiles than blocks, of every place in the order of tiles; more stages than the ring has, of
 * which some tiles are shorter than what is fetched ahead. */
static void a_block_goes_from_tile_to_tile(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 8 * 9 + 5, 80, 72);
    check(&p, ADD, 8, 3, 1);
    check(&p, STORE, 8, 1, 2);
    check(&p, SILU, 16, 2, 3);
    problem_cleanup(&p);
    problem_init(&p, 300, 144, 136);
    check(&p, LOGITS, 128, 2, 4);
    check(&p, STORE, 256, 1, 5);
    problem_cleanup(&p);
}

/* Beside its blocks' work there may be more blocks than tiles. */
static void a_block_without_a_tile_does_nothing(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 3, 16, 24);
    check(&p, STORE, 8, 5, 1);
    check(&p, ADD, 256, 3, 2);
    problem_cleanup(&p);
}

/* They would be the same only by chance: the two chips' numerics have two names. */
static void the_bits_are_not_those_of_hopper(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, 4, 32, 256);
    size_t n = p.n_rows * p.n_out, other = 0;
    float *here = malloc(n * sizeof *here);
    memcpy(here, p.sums, n * sizeof *here);
    step_of_chip = tensor_core_step;
    problem_define(&p);
    step_of_chip = tensor_core_step_80;
    for (size_t i = 0; i < n; i++)
        other += memcmp(&here[i], &p.sums[i], sizeof *here) != 0;
    assert_true(other > n / 4);
    free(here);
    problem_cleanup(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tile_shape_gives_the_defined_bits),
        cmocka_unit_test(a_block_goes_from_tile_to_tile),
        cmocka_unit_test(a_block_without_a_tile_does_nothing),
        cmocka_unit_test(every_order_of_threads_copies_and_products_gives_them),
        cmocka_unit_test(shapes_of_all_sizes_are_right),
        cmocka_unit_test(a_row_does_not_depend_on_its_company),
        cmocka_unit_test(a_product_is_near_double),
        cmocka_unit_test(the_bits_are_not_those_of_hopper),
    };
    set = &kernel_set_sm80;
    step_of_chip = tensor_core_step_80;
    gpu_emu_chip(80);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
