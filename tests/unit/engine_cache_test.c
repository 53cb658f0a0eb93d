/* What the engine keeps of prompts and who finds it: requests with the same salt, for a while, and
 * nobody else; choices compute their prompt once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

static struct engine_params salted(unsigned max_tokens, uint8_t salt)
{
    struct engine_params p = plain_params(max_tokens);
    p.has_cache_salt = true;
    memset(p.cache_salt, salt, sizeof p.cache_salt);
    return p;
}

/* What somebody who asks can see or measure: rows that were computed, steps that were taken. */
struct view {
    uint64_t n_rows, n_steps, n_hits, n_cached; /* no padding: compared as bytes */
};

static struct view ask(struct engine *e, const uint32_t *prompt, size_t n_prompt,
                       const struct engine_params *p, struct answer *a)
{
    struct engine_stats before, after;
    *a = (struct answer){0};
    engine_stats(e, &before);
    submit(e, prompt, n_prompt, p, a);
    run_all(e);
    engine_stats(e, &after);
    return (struct view){after.n_prompt_tokens - before.n_prompt_tokens,
                         after.n_steps - before.n_steps, after.n_prefix_hits - before.n_prefix_hits,
                         a->n_cached};
}

static void the_same_salt_finds_a_prompt_and_changes_no_bit(void **state)
{
    struct engine *e = open_with(*state, options(2, 4, 50));
    struct engine_params p = salted(10, 1);
    uint32_t prompt[200];
    static struct answer cold, warm, longer;
    random_tokens(prompt, 200, 1);
    struct view v = ask(e, prompt, 150, &p, &cold);
    assert_true(v.n_rows == 150 && v.n_cached == 0 && v.n_hits == 0);
    v = ask(e, prompt, 150, &p, &warm);
    assert_true(v.n_rows == 150 - 128 && v.n_cached == 128 && v.n_hits == 128);
    assert_same_answer(&cold, &warm);
    v = ask(e, prompt, 200, &p, &longer);
    assert_true(v.n_rows == 200 - 128 && v.n_cached == 128);
    buf_cleanup(&cold.text);
    buf_cleanup(&warm.text);
    v = ask(e, prompt, 192, &p, &warm);
    assert_true(v.n_rows == 1 && v.n_cached == 191);
    p.cache_salt[0] ^= 1;
    ask(e, prompt, 192, &p, &cold);
    assert_same_answer(&cold, &warm);
    buf_cleanup(&cold.text);
    buf_cleanup(&warm.text);
    buf_cleanup(&longer.text);
    engine_free(e);
}

/* The next turn of a conversation: prompt and answer come back as the prompt's beginning. */
static void an_answer_is_found_as_part_of_the_next_prompt(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 512));
    struct engine_params p = salted(100, 1);
    uint32_t prompt[200];
    static struct answer first, next, cold;
    random_tokens(prompt, 100, 2);
    ask(e, prompt, 100, &p, &first);
    memcpy(prompt + 100, first.ids, 100 * sizeof *prompt);
    struct view v = ask(e, prompt, 200, &p, &next);
    assert_int_equal(v.n_cached, 192); /* pages that decoding wrote, too */
    engine_free(e);
    e = open_with(*state, options(1, 4, 512));
    ask(e, prompt, 200, &p, &cold);
    assert_same_answer(&cold, &next);
    buf_cleanup(&first.text);
    buf_cleanup(&next.text);
    buf_cleanup(&cold.text);
    engine_free(e);
}

