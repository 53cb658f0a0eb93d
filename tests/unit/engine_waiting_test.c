/* What waits holds no more memory than was checked: a flood is refused, with the numbers, and what
 * waited leaves nothing behind however it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

enum { LONG = 32768 };

static size_t failing_len; /* an allocation of so many bytes fails; 0: none does */

void *__real_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each);

/* The linker puts it in the place of calloc, in the engine too. */
void *__wrap_calloc(size_t n, size_t each)
{
    return failing_len > 0 && n * each == failing_len ? NULL : __real_calloc(n, each);
}

static uint64_t waiting_bytes(struct engine *e)
{
    struct engine_stats stats;
    engine_stats(e, &stats);
    return stats.waiting_bytes;
}

static int setup_long(void **state)
{
    static struct tiny_model m;
    struct tiny_spec spec = tiny_default;
    spec.max_positions = LONG;
    tiny_write(&m, &spec);
    *state = &m;
    return 0;
}

/* Submits until one is refused; how many were taken. Their ids: first to last. */
static unsigned flood(struct engine *e, const uint32_t *prompt, size_t n_prompt,
                      enum engine_priority priority, struct answer *a)
{
    struct engine_params p = plain_params(1);
    unsigned n = 0;
    p.priority = priority;
    for (;; n++) {
        struct err err = engine_submit(e, &a->id, prompt, n_prompt, &p, collect, a);
        if (err.code == ERR_BUSY)
            return n;
        assert_false(is_err(err));
    }
}

static void assert_refusal_has_numbers(struct engine *e)
{
    char held[80], most[80];
    snprintf(held, sizeof held, "hold %llu KiB and this one needs ",
             (unsigned long long)waiting_bytes(e) >> 10);
    snprintf(most, sizeof most, "at most %llu KiB may wait; try again later",
             (unsigned long long)e->waiting_max >> 10);
    assert_non_null(strstr(err_message(), held));
    assert_non_null(strstr(err_message(), most));
}

static void a_flood_of_long_prompts_is_refused_and_later_ones_pass(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    static uint32_t prompt[LONG - 1];
    static struct answer a, later;
    a = later = (struct answer){0};
    unsigned n = flood(e, prompt, LONG - 1, ENGINE_INTERACTIVE, &a);
    assert_refusal_has_numbers(e);
    assert_int_equal(e->waiting_max, REQUEST_WAITING_LEN);
    assert_true(n > 400 && n < 480); /* of 144 KiB each */
    assert_true(waiting_bytes(e) <= e->waiting_max);
    assert_true(waiting_bytes(e) > e->waiting_max - (150 << 10));
    for (uint64_t id = 1; id <= n; id++)
        engine_cancel(e, id);
    while (a.n_ends < n)
        step(e);
    assert_int_equal(waiting_bytes(e), 0);
    struct engine_params p = plain_params(2);
    submit(e, prompt, 3, &p, &later);
    run_all(e);
    assert_int_equal(later.finish, ENGINE_LENGTH);
    assert_int_equal(waiting_bytes(e), 0);
    buf_cleanup(&later.text);
    engine_free(e);
}

/* The limit is each class's own, and what is taken in counts before and after a step saw it. */
static void waiting_batch_work_takes_no_memory_from_interactive_requests(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    uint32_t prompt[100] = {0};
    static struct answer a;
    a = (struct answer){0};
    e->waiting_max = 100 << 10;
    unsigned n = flood(e, prompt, 100, ENGINE_BATCH, &a);
    assert_refusal_has_numbers(e);
    assert_true(n > 20 && n < 300);
    assert_true(flood(e, prompt, 100, ENGINE_INTERACTIVE, &a) == n);
    step(e); /* one runs */
    assert_int_equal(flood(e, prompt, 100, ENGINE_INTERACTIVE, &a), 1);
    assert_int_equal(flood(e, prompt, 100, ENGINE_BATCH, &a), 0);
    assert_true(waiting_bytes(e) <= 2 * e->waiting_max);
    run_all(e);
    assert_int_equal(a.n_ends, 2 * n + 1);
    assert_int_equal(waiting_bytes(e), 0);
    assert_int_equal(flood(e, prompt, 100, ENGINE_BATCH, &a), n);
    buf_cleanup(&a.text);
    engine_free(e);
}

