/* One request's answer on a tiny random model: its tokens, its text, its end. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

static void a_seed_repeats_an_answer_and_is_reported(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 64));
    const uint32_t prompt[] = {'a', 'b'};
    struct engine_params p = plain_params(40), choice;
    static struct answer a[4];
    memset(a, 0, sizeof a);
    p.temperature = 1;
    p.has_seed = false;
    submit(e, prompt, 2, &p, &a[0]);
    submit(e, prompt, 2, &p, &a[1]);
    run_all(e);
    assert_true(a[0].seed != a[1].seed);
    assert_memory_not_equal(a[0].ids, a[1].ids, sizeof a[0].ids);
    p.has_seed = true;
    p.seed = a[0].seed;
    choice = p;
    choice.choice = 1;
    submit(e, prompt, 2, &p, &a[2]);
    submit(e, prompt, 2, &choice, &a[3]);
    run_all(e);
    assert_same_answer(&a[0], &a[2]);
    assert_memory_not_equal(a[0].ids, a[3].ids, sizeof a[0].ids);
    for (size_t i = 0; i < 4; i++)
        buf_cleanup(&a[i].text);
    engine_free(e);
}

static void texts_are_whole_characters(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 64));
    struct engine_params p = plain_params(200);
    const uint32_t prompt[] = {0xf0, 0x9f};
    struct answer a = {0};
    p.temperature = 2; /* random bytes: mostly no characters */
    submit(e, prompt, 2, &p, &a);
    run_all(e);
    assert_true(a.text_was_valid);
    assert_non_null(memmem(a.text.data, a.text.len, "\xef\xbf\xbd", 3));
    buf_cleanup(&a.text);
    engine_free(e);
}

static void a_stop_string_over_several_tokens_ends_the_answer(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 64));
    struct engine_params p = plain_params(200);
    const uint32_t prompt[] = {'x'};
    static struct answer all, cut;
    all = cut = (struct answer){0};
    p.temperature = 1;
    p.seed = 17;
    submit(e, prompt, 1, &p, &all);
    run_all(e);
    /* Five bytes of ASCII from its middle: five tokens here. */
    size_t at = 20;
    while (at + 5 < all.text.len &&
           !(all.text.data[at] < 128 && all.text.data[at + 1] < 128 && all.text.data[at + 2] < 128))
        at++;
    assert_true(at + 5 < all.text.len);
    char stop[4] = {0};
    memcpy(stop, all.text.data + at, 3);
    const char *stops[] = {"never said", stop};
    p.stop = stops;
    p.n_stop = 2;
    submit(e, prompt, 1, &p, &cut);
    run_all(e);
    assert_int_equal(cut.finish, ENGINE_STOP);
    const uint8_t *first = memmem(all.text.data, all.text.len, stop, 3);
    assert_int_equal(cut.text.len, (size_t)(first - all.text.data));
    assert_memory_equal(cut.text.data, all.text.data, cut.text.len);
    assert_true(cut.n < all.n);
    buf_cleanup(&all.text);
    buf_cleanup(&cut.text);
    engine_free(e);
}

static void an_end_token_ends_the_answer_unless_ignored(void **state)
{
    const struct tiny_model *m = *state;
    struct engine_params p = plain_params(30);
    const uint32_t prompt[] = {'q', 'r'};
    struct answer free_run = {0}, ended = {0}, ignored = {0};
    struct engine *e = open_with(m, options(1, 4, 64));
    submit(e, prompt, 2, &p, &free_run);
    run_all(e);
    engine_free(e);
    assert_int_equal(free_run.finish, ENGINE_LENGTH);
    size_t at = 0; /* the first token that is not the first one again */
    while (free_run.ids[at] == free_run.ids[0])
        at++;
    json_t *generation = json_pack("{s:[i,i]}", "eos_token_id", TINY_EOS, (int)free_run.ids[at]);
    tiny_write_json(m, "generation_config.json", generation);
    json_decref(generation);
    e = open_with(m, options(1, 4, 64));
    submit(e, prompt, 2, &p, &ignored);
    p.ignore_eos = false;
    submit(e, prompt, 2, &p, &ended);
    run_all(e);
    assert_int_equal(ended.finish, ENGINE_STOP);
    assert_int_equal(ended.n, at + 1);
    assert_int_equal(ended.n_generated, at + 1);
    assert_int_equal(ended.n_prompt, 2);
    assert_true(ended.text.len < free_run.text.len);
    assert_same_answer(&free_run, &ignored);
    buf_cleanup(&free_run.text);
    buf_cleanup(&ended.text);
    buf_cleanup(&ignored.text);
    engine_free(e);
}

