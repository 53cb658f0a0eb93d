/* Random rows of logits with all that may be asked of a choice among them, for the tests of
 * sampling on the CPU and on a GPU. */
#ifndef TESTS_UNIT_SAMPLE_SCENE_H
#define TESTS_UNIT_SAMPLE_SCENE_H

#include <math.h>

#include "engine/sample.h"

enum { VOCAB_MAX = 70001, TOKENS_MAX = 300, BIASES = 40, BANNED_MAX = 8 };

/* One row with all that may be asked of it. */
struct scene {
    size_t n_vocab;
    float logits[VOCAB_MAX];
    uint32_t tokens[TOKENS_MAX];
    size_t n_prompt, n_tokens;
    struct engine_bias biases[BIASES];
    uint32_t banned[BANNED_MAX];
    size_t n_banned;
    bool masked;
    uint32_t allowed[(VOCAB_MAX + 31) / 32];
    uint64_t seed;
    struct engine_params params;
};

static uint64_t random_state = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * n >> 32);
}

static float uniform(void)
{
    return (float)below(1u << 24) * 0x1p-24f;
}

static float normal(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

/* Rows of every kind: wide, narrow, with many equals, flat, with impossible tokens. */
static void make_logits(struct scene *s)
{
    uint32_t kind = below(6);
    const float spread[] = {3, 0.01f, 2, 0, 30, 4};
    for (size_t i = 0; i < s->n_vocab; i++) {
        float z = spread[kind] * normal();
        if (kind == 2)
            z = floorf(z); /* -0 and 0 among them */
        if (kind == 5 && below(3) == 0)
            z = -INFINITY;
        s->logits[i] = z;
    }
    s->logits[below((uint32_t)s->n_vocab)] = 2;
}

static void make_params(struct scene *s)
{
    static const float temperatures[] = {0, 1, 0.7f, 1e-6f, 2, 100};
    static const float top_ps[] = {1, 1, 0.9f, 0.5f, 0, 0.99999f};
    static const float min_ps[] = {0, 0, 0, 0.05f, 1};
    static const unsigned top_ks[] = {0, 0, 1, 3, 40, 200, 5000, 1000000};
    s->params = (struct engine_params){.temperature = temperatures[below(6)],
                                       .top_p = top_ps[below(6)],
                                       .min_p = min_ps[below(5)],
                                       .top_k = top_ks[below(8)],
                                       .repetition_penalty = below(2) ? 1 : 1.3f,
                                       .presence_penalty = below(2) ? 0 : 2 * uniform(),
                                       .frequency_penalty = below(2) ? 0 : uniform() - 0.5f,
                                       .choice = below(3),
                                       .logprobs = below(2),
                                       .n_logprobs = below(ENGINE_LOGPROBS_MAX + 1),
                                       .logit_bias = s->biases};
    for (uint32_t i = 0; i < BIASES; i++)
        s->biases[i] = (struct engine_bias){i * 3, 10 * normal()};
    s->params.n_logit_bias = below(2) ? 0 : below(BIASES + 1);
}

static size_t draw_n_vocab(void)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 128, 1000, 4096, 4097, 9000};
    return sizes[below(10)];
}

static void make_scene(struct scene *s, size_t n_vocab)
{
    s->n_vocab = n_vocab;
    make_logits(s);
    make_params(s);
    s->n_prompt = 1 + below(TOKENS_MAX / 2);
    s->n_tokens = s->n_prompt + below(TOKENS_MAX / 2);
    for (size_t i = 0; i < s->n_tokens; i++)
        s->tokens[i] = below((uint32_t)s->n_vocab);
    s->n_banned = s->n_vocab > 60 ? below(BANNED_MAX + 1) : 0;
    for (size_t i = 0; i < s->n_banned; i++)
        s->banned[i] = below((uint32_t)s->n_vocab);
    s->masked = s->n_vocab > 60 && below(3) == 0;
    for (size_t i = 0; i < sizeof s->allowed / sizeof *s->allowed; i++)
        s->allowed[i] = below(4) == 0 ? UINT32_MAX : below(UINT32_MAX) & below(UINT32_MAX);
    s->seed = (uint64_t)below(UINT32_MAX) << 32 | below(UINT32_MAX);
}

#endif
