/* Sampling: the published random numbers, the written order of steps, the same token for the same
 * key, and the right frequencies. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/philox.h"
#include "engine/sample.h"

/* Known answers of Random123 (kat_vectors, philox4x32 10). */
static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        philox4x32_10(out, cases[i].counter, cases[i].key);
        assert_memory_equal(out, cases[i].want, sizeof out);
    }
}

enum { N = 8 };

static const struct engine_params greedy = {.top_p = 1, .repetition_penalty = 1};

static struct sampler *sampler_of(size_t n)
{
    struct sampler *s = NULL;
    assert_false(is_err(sampler_new(&s, n)));
    return s;
}

static uint32_t sample_at(struct sampler *s, const float *logits, const struct engine_params *p,
                          uint64_t seed, size_t position)
{
    struct sample_result out;
    struct sample_request r = {.logits = logits, .params = p, .seed = seed, .position = position};
    assert_false(is_err(sample_token(s, &r, &out)));
    return out.token.id;
}

static void greedy_takes_the_lowest_of_equal_ids(void **state)
{
    (void)state;
    const float logits[N] = {1, 5, 2, 5, 5, -1, 0, 3};
    struct sampler *s = sampler_of(N);
    assert_int_equal(sample_at(s, logits, &greedy, 7, 3), 1);
    sampler_free(s);
}

/* Counts over `n` positions. */
static void count(const float *logits, const struct engine_params *p, unsigned n,
                  unsigned counts[N])
{
    struct sampler *s = sampler_of(N);
    memset(counts, 0, N * sizeof *counts);
    for (unsigned i = 0; i < n; i++)
        counts[sample_at(s, logits, p, 1234, i)]++;
    sampler_free(s);
}

static void frequencies_follow_the_probabilities(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 0.5f, -3, 2.5f, 1.5f};
    unsigned counts[N];
    for (int t = 0; t < 2; t++) {
        struct engine_params p = greedy;
        p.temperature = t == 0 ? 1.0f : 0.5f;
        double sum = 0, chi_squared = 0;
        count(logits, &p, 4096, counts);
        for (size_t i = 0; i < N; i++)
            sum += exp((double)logits[i] / (double)p.temperature);
        for (size_t i = 0; i < N; i++) {
            double want = 4096 * exp((double)logits[i] / (double)p.temperature) / sum;
            chi_squared += (counts[i] - want) * (counts[i] - want) / want;
        }
        assert_true(chi_squared < 29.9); /* 7 degrees of freedom, one in 10,000 */
    }
}

static void the_key_is_seed_choice_and_position(void **state)
{
    (void)state;
    float logits[256];
    for (size_t i = 0; i < 256; i++)
        logits[i] = 0.01f * (float)(i % 5);
    struct engine_params p = greedy, other;
    p.temperature = 1;
    other = p;
    other.choice = 1;
    struct sampler *s = sampler_of(256);
    unsigned n_seed = 0, n_choice = 0, n_position = 0;
    for (size_t i = 0; i < 100; i++) {
        uint32_t id = sample_at(s, logits, &p, 5, i);
        assert_int_equal(sample_at(s, logits, &p, 5, i), id);
        n_seed += sample_at(s, logits, &p, 6, i) == id;
        n_choice += sample_at(s, logits, &other, 5, i) == id;
        n_position += sample_at(s, logits, &p, 5, i + 1000) == id;
    }
    assert_true(n_seed < 10 && n_choice < 10 && n_position < 10);
    sampler_free(s);
}

static void assert_only(const struct engine_params *p, const float *logits, unsigned allowed)
{
    unsigned counts[N];
    count(logits, p, 2000, counts);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(counts[i] > 0, allowed >> i & 1);
}

