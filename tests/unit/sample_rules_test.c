/* Sampling, step 1: penalties, biases, bans and masks do what is written, in the order written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sample_fixture.h"

static void penalties_follow_their_definitions(void **state)
{
    (void)state;
    struct engine_params p = greedy;
    const float answer[N] = {4.0f, 3.9f, 3.8f, 3.6f, 0, 0, 0, 0};
    p.presence_penalty = 0.15f; /* 3.85, 3.75, 3.8 (in the prompt only: not touched) */
    assert_int_equal(greedy_after(answer, &p), 0);
    p.presence_penalty = 0.3f;
    assert_int_equal(greedy_after(answer, &p), 2);
    p.presence_penalty = 0;
    p.frequency_penalty = 0.11f; /* 0 and 1 twice each: 3.78, 3.68 */
    assert_int_equal(greedy_after(answer, &p), 2);
    p.frequency_penalty = 0;
    p.repetition_penalty = 1.2f; /* prompt too: 3.33, 3.25, 3.17 against 3.6 */
    assert_int_equal(greedy_after(answer, &p), 3);
    const float negative[N] = {-1.0f, -9, -9, -1.1f, -9, -9, -9, -9};
    assert_int_equal(greedy_after(negative, &p), 3); /* -1 becomes -1.2 */
}

/* Two roundings, in this order: a rival that has the result to the bit is its equal. */
static void penalties_round_in_the_written_order(void **state)
{
    (void)state;
    struct engine_params p = greedy;
    unsigned n_tried = 0;
    p.presence_penalty = 0.3f;
    for (float frequency = 0.01f; frequency < 1; frequency += 0.01f) {
        p.frequency_penalty = frequency;
        float z = (4.1f - frequency * 2.0f) - 0.3f; /* 1 is there twice */
        if (z == 4.1f - (frequency * 2.0f + 0.3f))
            continue; /* could not tell one from the other */
        const float higher[N] = {-9, 4.1f, -9, z, -9, -9, -9, -9};
        assert_int_equal(greedy_after(higher, &p), 1);
        float rival = (z + 0.3f) + frequency * 2.0f; /* 0 is there twice as well */
        if ((rival - frequency * 2.0f) - 0.3f != z)
            continue;
        const float lower[N] = {rival, 4.1f, -9, -9, -9, -9, -9, -9};
        assert_int_equal(greedy_after(lower, &p), 0);
        n_tried++;
    }
    assert_true(n_tried > 3);
}

static void a_bias_is_added_to_a_logit(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 3, -3, 2.5f, 1.5f};
    const struct engine_bias biases[] = {{0, 4}, {3, -100}, {9999, 100}};
    struct engine_params p = greedy;
    struct sampler *s = sampler_of(N);
    p.logit_bias = biases;
    p.n_logit_bias = 3;
    assert_int_equal(sample_at(s, logits, &p, 1, 1), 0);
    p.n_logit_bias = 0;
    assert_int_equal(sample_at(s, logits, &p, 1, 1), 3);
    p.temperature = 1; /* 3 and 4 had 0.3 each; one of them keeps e^-100 of it */
    p.n_logit_bias = 3;
    assert_only(&p, logits, 0xff & ~(1u << 3));
    sampler_free(s);
}

/* The bias is what was asked for, whatever the repetition penalty does to the logit. */
static void a_bias_is_not_scaled_by_a_penalty(void **state)
{
    (void)state;
    const float logits[N] = {-1, 2.5f, 0, 0, 0, 0, 0, 0};
    const struct engine_bias biases[] = {{0, 5}};
    struct engine_params p = greedy;
    p.logit_bias = biases;
    p.n_logit_bias = 1;
    p.repetition_penalty = 2; /* -2 + 5 = 3; the other way round (-1 + 5) / 2 = 2; 1: 1.25 */
    const float rival[N] = {-1, 2.5f, 0, 2.75f, 0, 0, 0, 0};
    assert_int_equal(greedy_after(logits, &p), 0);
    assert_int_equal(greedy_after(rival, &p), 0);
}

static struct err sample_masked(const uint32_t *allowed, const uint32_t *banned, size_t n_banned,
                                uint32_t *id)
{
    const float logits[40] = {[3] = 5, [35] = 4, [7] = 3};
    struct engine_params p = greedy;
    struct sample_result out = {.token.id = 99};
    struct sampler *s = sampler_of(40);
    p.min_tokens = 6;
    struct sample_request r = {
        .logits = logits, .params = &p, .allowed = allowed, .banned = banned, .n_banned = n_banned};
    struct err e = sample_token(s, &r, &out);
    *id = out.token.id;
    sampler_free(s);
    return e;
}

static void a_mask_or_a_ban_leaves_the_others(void **state)
{
    (void)state;
    const uint32_t high[2] = {0, 0xff}, both[2] = {1u << 7 | 1u << 3, UINT32_MAX};
    const uint32_t banned[] = {3, 35, 4000};
    uint32_t id = 0;
    assert_false(is_err(sample_masked(high, NULL, 0, &id)));
    assert_int_equal(id, 35);
    assert_false(is_err(sample_masked(both, NULL, 0, &id)));
    assert_int_equal(id, 3);
    assert_false(is_err(sample_masked(both, banned, 3, &id)));
    assert_int_equal(id, 7);
    assert_false(is_err(sample_masked(NULL, banned, 2, &id)));
    assert_int_equal(id, 7);
}

static void a_mask_that_allows_nothing_is_named(void **state)
{
    (void)state;
    const uint32_t none[2] = {0, 0xffffff00}, ends[2] = {1u << 3, 0}; /* ids from 40 are no ids */
    const uint32_t banned[] = {3};
    uint32_t id = 0;
    assert_int_equal(sample_masked(none, NULL, 0, &id).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "the mask of allowed tokens allows none of the 40"));
    assert_int_equal(sample_masked(ends, banned, 1, &id).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "min_tokens (6)"));
    assert_int_equal(id, 99);
}

static void counts_are_those_of_a_recount(void **state)
{
    (void)state;
    enum { TOKENS = 5000, IDS = 700 };
    struct token_counts counts = {0};
    unsigned in_answer[IDS] = {0}, seen[IDS] = {0}, n_distinct = 0;
    uint64_t random = 1;
    for (unsigned i = 0; i < TOKENS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t at = (uint32_t)(random >> 33) % IDS;
        assert_false(is_err(token_counts_add(&counts, at * 64, i >= 2000)));
        n_distinct += !seen[at];
        seen[at] = 1;
        in_answer[at] += i >= 2000;
    }
    assert_int_equal(counts.n, n_distinct);
    for (size_t i = 0; i < counts.n; i++) {
        uint32_t at = counts.items[i].id / 64;
        assert_int_equal(seen[at]++, 1); /* each once */
        assert_int_equal(counts.items[i].n_answer, in_answer[at]);
    }
    token_counts_cleanup(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_follow_their_definitions),
        cmocka_unit_test(penalties_round_in_the_written_order),
        cmocka_unit_test(a_bias_is_added_to_a_logit),
        cmocka_unit_test(a_bias_is_not_scaled_by_a_penalty),
        cmocka_unit_test(a_mask_or_a_ban_leaves_the_others),
        cmocka_unit_test(a_mask_that_allows_nothing_is_named),
        cmocka_unit_test(counts_are_those_of_a_recount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
