/* One row of eight tokens, for the tests of sampling. */
#ifndef TESTS_UNIT_SAMPLE_FIXTURE_H
#define TESTS_UNIT_SAMPLE_FIXTURE_H

#include <string.h>

#include "engine/sample.h"

enum { N = 8 };

static const struct engine_params greedy = {.top_p = 1, .repetition_penalty = 1};

static inline struct sampler *sampler_of(size_t n)
{
    struct sampler *s = NULL;
    assert_false(is_err(sampler_new(&s, n)));
    return s;
}

static inline uint32_t sample_at(struct sampler *s, const float *logits,
                                 const struct engine_params *p, uint64_t seed, size_t position)
{
    struct sample_result out;
    struct sample_request r = {.logits = logits, .params = p, .seed = seed, .position = position};
    assert_false(is_err(sample_token(s, &r, &out)));
    return out.token.id;
}

/* Counts over `n` positions. */
static inline void count(const float *logits, const struct engine_params *p, unsigned n,
                         unsigned counts[N])
{
    struct sampler *s = sampler_of(N);
    memset(counts, 0, N * sizeof *counts);
    for (unsigned i = 0; i < n; i++)
        counts[sample_at(s, logits, p, 1234, i)]++;
    sampler_free(s);
}

static inline void assert_only(const struct engine_params *p, const float *logits, unsigned allowed)
{
    unsigned counts[N];
    count(logits, p, 2000, counts);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(counts[i] > 0, allowed >> i & 1);
}

static inline uint32_t greedy_after(const float *logits, const struct engine_params *p)
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

#endif
