/*
 * From one row of logits to one token: penalties, greedy or random choice, logprobs. The definition
 * is docs/NUMERICS.md, "Sampling": probabilities become integers, so no sum depends on its order,
 * and the random number is a function of (seed, choice, position) alone.
 */
#ifndef ENGINE_SAMPLE_H
#define ENGINE_SAMPLE_H

#include "engine/engine.h"

struct sampler; /* scratch memory for one vocabulary; one thread at a time */

struct err sampler_new(struct sampler **out, size_t n_vocab) MUST_USE;
void sampler_free(struct sampler *s); /* zeroes it first */
void sampler_wipe(struct sampler *s); /* zeroes what is left of earlier rows */

struct sample_request {
    const float *logits; /* n_vocab */
    const struct engine_params *params;
    uint64_t seed;
    const uint32_t *tokens;    /* prompt and answer so far */
    size_t n_prompt, n_tokens; /* n_tokens is also the position of the token to be chosen */
};

/* ERR_UNTRUE when the logits are not finite numbers (damaged weights). */
struct err sample_token(struct sampler *s, const struct sample_request *r, uint32_t *id) MUST_USE;

/* Natural logarithms of the model's own probabilities (before penalties and temperature): of `id`,
 * and of the n_top best tokens, best first. `top` holds ENGINE_LOGPROBS_MAX. */
void sample_logprobs(struct sampler *s, const float *logits, uint32_t id, size_t n_top,
                     struct engine_logprob *chosen, struct engine_logprob *top);

#endif
