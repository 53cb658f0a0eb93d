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
    uint32_t tokens[4096] = {0}, id = 99;
    struct sample_request r = {.logits = logits,
                               .params = p,
                               .seed = seed,
                               .tokens = tokens,
                               .n_prompt = position,
                               .n_tokens = position};
    assert_false(is_err(sample_token(s, &r, &id)));
    return id;
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
    uint32_t id = 99;
    struct sampler *s = sampler_of(N);
    struct sample_request r = {
        .logits = logits, .params = p, .tokens = tokens, .n_prompt = 2, .n_tokens = 6};
    assert_false(is_err(sample_token(s, &r, &id)));
    assert_false(is_err(sample_token(s, &r, &id))); /* the counters start from zero again */
    sampler_free(s);
    return id;
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

static void logprobs_are_logarithms_of_probabilities(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 0.5f, -3, 3, 1.5f};
    struct engine_logprob chosen, top[ENGINE_LOGPROBS_MAX];
    struct sampler *s = sampler_of(N);
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += exp((double)logits[i]);
    sample_logprobs(s, logits, 5, N, &chosen, top);
    assert_int_equal(chosen.id, 5);
    assert_true(fabs((double)chosen.logprob - (-3 - log(sum))) < 1e-6);
    const uint32_t order[N] = {3, 6, 2, 7, 1, 4, 0, 5};
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(top[i].id, order[i]);
        assert_true(fabs((double)top[i].logprob - ((double)logits[order[i]] - log(sum))) < 1e-6);
    }
    sample_logprobs(s, logits, 5, 0, &chosen, top);
    assert_true(fabs((double)chosen.logprob - (-3 - log(sum))) < 1e-6);
    sampler_free(s);
}

static void refuses_logits_that_are_not_numbers(void **state)
{
    (void)state;
    struct sampler *s = sampler_of(N);
    const float bad[] = {NAN, INFINITY};
    for (size_t i = 0; i < 2; i++) {
        float logits[N] = {0};
        logits[5] = bad[i];
        uint32_t id = 99;
        struct sample_request r = {.logits = logits, .params = &greedy};
        assert_int_equal(sample_token(s, &r, &id).code, ERR_UNTRUE);
        assert_int_equal(id, 99);
    }
    sampler_free(s);
}

static void a_tiny_temperature_is_greedy(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 2, 3, 3, -3, 2.5f, 1.5f};
    struct engine_params p = greedy;
    p.temperature = 1e-30f;
    assert_only(&p, logits, 1u << 3 | 1u << 4); /* the two equal ones */
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
        cmocka_unit_test(logprobs_are_logarithms_of_probabilities),
        cmocka_unit_test(refuses_logits_that_are_not_numbers),
        cmocka_unit_test(a_tiny_temperature_is_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
