/* Prompts whose pages are known already: shared by the choices of one request and by requests with
 * the same salt, and by nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sched_fixture.h"

static void choices_wait_for_their_prompt_and_share_it(void **state)
{
    (void)state;
    struct fixture f;
    struct request *all[3], *later;
    struct engine_params params = plain;
    setup(&f, 16, 8);
    params.n_choices = 3;
    params.max_tokens = 10;
    add_all(&f, &params, 150, all);
    later = add(&f, 200, 4);
    step(&f, 100);
    assert_int_equal(rows_of(&f, all[0]), 100);
    assert_int_equal(f.sched.n_items, 1);
    step(&f, 100);
    assert_int_equal(rows_of(&f, all[0]), 50);
    assert_int_equal(rows_of(&f, later), 50); /* nobody else waits for the choices */
    step(&f, 200);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(rows_of(&f, all[i]), 1);
        assert_int_equal(all[i]->pages.pages[0], all[0]->pages.pages[0]);
        assert_int_equal(all[i]->pages.pages[1], all[0]->pages.pages[1]);
    }
    assert_true(all[1]->pages.pages[2] != all[0]->pages.pages[2]);
    assert_true(all[1]->pages.pages[2] != all[2]->pages.pages[2]);
    assert_int_equal(f.kv.pages[all[0]->pages.pages[0]].n_holders, 3);
    assert_int_equal(f.sched.n_prefix_queries, 0);
    finish(&f, all[0]); /* the prompt stays for the others */
    assert_int_equal(f.kv.pages[all[1]->pages.pages[0]].n_holders, 2);
    finish(&f, later);
    finish(&f, all[2]);
    assert_int_equal(f.kv.n_free, 13);
    finish(&f, all[1]);
    assert_int_equal(f.kv.n_free, 16);
    teardown(&f);
}

static void a_choice_finds_the_prompt_after_its_sibling_has_finished(void **state)
{
    (void)state;
    struct fixture f;
    struct request *all[2];
    struct engine_params params = plain;
    setup(&f, 16, 1);
    params.n_choices = 2;
    params.max_tokens = 100;
    add_all(&f, &params, 150, all);
    for (unsigned i = 0; i < 60; i++)
        step(&f, 512);
    assert_int_equal(all[0]->pages.n, 4);
    finish(&f, all[0]);
    assert_int_equal(f.kv.n_idle, 2); /* the prompt's; of the answer nothing is kept */
    step(&f, 512);
    assert_int_equal(rows_of(&f, all[1]), 150 - 128);
    finish(&f, all[1]);
    assert_int_equal(f.kv.n_free, 16);
    teardown(&f);
}

static void a_known_beginning_is_found_by_the_same_salt_only(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 32, 8);
    struct request *a = add_salted(&f, 200, 1);
    step(&f, 512);
    struct request *same = add_salted(&f, 300, 1), *other = add_salted(&f, 300, 2),
                   *none = add(&f, 300, 4);
    step(&f, 1024);
    assert_int_equal(rows_of(&f, same), 300 - 192);
    assert_int_equal(same->n_cached, 192);
    assert_int_equal(rows_of(&f, other), 300);
    assert_int_equal(rows_of(&f, none), 300);
    assert_int_equal(f.sched.n_prefix_queries, 800);
    assert_int_equal(f.sched.n_prefix_hits, 192);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(same->pages.pages[i], a->pages.pages[i]);
    finish(&f, none);
    assert_int_equal(f.kv.n_idle, 0);
    finish(&f, a);
    finish(&f, same);
    assert_int_equal(f.kv.n_idle, 4);
    teardown(&f);
}

static void the_last_token_is_always_computed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 32, 8);
    struct request *a = add_salted(&f, 128, 1);
    step(&f, 512);
    finish(&f, a);
    assert_int_equal(f.kv.n_idle, 2);
    struct request *b = add_salted(&f, 128, 1), *c = add_salted(&f, 129, 1);
    step(&f, 512);
    assert_int_equal(rows_of(&f, b), 1);
    assert_int_equal(rows_of(&f, c), 1);
    assert_int_equal(b->pages.pages[0], c->pages.pages[0]);
    assert_true(b->pages.pages[1] != c->pages.pages[1]); /* a copy: its last position is written */
    assert_int_equal(f.sched.n_prefix_hits, 127 + 128);
    teardown(&f);
}

/* The page that would be copied is the last one that can be had. */
static void a_prompt_that_fills_the_cache_gives_up_its_own_last_page(void **state)
{
    (void)state;
    struct fixture f;
    struct request *r;
    struct engine_params params = plain;
    setup(&f, 2, 8);
    params.max_tokens = 1;
    params.has_cache_salt = true;
    for (unsigned i = 0; i < 2; i++) {
        add_all(&f, &params, 127, &r);
        assert_false(is_err(request_make_room(r)));
        r->tokens[127] = 0; /* as if it had been generated */
        r->n_tokens = 128;
        step(&f, 512);
        assert_int_equal(rows_of(&f, r), i == 0 ? 128 : 64);
        r->n_tokens = 128;
        finish(&f, r);
        assert_int_equal(f.kv.n_idle, 2);
    }
    teardown(&f);
}

static void a_preempted_request_finds_what_nobody_needed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 6, 4);
    struct request *a = add(&f, 120, 200), *b = add(&f, 190, 60);
    step(&f, 512);
    while (f.sched.n_preempted == 0)
        step(&f, 512);
    assert_int_equal(b->n_computed, 0);
    assert_int_equal(f.kv.n_idle, 3); /* the fourth one, which was not full, is a's now */
    while (f.kv.n_idle > 2)
        step(&f, 512);
    finish(&f, a);
    step(&f, 512);
    assert_int_equal(b->n_computed - rows_of(&f, b), 128);
    assert_int_equal(b->n_cached, 0); /* its own work is no hit */
    finish(&f, b);
    assert_int_equal(f.kv.n_free, 6);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_wait_for_their_prompt_and_share_it),
        cmocka_unit_test(a_choice_finds_the_prompt_after_its_sibling_has_finished),
        cmocka_unit_test(a_known_beginning_is_found_by_the_same_salt_only),
        cmocka_unit_test(the_last_token_is_always_computed),
        cmocka_unit_test(a_prompt_that_fills_the_cache_gives_up_its_own_last_page),
        cmocka_unit_test(a_preempted_request_finds_what_nobody_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
