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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