/* Whoever has another salt, or none, computes and waits as if nobody had been there. */
static void nobody_else_can_tell_that_a_prompt_was_there(void **state)
{
    const struct tiny_model *m = *state;
    uint32_t prompt[180];
    random_tokens(prompt, 180, 3);
    struct engine_params victim = salted(5, 1),
                         guesses[] = {salted(5, 2), salted(5, 0), plain_params(5)};
    for (size_t i = 0; i < 3; i++) {
        static struct answer a, b;
        struct engine *asked = open_with(m, options(1, 4, 50));
        struct engine *fresh = open_with(m, options(1, 4, 50));
        ask(asked, prompt, 180, &victim, &a);
        buf_cleanup(&a.text);
        struct view seen = ask(asked, prompt, 180, &guesses[i], &a);
        struct view unseen = ask(fresh, prompt, 180, &guesses[i], &b);
        assert_memory_equal(&seen, &unseen, sizeof seen);
        assert_int_equal(seen.n_rows, 180);
        assert_same_answer(&a, &b);
        buf_cleanup(&a.text);
        buf_cleanup(&b.text);
        engine_free(asked);
        engine_free(fresh);
    }
}

static void a_request_without_salt_leaves_nothing_to_find(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 512));
    struct engine_params p = plain_params(5), with_salt = salted(5, 0);
    uint32_t prompt[150];
    static struct answer a;
    random_tokens(prompt, 150, 4);
    ask(e, prompt, 150, &p, &a);
    buf_cleanup(&a.text);
    assert_int_equal(e->kv.n_free, e->kv.cache.n_pages);
    struct view v = ask(e, prompt, 150, &p, &a);
    buf_cleanup(&a.text);
    assert_int_equal(v.n_rows, 150);
    v = ask(e, prompt, 150, &with_salt, &a);
    assert_int_equal(v.n_rows, 150);
    buf_cleanup(&a.text);
    engine_free(e);
}

static void the_cache_can_be_turned_off(void **state)
{
    struct engine_options o = options(1, 4, 512);
    o.no_prefix_cache = true;
    struct engine *e = open_with(*state, o);
    struct engine_params p = salted(5, 1);
    uint32_t prompt[150];
    static struct answer a;
    random_tokens(prompt, 150, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct view v = ask(e, prompt, 150, &p, &a);
        assert_true(v.n_rows == 150 && v.n_hits == 0);
        buf_cleanup(&a.text);
        assert_int_equal(e->kv.n_free, e->kv.cache.n_pages);
    }
    engine_free(e);
}

static void all_choices_of_a_request_compute_its_prompt_once(void **state)
{
    struct engine *e = open_with(*state, options(2, 8, 64));
    struct engine_params p = plain_params(70);
    uint32_t prompt[150];
    static struct answer choices[5], lone;
    random_tokens(prompt, 150, 6);
    p.temperature = 1;
    p.seed = 5;
    p.choice = 2;
    p.n_choices = 5;
    memset(choices, 0, sizeof choices);
    struct view v = ask(e, prompt, 150, &p, choices);
    assert_int_equal(v.n_rows, 150 + 4); /* and the last token for each other choice */
    p.n_choices = 1;
    for (unsigned i = 0; i < 5; i++) {
        p.choice = 2 + i;
        ask(e, prompt, 150, &p, &lone);
        assert_same_answer(&lone, &choices[i]);
        assert_int_equal(choices[i].seed, 5);
        buf_cleanup(&lone.text);
        buf_cleanup(&choices[i].text);
    }
    assert_int_equal(e->kv.n_free, e->kv.cache.n_pages);
    engine_free(e);
}

static void choices_without_a_seed_have_one_in_common(void **state)
{
    struct engine *e = open_with(*state, options(1, 8, 64));
    struct engine_params p = plain_params(20);
    const uint32_t prompt[] = {1, 2};
    static struct answer a[2];
    memset(a, 0, sizeof a);
    p.temperature = 1;
    p.has_seed = false;
    p.n_choices = 2;
    ask(e, prompt, 2, &p, a);
    assert_true(a[0].seed == a[1].seed);
    assert_memory_not_equal(a[0].ids, a[1].ids, 20 * sizeof *a[0].ids);
    buf_cleanup(&a[0].text);
    buf_cleanup(&a[1].text);
    engine_free(e);
}

