/* The plan of a step: decode first, prompts in chunks, first come first served, batch work last;
 * the last in this order gives up its pages, and pages come back zeroed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sched_fixture.h"
#include "tests/unit/tiny_model.h"

static void prompts_come_in_chunks_in_order(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 4);
    struct request *a = add(&f, 100, 10), *b = add(&f, 50, 10);
    step(&f, 60);
    assert_int_equal(rows_of(&f, a), 60);
    assert_int_equal(rows_of(&f, b), 0);
    step(&f, 60);
    assert_int_equal(rows_of(&f, a), 40);
    assert_int_equal(rows_of(&f, b), 20);
    teardown(&f);
}

static void decoding_goes_before_prompts(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 4);
    struct request *a = add(&f, 3, 10);
    step(&f, 8);
    struct request *b = add(&f, 100, 10);
    step(&f, 8);
    assert_int_equal(rows_of(&f, a), 1);
    assert_int_equal(rows_of(&f, b), 7);
    assert_ptr_equal(f.sched.items[0].request, a);
    teardown(&f);
}

static void no_more_run_than_allowed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 2);
    add(&f, 3, 10);
    add(&f, 3, 10);
    add(&f, 3, 10);
    step(&f, 100);
    assert_int_equal(f.sched.n_items, 2);
    assert_int_equal(sched_n_waiting(&f.sched), 1);
    teardown(&f);
}

static void the_youngest_gives_up_its_pages_and_starts_over_first(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4, 4); /* 256 tokens */
    struct request *a = add(&f, 63, 193), *b = add(&f, 63, 100), *c = NULL;
    step(&f, 512);
    c = add(&f, 63, 100);
    step(&f, 512);
    assert_int_equal(f.sched.n_running, 3);
    assert_int_equal(f.kv.n_free, 1);
    for (int i = 0; i < 3; i++) /* a takes the last page, then b needs c's */
        step(&f, 512);
    assert_int_equal(f.sched.n_preempted, 1);
    assert_int_equal(f.sched.n_running, 2);
    assert_ptr_equal(f.sched.waiting[ENGINE_INTERACTIVE].first, c);
    assert_int_equal(c->n_computed, 0);
    assert_int_equal(c->pages.n, 0);
    assert_true(rows_of(&f, a) == 1 && rows_of(&f, b) == 1);
    teardown(&f);
}

static void the_oldest_always_advances(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 3, 8); /* 192 tokens for eight requests that want up to 192 each */
    struct request *all[8];
    for (size_t i = 0; i < 8; i++)
        all[i] = add(&f, 1 + 20 * i, (unsigned)(192 - (1 + 20 * i)));
    for (size_t i = 0; i < 8; i++) {
        unsigned n_steps = 0;
        while (all[i]->n_tokens < all[i]->n_max) {
            size_t before = all[i]->n_computed;
            step(&f, 16);
            assert_true(all[i]->n_computed > before);
            assert_true(++n_steps < 300);
        }
        finish(&f, all[i]);
    }
    assert_int_equal(f.sched.n_running, 0);
    teardown(&f);
}

static void pages_come_back_zeroed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 8, 4);
    struct request *a = add(&f, 200, 10);
    step(&f, 512);
    assert_true(*kv_cache_keys(&f.kv.cache, a->pages.pages[3], 0) == 1.0f);
    finish(&f, a);
    assert_int_equal(f.kv.n_free, 8);
    assert_all_zero(&f.kv);
    teardown(&f);
}

static void finds_waiting_and_running_requests_and_nothing_else(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 8, 1);
    struct request *a = add(&f, 2, 10), *b = add(&f, 2, 10), *c = add(&f, 2, 10);
    step(&f, 512);
    assert_null(sched_find(&f.sched, 99));
    assert_ptr_equal(sched_find(&f.sched, 2), b);
    assert_ptr_equal(sched_find(&f.sched, 1), a);
    finish(&f, b);
    finish(&f, a);
    assert_null(sched_find(&f.sched, 1));
    assert_null(sched_find(&f.sched, 2));
    step(&f, 512);
    assert_int_equal(rows_of(&f, c), 2);
    teardown(&f);
}

static void a_decoding_request_gets_a_row_in_every_step_of_a_long_prefill(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 128, 4);
    struct request *a = add(&f, 3, 1000), *b = add(&f, 4000, 10);
    step(&f, 16);
    for (unsigned i = 0; b->n_computed < 4000; i++) {
        step(&f, 16);
        assert_int_equal(rows_of(&f, a), 1);
        assert_true(rows_of(&f, b) == 15 || b->n_computed == 4000);
        assert_true(i < 300);
    }
    teardown(&f);
}

static void batch_work_gets_the_rows_that_are_left(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 4);
    struct request *batch = add_batch(&f, 100, 10);
    step(&f, 40);
    assert_int_equal(rows_of(&f, batch), 40);
    struct request *a = add(&f, 70, 10);
    step(&f, 40);
    assert_int_equal(rows_of(&f, a), 40);
    assert_int_equal(rows_of(&f, batch), 0);
    step(&f, 40);
    assert_int_equal(rows_of(&f, a), 30);
    assert_int_equal(rows_of(&f, batch), 10);
    step(&f, 40);
    assert_int_equal(rows_of(&f, a), 1);
    assert_int_equal(rows_of(&f, batch), 39);
    assert_ptr_equal(f.sched.items[0].request, a);
    assert_int_equal(f.sched.n_preempted, 0);
    teardown(&f);
}

