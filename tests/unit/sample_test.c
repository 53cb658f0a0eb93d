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

#include "engine/sample_row.h"
#include "kernels/philox.h"
#include "tests/unit/sample_fixture.h"

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

static void greedy_takes_the_lowest_of_equal_ids(void **state)
{
    (void)state;
    const float logits[N] = {1, 5, 2, 5, 5, -1, 0, 3};
    struct sampler *s = sampler_of(N);
    assert_int_equal(sample_at(s, logits, &greedy, 7, 3), 1);
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

/* Where the running sum is the point itself, the next one is chosen; weights of 0 never are. */
static void the_point_falls_into_the_interval_that_begins_at_it(void **state)
{
    (void)state;
    enum { TOKENS = 150 };
    const struct weighing own = {1, 0};
    float z[TOKENS];
    struct row row;
    struct candidate all[TOKENS + 1];
    for (size_t i = 0; i < TOKENS; i++) /* a whole block of nothing, and gaps */
        z[i] = i < 64 || i % 3 == 0 ? -99 : -(float)(i % 7);
    assert_false(is_err(row_init(&row, TOKENS)));
    assert_false(is_err(row_scan(&row, z)));
    uint64_t reached = 0, sum = row_weigh(&row, own);
    size_t n = row_gather(&row, own, -INFINITY, all);
    assert_true(sum == sum_weights(all, n));
    for (size_t i = 0; i < n; i++) {
        uint64_t ends[] = {reached, reached + all[i].weight - 1};
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(row_find(&row, own, ends[j]), (uint32_t)all[i].key);
            assert_int_equal(find_weight(all, n, ends[j]), i);
        }
        reached += all[i].weight;
    }
    assert_true(reached == sum);
    row_cleanup(&row);
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
        cmocka_unit_test(the_point_falls_into_the_interval_that_begins_at_it),
        cmocka_unit_test(logprobs_are_logarithms_of_the_models_own_probabilities),
        cmocka_unit_test(refuses_logits_that_are_not_numbers),
        cmocka_unit_test(a_logit_of_minus_infinity_is_never_chosen),
        cmocka_unit_test(a_vocabulary_of_one_token_has_one_answer),
        cmocka_unit_test(min_p_of_one_leaves_the_best_and_its_equals),
        cmocka_unit_test(a_tiny_temperature_is_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
