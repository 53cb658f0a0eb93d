/* Plans that are made before the tokens of the one ahead are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sched_fixture.h"

static void setup_two_deep(struct fixture *f, size_t n_pages, size_t max_running)
{
    setup(f, n_pages, max_running);
    f->depth_less_one = 1;
}

static void mask(void *context, unsigned choice, const uint32_t *answer, size_t n_answer,
                 uint32_t *allowed)
{
    (void)context;
    (void)choice;
    (void)answer;
    (void)n_answer;
    (void)allowed;
}

static struct request *add_masked(struct fixture *f, size_t n_prompt, unsigned max_tokens)
{
    struct engine_params params = plain;
    struct request *r = NULL;
    params.max_tokens = max_tokens;
    params.mask = mask;
    add_all(f, &params, n_prompt, &r);
    return r;
}

static void the_row_of_a_token_that_is_not_known_is_planned(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 4, 4);
    struct request *r = add(&f, 3, 10);
    step(&f, 64);
    assert_int_equal(rows_of(&f, r), 3);
    assert_true(r->n_tokens == 3 && r->n_ahead == 1 && f.sched.n_flights == 1);
    for (size_t i = 0; i < 8; i++) {
        step(&f, 64);
        assert_int_equal(rows_of(&f, r), 1);
        assert_int_equal(r->n_computed, 4 + i); /* of which the last was not known then */
        assert_true(r->n_tokens == 4 + i && r->n_ahead == 1);
    }
    finish(&f, r);
    teardown(&f);
}

static void an_answer_that_its_length_ends_gets_no_row_too_many(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 4, 4);
    struct request *r = add(&f, 3, 4);
    size_t n_rows = 0;
    for (size_t i = 0; r->n_tokens < r->n_max; i++) {
        assert_true(i < 10);
        step(&f, 64);
        n_rows += rows_of(&f, r);
    }
    assert_int_equal(n_rows, 3 + 4 - 1);
    finish(&f, r);
    teardown(&f);
}

static void a_mask_waits_for_its_token_and_stalls_nobody(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 4, 4);
    struct request *masked = add_masked(&f, 3, 20), *r = add(&f, 3, 20);
    size_t n_masked = 0;
    step(&f, 64);
    for (size_t i = 0; i < 10; i++) {
        bool ahead = masked->n_ahead > 0;
        step(&f, 64);
        assert_int_equal(rows_of(&f, r), 1);
        assert_int_equal(rows_of(&f, masked), ahead ? 0 : 1);
        n_masked += rows_of(&f, masked);
    }
    assert_int_equal(n_masked, 5); /* every other step */
    finish(&f, masked);
    finish(&f, r);
    teardown(&f);
}

/* What its flights computed for it goes to nobody; its pages are zero for the next one. */
static void who_ends_leaves_the_flights(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 2, 4);
    struct request *a = add(&f, 60, 60), *b = add(&f, 5, 30);
    step(&f, 128);
    step(&f, 128);
    assert_int_equal(f.sched.n_flights, 1);
    assert_int_equal(f.sched.flights[0].n_items, 2);
    finish(&f, a);
    assert_null(f.sched.flights[0].items[0].request);
    assert_ptr_equal(f.sched.flights[0].items[1].request, b);
    struct request *c = add(&f, 40, 4);
    step(&f, 128);
    assert_int_equal(rows_of(&f, c), 40);
    assert_int_equal(b->n_tokens, 7);
    assert_int_equal(c->n_tokens, 40);
    finish(&f, b);
    finish(&f, c);
    teardown(&f);
}

static void who_gives_up_its_pages_waits_for_its_token_before_it_starts_over(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 2, 4);
    struct request *a = add(&f, 60, 60), *b = add(&f, 62, 60);
    while (b->n_computed > 0 || b->n_tokens == 62)
        step(&f, 256);
    assert_int_equal(f.sched.n_preempted, 1);
    size_t n_tokens = b->n_tokens + b->n_ahead;
    finish(&f, a);
    while (b->n_computed == 0)
        step(&f, 256);
    assert_int_equal(rows_of(&f, b), n_tokens);
    finish(&f, b);
    teardown(&f);
}

/* The second page of the prompt and answer is whole when its last token is known and computed. */
static void a_page_is_found_when_all_of_its_tokens_are_known(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 6, 4);
    struct engine_params params = plain;
    struct request *r = NULL;
    params.max_tokens = 80;
    params.has_cache_salt = true;
    add_all(&f, &params, 100, &r);
    step(&f, 256);
    assert_int_equal(r->n_published, 1);
    while (r->n_tokens < 128) {
        step(&f, 256);
        assert_int_equal(r->n_published, 1);
    }
    assert_int_equal(r->n_computed, 128); /* the row of a token that was not known then */
    step(&f, 256);
    assert_int_equal(r->n_published, 2);
    finish(&f, r);
    teardown(&f);
}

static void lost_flights_are_computed_again(void **state)
{
    (void)state;
    struct fixture f;
    setup_two_deep(&f, 2, 4);
    struct request *a = add(&f, 60, 60), *b = add(&f, 62, 60);
    while (f.sched.n_preempted == 0)
        step(&f, 256);
    sched_lose_flights(&f.sched);
    assert_true(f.sched.n_flights == 0 && a->n_ahead == 0 && b->n_ahead == 0);
    finish(&f, a);
    size_t n_tokens = b->n_tokens;
    step(&f, 256);
    assert_int_equal(rows_of(&f, b), n_tokens);
    finish(&f, b);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_row_of_a_token_that_is_not_known_is_planned),
        cmocka_unit_test(an_answer_that_its_length_ends_gets_no_row_too_many),
        cmocka_unit_test(a_mask_waits_for_its_token_and_stalls_nobody),
        cmocka_unit_test(who_ends_leaves_the_flights),
        cmocka_unit_test(who_gives_up_its_pages_waits_for_its_token_before_it_starts_over),
        cmocka_unit_test(a_page_is_found_when_all_of_its_tokens_are_known),
        cmocka_unit_test(lost_flights_are_computed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