/* Probabilities: 3 has 0.40, 1 has 0.30, 6 has 0.20, 0 has 0.10, the others next to nothing. */
static void the_filters_leave_the_likeliest(void **state)
{
    (void)state;
    const float logits[N] = {-2.302585f, -1.203973f, -30, -0.916291f, -30, -30, -1.609438f, -30};
    struct engine_params p = greedy;
    p.temperature = 1;
    assert_only(&p, logits, 1u << 3 | 1u << 1 | 1u << 6 | 1u << 0);
    p.top_k = 2;
    assert_only(&p, logits, 1u << 3 | 1u << 1);
    p.top_k = 3;
    p.top_p = 0.7f; /* of 0.9: 0.63 is reached by the first two */
    assert_only(&p, logits, 1u << 3 | 1u << 1);
    p.top_k = 0;
    p.top_p = 0.75f;
    assert_only(&p, logits, 1u << 3 | 1u << 1 | 1u << 6);
    p.top_p = 0.0f;
    assert_only(&p, logits, 1u << 3);
    p.top_p = 1.0f;
    p.min_p = 0.45f; /* of the best's 0.40: 0.18 */
    assert_only(&p, logits, 1u << 3 | 1u << 1 | 1u << 6);
    p.top_k = 100;
    p.min_p = 0;
    assert_only(&p, logits, 1u << 3 | 1u << 1 | 1u << 6 | 1u << 0);
}

static void equal_logits_are_cut_by_id(void **state)
{
    (void)state;
    const float logits[N] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct engine_params p = greedy;
    p.temperature = 1;
    p.top_k = 3;
    assert_only(&p, logits, 7);
    p.top_k = 7;
    assert_only(&p, logits, 127);
    p.top_k = 0;
    p.top_p = 0.5f;
    assert_only(&p, logits, 15);
}

static uint32_t greedy_after(const float *logits, const struct engine_params *p)
{
    const uint32_t tokens[] = {2, 2, 0, 1, 1, 0}; /* prompt 2 2, answer 0 1 1 0 */
    struct token_counts counts = {0};
    struct sample_result out;
    struct sampler *s = sampler_of(N);
    for (size_t i = 0; i < 6; i++)
        assert_false(is_err(token_counts_add(&counts, tokens[i], i >= 2)));
    struct sample_request r = {.logits = logits, .params = p, .position = 6, .counts = &counts};
    assert_false(is_err(sample_token(s, &r, &out)));
    token_counts_cleanup(&counts);
    sampler_free(s);
    return out.token.id;
}

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

static struct sample_result report(const float *logits, unsigned n_top, uint32_t only)
{
    struct engine_params p = greedy;
    struct sample_result out;
    uint32_t allowed = 1u << only;
    p.logprobs = true;
    p.n_logprobs = n_top;
    struct sampler *s = sampler_of(N);
    struct sample_request r = {.logits = logits, .params = &p, .allowed = &allowed};
    assert_false(is_err(sample_token(s, &r, &out)));
    assert_int_equal(out.token.id, only);
    sampler_free(s);
    return out;
}

static void logprobs_are_logarithms_of_the_models_own_probabilities(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 0.5f, -3, 3, 1.5f};
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += exp((double)logits[i]);
    struct sample_result r = report(logits, 20, 5);
    assert_true(fabs((double)r.token.logprob - (-3 - log(sum))) < 1e-6);
    assert_int_equal(r.n_top, N); /* there are no more */
    const uint32_t order[N] = {3, 6, 2, 7, 1, 4, 0, 5};
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(r.top[i].id, order[i]);
        assert_true(fabs((double)r.top[i].logprob - ((double)logits[order[i]] - log(sum))) < 1e-6);
    }
    r = report(logits, 0, 5);
    assert_true(fabs((double)r.token.logprob - (-3 - log(sum))) < 1e-6);
    assert_int_equal(r.n_top, 0);
    const float two[N] = {-INFINITY, 1, -INFINITY, -INFINITY, 1, -INFINITY, -INFINITY, -INFINITY};
    r = report(two, 5, 1);
    assert_int_equal(r.n_top, 2); /* an impossible token is no alternative */
    assert_true(fabs((double)r.token.logprob - log(0.5)) < 1e-6);
}

