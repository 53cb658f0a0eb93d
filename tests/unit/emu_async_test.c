/* The emulated GPU beside its threads: stores by the copy engine and the two images of shared
 * memory, clusters that share copies and barriers, launches that overlap. Right kernels give the
 * right answer for every seed; each fault of emu_async_kernels.cu is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/emu/tensor_core.h"
#include "tests/unit/emu_async_kernels.h"
#include "tests/unit/gpu_room.h"

enum { SEEDS = 40, TILE = TILE_ROWS * TILE_COLS, N_OUT = 2 * PAIR_ROUNDS * TILE };
enum { ROWS = PAIR_ROUNDS * TILE_ROWS, CUT_ROWS = 50, CUT_COLS = 56, POISON = 0xffff };

static uint16_t *pointer(struct gpu_address a)
{
    return (uint16_t *)(uintptr_t)a.at;
}

static uint16_t value(size_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u;
    return (uint16_t)(0x3c00 + (h >> 20 & 0x7ff) + (h >> 8 & 1) * 0x8000); /* bf16 near 1 */
}

static unsigned chip = 90;

static void be_chip(unsigned which)
{
    chip = which;
    gpu_emu_chip(which);
}

/* Also for a chip that has no copy engine: so that its kernel is seen to be refused. */
static void make_map(struct gpu_room *r, struct gpu_tensor_map *out, struct gpu_address base,
                     size_t n_cols, size_t n_rows, unsigned box_rows)
{
    struct gpu_tensor t = {.base = base,
                           .type = GPU_TENSOR_BF16,
                           .swizzle = GPU_SWIZZLE_128,
                           .rank = 2,
                           .dims = {n_cols, n_rows},
                           .strides = {TILE_COLS * 2},
                           .box = {TILE_COLS, box_rows}};
    gpu_emu_chip(90);
    gpu_must(r->driver->tensor_map(r->gpu, out, &t));
    gpu_emu_chip(chip);
}

/* A kernel over `in`, whose element i is value(i), with a map of `in` or, where `stores`, of a part
 * of `out`. */
static struct err run(const char *kernel, uint64_t seed, uint16_t out[N_OUT], unsigned cluster,
                      bool stores)
{
    struct gpu_room r;
    static uint16_t in[ROWS * TILE_COLS];
    for (size_t i = 0; i < ROWS * TILE_COLS; i++)
        in[i] = value(i);
    gpu_room_open(&r, seed);
    struct gpu_address from = gpu_room_put(&r, in, sizeof in);
    struct gpu_address to = gpu_room_put(&r, NULL, N_OUT * sizeof *out);
    struct emu_async_args args = {.out = pointer(to), .in = pointer(from)};
    if (stores)
        make_map(&r, &args.map, to, CUT_COLS, CUT_ROWS, TILE_ROWS);
    else
        make_map(&r, &args.map, from, TILE_COLS, ROWS, TILE_ROWS / cluster);
    struct gpu_launch how = {.grid = {cluster, 1, 1},
                             .block = {ASYNC_THREADS, 1, 1},
                             .cluster = cluster,
                             .shared_len = ASYNC_SHARED_LEN};
    struct err e = gpu_room_try(&r, kernel, &how, &args, sizeof args);
    if (!is_err(e))
        gpu_room_get(&r, out, to, N_OUT * sizeof *out);
    gpu_room_close(&r);
    return e;
}

typedef bool judge(const uint16_t out[N_OUT]);

/* In how many seeds the kernel was refused, for a reason with `words` in it, or its result was
 * wrong. */
static unsigned times_found(const char *kernel, unsigned cluster, bool stores, judge *right,
                            const char *words)
{
    static uint16_t out[N_OUT];
    unsigned n = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct err e = run(kernel, seed, out, cluster, stores);
        if (is_err(e) && (words == NULL || strstr(err_message(), words) == NULL))
            fail_msg("%s: %s", kernel, err_message());
        n += is_err(e) || !right(out);
    }
    return n;
}

static bool tiles_are_stored(const uint16_t out[N_OUT])
{
    for (size_t row = 0; row < 2 * TILE_ROWS; row++)
        for (size_t col = 0; col < TILE_COLS; col++) {
            bool inside = row < CUT_ROWS && col < CUT_COLS;
            size_t i = row % TILE_ROWS * TILE_COLS + col;
            uint16_t want = inside ? (uint16_t)(row / TILE_ROWS * 4096 + i) : POISON;
            if (out[row * TILE_COLS + col] != want)
                return false;
        }
    return true;
}

static void a_tile_is_stored_up_to_its_tensors_edge(void **state)
{
    (void)state;
    assert_int_equal(times_found("store_tiles", 1, true, tiles_are_stored, NULL), 0);
}