/* Those that wait hold their prompt; only one that runs has room for a long answer. */
static void room_for_an_answer_is_not_held_while_it_waits(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    const uint32_t prompt[] = {1};
    struct engine_params p = plain_params(0);
    struct answer a = {0}, b = {0};
    submit(e, prompt, 1, &p, &a);
    submit(e, prompt, 1, &p, &b);
    assert_true(waiting_bytes(e) < 2 * 2048);
    step(e);
    assert_int_equal(e->sched.n_running, 1);
    assert_int_equal(e->sched.running[0]->room, LONG);
    assert_true(waiting_bytes(e) > 0 && waiting_bytes(e) < 2048);
    engine_cancel(e, a.id);
    engine_cancel(e, b.id);
    run_all(e);
    assert_int_equal(waiting_bytes(e), 0);
    buf_cleanup(&a.text);
    buf_cleanup(&b.text);
    engine_free(e);
}

/* Two that together need more pages than there are: one makes way, counts as waiting with all that
 * it has, and comes back. */
static void one_that_makes_way_counts_as_waiting(void **state)
{
    struct engine_options o = options(1, 2, 64);
    o.kv_bytes = 4 * page_size();
    struct engine *e = open_with(*state, o);
    struct engine_params p = plain_params(80);
    uint32_t prompt[100] = {0};
    static struct answer a, b;
    a = b = (struct answer){0};
    submit(e, prompt, 100, &p, &a);
    submit(e, prompt, 100, &p, &b);
    uint64_t largest = 0, n_preempted = 0;
    while (step(e)) {
        struct engine_stats stats;
        engine_stats(e, &stats);
        if (stats.n_preempted > n_preempted)
            largest = stats.waiting_bytes;
        n_preempted = stats.n_preempted;
    }
    assert_true(n_preempted > 0 && largest > 180 * sizeof(uint32_t));
    assert_true(a.finish == ENGINE_LENGTH && b.finish == ENGINE_LENGTH);
    assert_int_equal(waiting_bytes(e), 0);
    buf_cleanup(&a.text);
    buf_cleanup(&b.text);
    engine_free(e);
}

static void without_memory_for_its_answer_one_fails_and_others_go_on(void **state)
{
    struct engine *e = open_with(*state, options(1, 2, 64));
    uint32_t prompt[70] = {0};
    struct engine_params few = plain_params(3), many = plain_params(77);
    static struct answer fails[2], passes;
    passes = fails[0] = fails[1] = (struct answer){0};
    many.n_choices = 2;
    submit(e, prompt, 70, &many, fails);
    submit(e, prompt, 70, &few, &passes);
    failing_len = (70 + 77) * sizeof(uint32_t);
    run_all(e);
    failing_len = 0;
    assert_int_equal(fails[0].finish, ENGINE_FAILED);
    assert_int_equal(fails[1].finish, ENGINE_FAILED);
    assert_int_equal(fails[0].n_ends + fails[1].n_ends, 2);
    assert_int_equal(passes.finish, ENGINE_LENGTH);
    assert_int_equal(waiting_bytes(e), 0);
    assert_int_equal(e->kv.n_free, e->kv.cache.n_pages);
    buf_cleanup(&passes.text);
    engine_free(e);
}

/* The same model with more requests needs more memory, by what they and those that wait may hold.
 */
static void the_memory_check_counts_the_requests(void **state)
{
    struct engine_options o = options(1, 1, 64);
    struct engine *e = open_with(*state, o);
    uint64_t running = request_running_size(LONG, tiny_default.vocab_size);
    assert_true(running > LONG * sizeof(uint32_t));
    assert_int_equal(engine_requests_size(e), 2 * (REQUEST_WAITING_LEN + running));
    engine_free(e);
    o.max_requests = 65536;
    o.kv_bytes = LONG / 64 * page_size();
    e = NULL;
    uint64_t need = 65536 * 2 * running;
    if (memory_available() > need)
        skip();
    assert_int_equal(engine_open(&e, ((struct tiny_model *)*state)->dir, &o).code, ERR_MEMORY);
    assert_non_null(strstr(err_message(), "MiB of requests are needed"));
}

#define LONG_CASE(f) cmocka_unit_test_setup_teardown(f, setup_long, engine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LONG_CASE(a_flood_of_long_prompts_is_refused_and_later_ones_pass),
        LONG_CASE(waiting_batch_work_takes_no_memory_from_interactive_requests),
        LONG_CASE(room_for_an_answer_is_not_held_while_it_waits),
        ENGINE_CASE(one_that_makes_way_counts_as_waiting),
        ENGINE_CASE(without_memory_for_its_answer_one_fails_and_others_go_on),
        LONG_CASE(the_memory_check_counts_the_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