struct alternation {
    size_t n_words;
    pthread_t stepping; /* the only thread that may ask */
};

/* Even tokens behind odd ones, odd ones behind even ones. */
static void alternate(void *context, unsigned choice, const uint32_t *answer, size_t n_answer,
                      uint32_t *allowed)
{
    const struct alternation *a = context;
    assert_int_equal(choice, 2);
    assert_true(pthread_equal(pthread_self(), a->stepping));
    for (size_t i = 0; i < a->n_words && n_answer > 0; i++)
        allowed[i] &= answer[n_answer - 1] % 2 == 1 ? 0x55555555 : 0xaaaaaaaa;
}

static void a_mask_says_which_tokens_may_come_next(void **state)
{
    struct engine *e = open_with(*state, options(2, 2, 64));
    struct alternation by_turns = {(e->config.vocab_size + 31) / 32, pthread_self()};
    const uint32_t prompt[] = {1, 2};
    struct engine_params p = plain_params(12);
    struct answer masked = {0}, free_run = {0};
    p.choice = 2;
    submit(e, prompt, 2, &p, &free_run);
    p.mask = alternate;
    p.mask_context = &by_turns;
    submit(e, prompt, 2, &p, &masked);
    run_all(e);
    assert_int_equal(masked.n, 12);
    assert_int_equal(masked.ids[0], free_run.ids[0]);
    for (size_t i = 1; i < masked.n; i++)
        assert_int_not_equal(masked.ids[i] % 2, masked.ids[i - 1] % 2);
    assert_memory_not_equal(masked.ids, free_run.ids, sizeof masked.ids[0] * 12);
    buf_cleanup(&masked.text);
    buf_cleanup(&free_run.text);
    engine_free(e);
}

static void an_answer_ends_when_the_context_is_full(void **state)
{
    struct engine_options o = options(1, 2, 64);
    o.max_context = 100;
    struct engine *e = open_with(*state, o);
    uint32_t prompt[101];
    random_tokens(prompt, 101, 6);
    struct engine_params p = plain_params(0);
    struct answer a = {0};
    submit(e, prompt, 90, &p, &a);
    run_all(e);
    assert_int_equal(a.finish, ENGINE_LENGTH);
    assert_int_equal(a.n, 10);
    assert_int_equal(engine_submit(e, &a.id, prompt, 100, &p, collect, &a).code, ERR_LIMIT);
    assert_non_null(strstr(err_message(), "100"));
    p.max_tokens = 11;
    assert_int_equal(engine_submit(e, &a.id, prompt, 90, &p, collect, &a).code, ERR_LIMIT);
    buf_cleanup(&a.text);
    engine_free(e);
}

static void logprobs_come_when_asked_for(void **state)
{
    struct engine *e = open_with(*state, options(1, 4, 64));
    struct engine_params p = plain_params(10);
    const uint32_t prompt[] = {'l'};
    struct answer with = {0}, without = {0};
    submit(e, prompt, 1, &p, &without);
    p.logprobs = true;
    p.n_logprobs = 1;
    submit(e, prompt, 1, &p, &with);
    run_all(e);
    for (size_t i = 0; i < 10; i++) {
        assert_true(with.logprobs[i] < 0.0f && with.logprobs[i] > -20.0f);
        assert_int_equal(with.top[i].id, with.ids[i]); /* greedy: the best one */
        assert_true(with.top[i].logprob == with.logprobs[i]);
        assert_true(without.logprobs[i] == 0.0f && without.top[i].id == 0);
    }
    buf_cleanup(&with.text);
    buf_cleanup(&without.text);
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_CASE(a_seed_repeats_an_answer_and_is_reported),
        ENGINE_CASE(texts_are_whole_characters),
        ENGINE_CASE(a_stop_string_over_several_tokens_ends_the_answer),
        ENGINE_CASE(an_end_token_ends_the_answer_unless_ignored),
        ENGINE_CASE(a_mask_says_which_tokens_may_come_next),
        ENGINE_CASE(an_answer_ends_when_the_context_is_full),
        ENGINE_CASE(logprobs_come_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
