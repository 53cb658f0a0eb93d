/*
 * From one row of logits to one token: penalties, bias and masks, greedy or random choice,
 * logprobs. The definition is docs/NUMERICS.md, "Sampling": probabilities become integers, so no
 * sum depends on its order, and the random number is a function of (seed, choice, position) alone.
 */
#ifndef ENGINE_SAMPLE_H
#define ENGINE_SAMPLE_H

#include "engine/engine.h"
#include "engine/token_counts.h"

struct sampler; /* scratch memory for one vocabulary; one thread at a time */

struct err sampler_new(struct sampler **out, size_t n_vocab) MUST_USE; /* n_vocab > 0 */
void sampler_free(struct sampler *s);                                  /* zeroes it first */
void sampler_wipe(struct sampler *s);  /* zeroes what is left of earlier rows */
uint64_t sampler_size(size_t n_vocab); /* bytes of a sampler, about */

/* Ids that the vocabulary does not have are passed over everywhere. */
struct sample_request {
    const float *logits;                /* (n_vocab) */
    const struct engine_params *params; /* logit_bias: each id once */
    uint64_t seed;
    size_t position;                   /* of the token to be chosen, prompt and answer together */
    const struct token_counts *counts; /* of prompt and answer; NULL: no penalties */
    const uint32_t *banned;            /* (n_banned) ids that cannot be chosen here */
    size_t n_banned;
    const uint32_t *allowed; /* ((n_vocab + 31) / 32): bit id % 32 of word id / 32 is 1 where the id
                                may be chosen; NULL: all */
};

struct sample_result {
    struct engine_logprob token; /* its logprob is 0 unless params->logprobs */
    struct engine_logprob top[ENGINE_LOGPROBS_MAX];
    size_t n_top; /* params->n_logprobs; fewer where fewer tokens have a probability at all */
};

/* One token. With params->logprobs also the natural logarithms of the model's own probabilities
 * (before step 1), best first. ERR_UNTRUE when the logits are not finite numbers (damaged weights),
 * ERR_USAGE when mask and bans leave no token. */
struct err sample_token(struct sampler *s, const struct sample_request *r,
                        struct sample_result *out) MUST_USE;

#endif