static void a_missing_proxy_fence_is_found(void **state)
{
    (void)state;
    const char *words = "without fence.proxy.async";
    assert_int_equal(times_found("store_tiles_no_fence", 1, true, tiles_are_stored, words), SEEDS);
    assert_true(times_found("store_tiles_fence_of_one", 1, true, tiles_are_stored, words) >
                SEEDS / 2);
}

static void a_store_before_its_barrier_is_found(void **state)
{
    (void)state;
    assert_true(times_found("store_tiles_no_barrier", 1, true, tiles_are_stored,
                            "without fence.proxy.async") > SEEDS / 2);
}

static void memory_that_a_store_still_reads_is_not_written(void **state)
{
    (void)state;
    assert_true(times_found("store_tiles_no_read_wait", 1, true, tiles_are_stored,
                            "without fence.proxy.async") > SEEDS / 4);
}

static void a_thread_that_ends_before_its_store_has_read_is_found(void **state)
{
    (void)state;
    assert_true(times_found("store_tiles_no_last_wait", 1, true, tiles_are_stored,
                            "ended while a store was reading") > SEEDS / 4);
}

static bool row_is_read_back(const uint16_t out[N_OUT])
{
    for (size_t i = 0; i < 2 * TILE_COLS; i++)
        if (out[i] != i % TILE_COLS)
            return false;
    return true;
}

static void a_store_has_not_written_when_it_has_read(void **state)
{
    (void)state;
    assert_int_equal(times_found("store_and_read", 1, false, row_is_read_back, NULL), 0);
    assert_true(times_found("store_and_read_too_soon", 1, false, row_is_read_back, NULL) >
                SEEDS / 4);
}

static bool tile_is_loaded(const uint16_t out[N_OUT])
{
    for (size_t i = 0; i < TILE; i++)
        if (out[i] != value(i))
            return false;
    return true;
}

static void a_copy_onto_what_was_not_fenced_is_found(void **state)
{
    (void)state;
    assert_int_equal(times_found("load_over", 1, false, tile_is_loaded, NULL), 0);
    assert_int_equal(times_found("load_over_no_fence", 1, false, tile_is_loaded,
                                 "lands on what a thread has stored"),
                     SEEDS);
}

static bool tiles_are_shared(const uint16_t out[N_OUT])
{
    for (size_t i = 0; i < N_OUT; i++)
        if (out[i] != value(i % (PAIR_ROUNDS * TILE)))
            return false;
    return true;
}

static void a_cluster_shares_copies_and_barriers(void **state)
{
    (void)state;
    assert_int_equal(times_found("pair_share", 2, false, tiles_are_shared, NULL), 0);
}

static void a_block_that_another_does_not_wait_for_is_found(void **state)
{
    (void)state;
    assert_true(times_found("pair_no_first_barrier", 2, false, tiles_are_shared, "never made") >
                SEEDS / 10);
    assert_true(times_found("pair_no_last_barrier", 2, false, tiles_are_shared,
                            "of a block that has ended") > SEEDS / 4);
}

static void barriers_that_were_made_without_their_fence_are_found(void **state)
{
    (void)state;
    assert_int_equal(
        times_found("pair_no_init_fence", 2, false, tiles_are_shared, "made without its fence"),
        SEEDS);
}

static void a_tile_that_another_block_still_reads_is_not_copied_to(void **state)
{
    (void)state;
    assert_true(times_found("pair_own_alone", 2, false, tiles_are_shared, "") > SEEDS / 4);
}

static void a_block_whose_half_never_comes_waits_for_ever(void **state)
{
    (void)state;
    assert_int_equal(
        times_found("pair_narrow_mask", 2, false, tiles_are_shared, "wait for each other for ever"),
        SEEDS);
}

/* `n` launches in a row, each overlapping the one before it: a, b, a, ... What ends there. */
static uint16_t chain(const char *kernel, uint64_t seed, unsigned n, bool in_a_graph)
{
    struct gpu_room r;
    uint16_t zeros[ASYNC_THREADS] = {0}, out[ASYNC_THREADS];
    gpu_room_open(&r, seed);
    struct gpu_address a = gpu_room_put(&r, zeros, sizeof zeros);
    struct gpu_address b = gpu_room_put(&r, NULL, sizeof zeros);
    struct gpu_kernel *k = NULL;
    struct gpu_graph *graph = NULL;
    gpu_must(r.driver->kernel_get(r.module, &k, kernel, 0));
    if (in_a_graph)
        gpu_must(r.driver->capture_begin(r.stream));
    for (unsigned i = 0; i < n; i++) {
        struct emu_async_args args = {.out = pointer(i % 2 == 0 ? b : a),
                                      .in = pointer(i % 2 == 0 ? a : b)};
        struct gpu_launch how = {
            .grid = {1, 1, 1}, .block = {ASYNC_THREADS, 1, 1}, .overlaps_previous = i > 0};
        gpu_must(r.driver->launch(r.stream, k, &how, &args, sizeof args));
    }
    if (in_a_graph) {
        gpu_must(r.driver->capture_end(r.stream, &graph));
        gpu_must(r.driver->graph_launch(graph, r.stream));
    }
    gpu_room_get(&r, out, n % 2 == 1 ? b : a, sizeof out);
    for (unsigned i = 1; i < ASYNC_THREADS; i++)
        if (out[i] != out[0])
            out[0] = POISON;
    r.driver->graph_free(graph);
    gpu_room_close(&r);
    return out[0];
}