static void interactive_requests_are_admitted_before_older_batch_work(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 1);
    add(&f, 3, 10);
    step(&f, 40);
    struct request *batch = add_batch(&f, 3, 10), *a = add(&f, 3, 10), *b = add(&f, 3, 10);
    finish(&f, f.sched.running[0]);
    step(&f, 40);
    assert_int_equal(rows_of(&f, a), 3);
    finish(&f, a);
    step(&f, 40);
    assert_int_equal(rows_of(&f, b), 3);
    finish(&f, b);
    step(&f, 40);
    assert_int_equal(rows_of(&f, batch), 3);
    teardown(&f);
}

static void batch_work_gives_up_its_place_and_its_pages(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4, 2);
    struct request *x = add_batch(&f, 60, 100), *y = add_batch(&f, 60, 100);
    step(&f, 512);
    struct request *a = add(&f, 60, 4);
    step(&f, 512);
    assert_int_equal(rows_of(&f, a), 60); /* y's place */
    assert_int_equal(rows_of(&f, x), 1);
    assert_int_equal(y->pages.n, 0);
    assert_ptr_equal(f.sched.waiting[ENGINE_BATCH].first, y);
    struct request *b = add(&f, 200, 4);
    finish(&f, a);
    step(&f, 512);
    assert_int_equal(rows_of(&f, b), 200); /* x's pages, y is not let in either */
    assert_int_equal(f.sched.n_running, 1);
    assert_ptr_equal(f.sched.waiting[ENGINE_BATCH].first, x);
    assert_ptr_equal(x->next, y);
    assert_int_equal(f.sched.n_preempted, 2);
    finish(&f, b);
    step(&f, 512);
    assert_true(rows_of(&f, x) > 0 && rows_of(&f, y) > 0);
    teardown(&f);
}

static void an_older_batch_request_goes_before_a_younger_interactive_one_does(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4, 4);
    struct request *x = add_batch(&f, 60, 100), *a = add(&f, 60, 100), *b = add(&f, 60, 100);
    step(&f, 512);
    assert_int_equal(f.sched.n_running, 3);
    while (f.sched.n_preempted == 0)
        step(&f, 512);
    assert_int_equal(x->pages.n, 0);
    assert_true(a->pages.n == 2 && b->pages.n == 2);
    teardown(&f);
}

/* Whoever waits for rows, pages, a place, a sibling or a token ahead, cancelled or not: something
 * is planned in every step or on its way, and all end. */
struct crowd {
    struct fixture f;
    struct request *all[64];
    size_t n;
};

static void remove_from(struct crowd *c, size_t i)
{
    finish(&c->f, c->all[i]);
    c->all[i] = c->all[--c->n];
}

static void allow_all(void *context, unsigned choice, const uint32_t *answer, size_t n_answer,
                      uint32_t *allowed)
{
    (void)context;
    (void)choice;
    (void)answer;
    (void)n_answer;
    (void)allowed;
}

static void add_some(struct crowd *c, uint64_t *random)
{
    struct engine_params params = plain;
    params.n_choices = 1 + (unsigned)(tiny_random(random) % 4);
    params.max_tokens = 1 + (unsigned)(tiny_random(random) % 150);
    params.priority = tiny_random(random) % 2 == 0 ? ENGINE_BATCH : ENGINE_INTERACTIVE;
    params.has_cache_salt = tiny_random(random) % 3 == 0;
    params.mask = tiny_random(random) % 4 == 0 ? allow_all : NULL;
    add_all(&c->f, &params, 1 + tiny_random(random) % 200, &c->all[c->n]);
    c->n += params.n_choices;
}

static void step_crowd(struct crowd *c, size_t budget)
{
    size_t n_rows = 0, n_flights = c->f.sched.n_flights;
    step(&c->f, budget);
    for (size_t i = 0; i < c->f.sched.n_items; i++)
        n_rows += c->f.sched.items[i].n_rows;
    assert_in_range(n_rows, c->n > 0 && n_flights == 0, budget);
    assert_int_equal(c->f.sched.n_running + sched_n_waiting(&c->f.sched), c->n);
    for (size_t i = c->n; i-- > 0;)
        if (c->all[i]->n_tokens == c->all[i]->n_max)
            remove_from(c, i);
}

static void whatever_comes_something_is_planned_and_all_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct crowd c = {.n = 0};
        uint64_t random = seed;
        size_t n_steps = 0, budget = 1 + tiny_random(&random) % 130;
        setup(&c.f, 6 + tiny_random(&random) % 10, 1 + tiny_random(&random) % 8);
        c.f.depth_less_one = seed % 2;
        for (; n_steps < 300; n_steps++) {
            if (tiny_random(&random) % 8 == 0 && c.n < 60)
                add_some(&c, &random);
            if (tiny_random(&random) % 16 == 0 && c.n > 0)
                remove_from(&c, tiny_random(&random) % c.n);
            step_crowd(&c, budget);
        }
        for (; c.n > 0; n_steps++) {
            assert_true(n_steps < 100000);
            step_crowd(&c, budget);
        }
        teardown(&c.f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_chunks_in_order),
        cmocka_unit_test(decoding_goes_before_prompts),
        cmocka_unit_test(no_more_run_than_allowed),
        cmocka_unit_test(the_youngest_gives_up_its_pages_and_starts_over_first),
        cmocka_unit_test(the_oldest_always_advances),
        cmocka_unit_test(pages_come_back_zeroed),
        cmocka_unit_test(finds_waiting_and_running_requests_and_nothing_else),
        cmocka_unit_test(a_decoding_request_gets_a_row_in_every_step_of_a_long_prefill),
        cmocka_unit_test(batch_work_gets_the_rows_that_are_left),
        cmocka_unit_test(interactive_requests_are_admitted_before_older_batch_work),
        cmocka_unit_test(batch_work_gives_up_its_place_and_its_pages),
        cmocka_unit_test(an_older_batch_request_goes_before_a_younger_interactive_one_does),
        cmocka_unit_test(whatever_comes_something_is_planned_and_all_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
