/* The emulated GPU: right kernels give the right answer in every order of threads, and each fault
 * of emu_kernels.cu is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/emu_kernels.h"
#include "tests/unit/gpu_room.h"

enum { N = EMU_TEST_THREADS, SEEDS = 40 };

/* One block of N threads over 0, 1, 2, ...; `n_out` results. */
static struct err run(const char *kernel, uint64_t seed, uint32_t *out, size_t n_out)
{
    struct gpu_room r;
    uint32_t in[N];
    for (uint32_t i = 0; i < N; i++)
        in[i] = i;
    gpu_room_open(&r, seed);
    struct gpu_address from = gpu_room_put(&r, in, sizeof in);
    struct gpu_address to = gpu_room_put(&r, NULL, n_out * sizeof *out);
    struct emu_test_args args = {(uint32_t *)(uintptr_t)to.at,
                                 (const uint32_t *)(uintptr_t)from.at};
    struct gpu_launch how = {.grid = {1, 1, 1}, .block = {N, 1, 1}, .shared_len = 4 * N};
    struct err e = gpu_room_try(&r, kernel, &how, &args, sizeof args);
    if (!is_err(e))
        gpu_room_get(&r, out, to, n_out * sizeof *out);
    gpu_room_close(&r);
    return e;
}

static void a_barrier_orders_a_block_in_every_order_of_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint32_t out[N];
        gpu_must(run("emu_reverse", seed, out, N));
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(out[i], N - 1 - i);
    }
}

static unsigned wrong_seeds(const char *kernel, uint32_t offset)
{
    unsigned n = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint32_t out[N];
        bool wrong = false;
        gpu_must(run(kernel, seed, out, N));
        for (uint32_t i = 0; i < N; i++)
            wrong |= out[i] != (offset == 0 ? N - 1 - i : i + offset);
        n += wrong;
    }
    return n;
}

static void a_missing_barrier_shows(void **state)
{
    (void)state;
    assert_int_equal(wrong_seeds("emu_reverse", 0), 0);
    assert_int_equal(wrong_seeds("emu_reverse_unordered", 0), SEEDS);
}

static void a_buffer_that_is_used_again_too_soon_shows(void **state)
{
    (void)state;
    assert_true(wrong_seeds("emu_twice_unordered", 2) > SEEDS / 2);
}

static void expect_failure(const char *kernel, const char *reason)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        uint32_t out[N];
        struct err e = run(kernel, seed, out, N);
        assert_int_equal(e.code, ERR_IO);
        assert_non_null(strstr(err_message(), reason));
        assert_non_null(strstr(err_message(), kernel));
    }
}

static void a_barrier_that_an_ended_thread_was_to_join_is_found(void **state)
{
    (void)state;
    expect_failure("emu_leaves_early", "wait for each other for ever");
}

static void lanes_at_different_calls_are_found(void **state)
{
    (void)state;
    expect_failure("emu_divided", "come to a barrier from different calls");
}

static void an_operation_that_half_a_warp_joins_is_found(void **state)
{
    (void)state;
    expect_failure("emu_half_warp", "wait for each other for ever");
}

static void shared_memory_beyond_the_launch_is_found(void **state)
{
    (void)state;
    expect_failure("emu_beyond_shared", "shared memory beyond");
}

static void warps_exchange_and_vote(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint32_t out[3 * N];
        gpu_must(run("emu_warp", seed, out, 3 * N));
        for (uint32_t i = 0; i < N; i++) {
            uint32_t first = i / 32 * 32;
            assert_int_equal(out[3 * i], 32 * first + 31 * 16);
            assert_int_equal(out[3 * i + 1], 0xaaaaaaaau);
            assert_int_equal(out[3 * i + 2], first + 3);
        }
    }
}

static void grids_have_three_dimensions(void **state)
{
    (void)state;
    enum { ALL = 2 * 3 * 4 * 32 };
    struct gpu_room r;
    uint32_t out[ALL];
    gpu_room_open(&r, 1);
    struct gpu_address to = gpu_room_put(&r, NULL, sizeof out);
    struct emu_test_args args = {.out = (uint32_t *)(uintptr_t)to.at};
    struct gpu_launch how = {.grid = {2, 3, 4}, .block = {8, 2, 2}};
    gpu_must(gpu_room_try(&r, "emu_indices", &how, &args, sizeof args));
    gpu_room_get(&r, out, to, sizeof out);
    for (uint32_t i = 0; i < ALL; i++)
        assert_int_equal(out[i], i);
    gpu_room_close(&r);
}

static void refuses_launches_that_a_device_refuses(void **state)
{
    (void)state;
    struct gpu_room r;
    struct emu_test_args args = {0};
    struct gpu_launch how = {.grid = {1, 1, 1}, .block = {N + 32, 1, 1}};
    gpu_room_open(&r, 1);
    assert_int_equal(gpu_room_try(&r, "emu_reverse", &how, &args, sizeof args).code, ERR_LIMIT);
    how.block[0] = N;
    assert_int_equal(gpu_room_try(&r, "emu_reverse", &how, &args, 4).code, ERR_USAGE);
    assert_int_equal(gpu_room_try(&r, "nothing", &how, &args, sizeof args).code, ERR_NOT_FOUND);
    how.shared_len = 1 << 20;
    assert_int_equal(gpu_room_try(&r, "emu_reverse", &how, &args, sizeof args).code, ERR_LIMIT);
    struct gpu_address a = {0};
    assert_int_equal(r.driver->alloc(r.gpu, &a, (size_t)1 << 40).code, ERR_MEMORY);
    assert_int_equal(a.at, 0);
    gpu_room_close(&r);
}