static void launches_overlap_up_to_their_wait(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        assert_int_equal(chain("add_one", seed, 5, seed % 2 == 0), 5);
}

static unsigned wrong_chains(const char *kernel)
{
    unsigned n = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        n += chain(kernel, seed, 5, seed % 2 == 0) != 5;
    return n;
}

static void what_a_launch_ahead_still_uses_is_found_touched(void **state)
{
    (void)state;
    assert_true(wrong_chains("add_one_no_grid_wait") > SEEDS / 2);
    assert_true(wrong_chains("add_one_writes_early") > SEEDS / 2);
}

/* Sums as the tensor cores of a chip have them, in every element of out (16, 8). */
static bool sums_are(const uint16_t out[N_OUT],
                     float step(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K]))
{
    uint16_t in[(16 + 8) * TENSOR_K];
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        in[i] = value(i);
    for (size_t i = 0; i < 16 * 8; i++) {
        float got, want = step(0.0f, in + i / 8 * TENSOR_K, in + (16 + i % 8) * TENSOR_K);
        memcpy(&got, out + 2 * i, sizeof got);
        if (memcmp(&got, &want, sizeof got) != 0)
            return false;
    }
    return true;
}

static bool sums_of_hopper(const uint16_t out[N_OUT])
{
    return sums_are(out, tensor_core_step);
}

static bool sums_of_ampere(const uint16_t out[N_OUT])
{
    return sums_are(out, tensor_core_step_80);
}

static void a_warp_multiplies_as_its_chip_does(void **state)
{
    (void)state;
    assert_int_equal(times_found("multiply", 1, false, sums_of_hopper, NULL), 0);
    assert_int_equal(times_found("multiply", 1, false, sums_of_ampere, NULL), SEEDS);
    be_chip(80);
    assert_int_equal(times_found("multiply", 1, false, sums_of_ampere, NULL), 0);
    be_chip(90);
}

static void a_copy_that_was_not_waited_for_is_found(void **state)
{
    (void)state;
    assert_true(times_found("multiply_no_wait", 1, false, sums_of_hopper, NULL) > SEEDS / 2);
}

static bool matrices_are_turned_back(const uint16_t out[N_OUT])
{
    for (size_t i = 0; i < 256; i++)
        if (out[i] != value(i))
            return false;
    return true;
}

static void matrices_turned_twice_are_themselves(void **state)
{
    (void)state;
    assert_int_equal(times_found("turn_twice", 1, false, matrices_are_turned_back, NULL), 0);
}

static void refuses_what_an_older_chip_lacks(void **state)
{
    (void)state;
    be_chip(80);
    assert_int_equal(
        times_found("load_over", 1, false, tile_is_loaded, "that the chip does not have"), SEEDS);
    be_chip(90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tile_is_stored_up_to_its_tensors_edge),
        cmocka_unit_test(a_missing_proxy_fence_is_found),
        cmocka_unit_test(a_store_before_its_barrier_is_found),
        cmocka_unit_test(memory_that_a_store_still_reads_is_not_written),
        cmocka_unit_test(a_thread_that_ends_before_its_store_has_read_is_found),
        cmocka_unit_test(a_store_has_not_written_when_it_has_read),
        cmocka_unit_test(a_copy_onto_what_was_not_fenced_is_found),
        cmocka_unit_test(a_cluster_shares_copies_and_barriers),
        cmocka_unit_test(a_block_that_another_does_not_wait_for_is_found),
        cmocka_unit_test(barriers_that_were_made_without_their_fence_are_found),
        cmocka_unit_test(a_tile_that_another_block_still_reads_is_not_copied_to),
        cmocka_unit_test(a_block_whose_half_never_comes_waits_for_ever),
        cmocka_unit_test(a_warp_multiplies_as_its_chip_does),
        cmocka_unit_test(a_copy_that_was_not_waited_for_is_found),
        cmocka_unit_test(matrices_turned_twice_are_themselves),
        cmocka_unit_test(refuses_what_an_older_chip_lacks),
        cmocka_unit_test(launches_overlap_up_to_their_wait),
        cmocka_unit_test(what_a_launch_ahead_still_uses_is_found_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