static void a_long_prompt_takes_no_token_from_those_that_decode(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 16));
    struct engine_params p = plain_params(100), one = plain_params(1);
    uint32_t prompt[300];
    static struct answer decoding, prefilling;
    decoding = prefilling = (struct answer){0};
    random_tokens(prompt, 300, 7);
    submit(e, prompt, 3, &p, &decoding);
    step(e);
    submit(e, prompt, 300, &one, &prefilling);
    unsigned n_steps = 0;
    for (; prefilling.n == 0; n_steps++) {
        size_t before = decoding.n;
        step(e);
        assert_int_equal(decoding.n, before + 1);
    }
    assert_int_equal(n_steps, 300 / 15);
    run_all(e);
    buf_cleanup(&decoding.text);
    buf_cleanup(&prefilling.text);
    engine_free(e);
}

static void nothing_of_a_prompt_is_left_when_idle(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 64));
    uint32_t prompt[100];
    random_tokens(prompt, 100, 9);
    struct engine_params p = plain_params(20);
    struct answer a = {0};
    p.temperature = 1;
    submit(e, prompt, 100, &p, &a);
    step(e);
    size_t kv_len = kv_cache_page_len(&e->kv.cache) * e->kv.cache.n_pages * sizeof(float);
    size_t table = e->model.max_context * e->config.head_dim;
    assert_false(all_zero(e->kv.cache.data, kv_len));
    run_all(e);
    assert_true(all_zero(e->kv.cache.data, kv_len));
    assert_true(all_zero(e->model.x, e->model.memory_len - table * sizeof(float)));
    assert_true(all_zero(e->logits, engine_logits_size(e)));
    assert_true(all_zero(e->batch_tokens, 64 * sizeof(uint32_t)));
    assert_true(all_zero(e->choices, 4 * sizeof *e->choices));
    buf_cleanup(&a.text);
    engine_free(e);
}

/* Cached pages hold a prompt; they are zeroed when nobody has used them for a while, by the
 * engine's own thread, with no request to wake it. */
static void cached_pages_are_zeroed_after_a_while(void **state)
{
    struct engine_options o = options(1, 4, 64);
    o.cache_idle_s = 1;
    struct engine *e = open_with(*state, o);
    struct engine_params p = salted(5, 1);
    uint32_t prompt[150];
    static struct answer a;
    struct engine_stats stats;
    random_tokens(prompt, 150, 8);
    a = (struct answer){0};
    submit(e, prompt, 150, &p, &a);
    run_all(e);
    engine_stats(e, &stats);
    assert_int_equal(stats.n_pages_cached, 2);
    assert_false(all_zero(e->kv.cache.data, stats.n_pages * page_size()));
    assert_false(is_err(engine_start(e)));
    for (unsigned i = 0; i < 1000 && stats.n_pages_cached > 0; i++) {
        usleep(10000);
        engine_stats(e, &stats);
    }
    assert_int_equal(stats.n_pages_cached, 0);
    assert_int_equal(stats.n_expired, 2);
    assert_true(all_zero(e->kv.cache.data, stats.n_pages * page_size()));
    buf_cleanup(&a.text);
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_CASE(the_same_salt_finds_a_prompt_and_changes_no_bit),
        ENGINE_CASE(an_answer_is_found_as_part_of_the_next_prompt),
        ENGINE_CASE(nobody_else_can_tell_that_a_prompt_was_there),
        ENGINE_CASE(a_request_without_salt_leaves_nothing_to_find),
        ENGINE_CASE(the_cache_can_be_turned_off),
        ENGINE_CASE(all_choices_of_a_request_compute_its_prompt_once),
        ENGINE_CASE(choices_without_a_seed_have_one_in_common),
        ENGINE_CASE(a_long_prompt_takes_no_token_from_those_that_decode),
        ENGINE_CASE(nothing_of_a_prompt_is_left_when_idle),
        ENGINE_CASE(cached_pages_are_zeroed_after_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