/* Copies and kernels of two streams, ordered by an event; the host waits for the last alone. */
static void events_order_streams(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct gpu_room r;
        struct gpu_stream *second = NULL;
        struct gpu_event *ready = NULL;
        uint32_t in[N], out[N];
        for (uint32_t i = 0; i < N; i++)
            in[i] = i;
        gpu_room_open(&r, seed);
        gpu_must(r.driver->stream_new(r.gpu, &second));
        gpu_must(r.driver->event_new(r.gpu, &ready));
        struct gpu_address a = gpu_room_put(&r, NULL, sizeof in);
        struct gpu_address b = gpu_room_put(&r, NULL, sizeof in);
        struct gpu_kernel *k = NULL;
        struct emu_test_args args = {(uint32_t *)(uintptr_t)b.at,
                                     (const uint32_t *)(uintptr_t)a.at};
        struct gpu_launch how = {.grid = {1, 1, 1}, .block = {N, 1, 1}, .shared_len = 4 * N};
        gpu_must(r.driver->kernel_get(r.module, &k, "emu_reverse", 4 * N));
        gpu_must(r.driver->copy_to(r.stream, a, in, sizeof in));
        gpu_must(r.driver->event_record(ready, r.stream));
        gpu_must(r.driver->stream_await(second, ready));
        gpu_must(r.driver->launch(second, k, &how, &args, sizeof args));
        gpu_must(r.driver->copy_from(second, out, b, sizeof out));
        gpu_must(r.driver->stream_wait(second));
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(out[i], N - 1 - i);
        r.driver->event_free(ready);
        r.driver->stream_free(second);
        gpu_room_close(&r);
    }
}

static void a_graph_runs_as_often_as_it_is_launched(void **state)
{
    (void)state;
    struct gpu_room r;
    struct gpu_graph *graph = NULL;
    struct gpu_kernel *k = NULL;
    uint32_t in[N], out[N];
    for (uint32_t i = 0; i < N; i++)
        in[i] = i;
    gpu_room_open(&r, 3);
    struct gpu_address a = gpu_room_put(&r, in, sizeof in), b = gpu_room_put(&r, NULL, sizeof in);
    struct emu_test_args args = {(uint32_t *)(uintptr_t)b.at, (const uint32_t *)(uintptr_t)a.at};
    struct gpu_launch how = {.grid = {1, 1, 1}, .block = {N, 1, 1}, .shared_len = 4 * N};
    gpu_must(r.driver->kernel_get(r.module, &k, "emu_reverse", 4 * N));
    gpu_must(r.driver->capture_begin(r.stream));
    gpu_must(r.driver->launch(r.stream, k, &how, &args, sizeof args));
    gpu_must(r.driver->copy(r.stream, a, b, sizeof in));
    gpu_must(r.driver->capture_end(r.stream, &graph));
    gpu_room_get(&r, out, a, sizeof out);
    assert_memory_equal(out, in, sizeof in); /* nothing ran yet */
    for (unsigned times = 1; times <= 3; times++) {
        gpu_must(r.driver->graph_launch(graph, r.stream));
        gpu_room_get(&r, out, a, sizeof out);
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(out[i], times % 2 == 1 ? N - 1 - i : i);
    }
    r.driver->graph_free(graph);
    gpu_room_close(&r);
}

static void a_device_that_failed_stays_failed(void **state)
{
    (void)state;
    struct gpu_room r;
    struct emu_test_args args = {0};
    struct gpu_launch how = {.grid = {1, 1, 1}, .block = {N, 1, 1}, .shared_len = 4 * N};
    struct gpu_address a = {0};
    gpu_room_open(&r, 1);
    args.out = (uint32_t *)(uintptr_t)gpu_room_put(&r, NULL, 4 * N).at;
    assert_int_equal(gpu_room_try(&r, "emu_leaves_early", &how, &args, sizeof args).code, ERR_IO);
    assert_int_equal(r.driver->alloc(r.gpu, &a, 4).code, ERR_IO);
    assert_int_equal(gpu_room_try(&r, "emu_reverse", &how, &args, sizeof args).code, ERR_IO);
    gpu_room_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_barrier_orders_a_block_in_every_order_of_threads),
        cmocka_unit_test(a_missing_barrier_shows),
        cmocka_unit_test(a_buffer_that_is_used_again_too_soon_shows),
        cmocka_unit_test(a_barrier_that_an_ended_thread_was_to_join_is_found),
        cmocka_unit_test(lanes_at_different_calls_are_found),
        cmocka_unit_test(an_operation_that_half_a_warp_joins_is_found),
        cmocka_unit_test(shared_memory_beyond_the_launch_is_found),
        cmocka_unit_test(warps_exchange_and_vote),
        cmocka_unit_test(grids_have_three_dimensions),
        cmocka_unit_test(refuses_launches_that_a_device_refuses),
        cmocka_unit_test(events_order_streams),
        cmocka_unit_test(a_graph_runs_as_often_as_it_is_launched),
        cmocka_unit_test(a_device_that_failed_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