static void refuses_logits_that_are_not_numbers(void **state)
{
    (void)state;
    struct sampler *s = sampler_of(N);
    const float bad[] = {NAN, INFINITY};
    const uint32_t others = 0xdf; /* the bad one is masked: it is reported all the same */
    for (size_t i = 0; i < 4; i++) {
        float logits[N] = {0};
        logits[5] = bad[i / 2];
        struct sample_result out = {.token.id = 99};
        struct sample_request r = {
            .logits = logits, .params = &greedy, .allowed = i % 2 ? &others : NULL};
        assert_int_equal(sample_token(s, &r, &out).code, ERR_UNTRUE);
        assert_int_equal(out.token.id, 99);
    }
    float logits[N];
    for (size_t i = 0; i < N; i++)
        logits[i] = -INFINITY;
    struct sample_result out;
    struct sample_request r = {.logits = logits, .params = &greedy};
    assert_int_equal(sample_token(s, &r, &out).code, ERR_UNTRUE);
    sampler_free(s);
}

static void a_logit_of_minus_infinity_is_never_chosen(void **state)
{
    (void)state;
    const float logits[N] = {-INFINITY, 1, -INFINITY, 1, 0, -INFINITY, 2, -INFINITY};
    struct engine_params p = greedy;
    p.temperature = 100;
    p.repetition_penalty = 0.5f;
    assert_only(&p, logits, 1u << 1 | 1u << 3 | 1u << 4 | 1u << 6);
    p.top_p = 0.999f;
    p.top_k = 7;
    assert_only(&p, logits, 1u << 1 | 1u << 3 | 1u << 4 | 1u << 6);
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

static void a_vocabulary_of_one_token_has_one_answer(void **state)
{
    (void)state;
    const float logit = -7;
    struct engine_params p = greedy;
    struct sampler *s = sampler_of(1);
    p.logprobs = true;
    p.n_logprobs = 20;
    for (int i = 0; i < 4; i++) {
        struct sample_result out;
        p.temperature = i == 0 ? 0.0f : 1.0f;
        p.top_k = i == 2;
        p.top_p = i == 3 ? 0.0f : 1.0f;
        struct sample_request r = {.logits = &logit, .params = &p};
        assert_false(is_err(sample_token(s, &r, &out)));
        assert_int_equal(out.token.id, 0);
        assert_true(out.token.logprob == 0.0f && out.n_top == 1);
    }
    sampler_free(s);
}

static void min_p_of_one_leaves_the_best_and_its_equals(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 3, -3, 2.5f, 3};
    struct engine_params p = greedy;
    p.temperature = 1;
    p.min_p = 1;
    assert_only(&p, logits, 1u << 3 | 1u << 4 | 1u << 7);
    p.top_k = 2;
    assert_only(&p, logits, 1u << 3 | 1u << 4);
    p.top_p = 0;
    assert_only(&p, logits, 1u << 3);
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

static void a_tiny_temperature_is_greedy(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 3, -3, 2.5f, 1.5f};
    struct engine_params p = greedy;
    p.temperature = 1e-30f;
    assert_only(&p, logits, 1u << 3 | 1u << 4); /* the two equal ones */
    p.temperature = 1e-6f;
    assert_only(&p, logits, 1u << 3 | 1u << 4);
    p.temperature = 1e-45f; /* the smallest that there is */
    p.top_p = 0.9f;
    assert_only(&p, logits, 1u << 3 | 1u << 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(greedy_takes_the_lowest_of_equal_ids),
        cmocka_unit_test(frequencies_follow_the_probabilities),
        cmocka_unit_test(the_key_is_seed_choice_and_position),
        cmocka_unit_test(the_filters_leave_the_likeliest),
        cmocka_unit_test(equal_logits_are_cut_by_id),
        cmocka_unit_test(penalties_follow_their_definitions),
        cmocka_unit_test(logprobs_are_logarithms_of_the_models_own_probabilities),
        cmocka_unit_test(refuses_logits_that_are_not_numbers),
        cmocka_unit_test(a_logit_of_minus_infinity_is_never_chosen),
        cmocka_unit_test(a_bias_is_added_to_a_logit),
        cmocka_unit_test(a_bias_is_not_scaled_by_a_penalty),
        cmocka_unit_test(a_mask_or_a_ban_leaves_the_others),
        cmocka_unit_test(a_mask_that_allows_nothing_is_named),
        cmocka_unit_test(a_vocabulary_of_one_token_has_one_answer),
        cmocka_unit_test(min_p_of_one_leaves_the_best_and_its_equals),
        cmocka_unit_test(counts_are_those_of_a_recount),
        cmocka_unit_test(a_tiny_temperature_is_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
