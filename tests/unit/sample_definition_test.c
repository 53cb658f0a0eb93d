/* Sampling against a second implementation, which does the steps of docs/NUMERICS.md one after the
 * other over the whole row, sorted: the same ids and the same logprobs, bit for bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/det.h"
#include "kernels/philox.h"
#include "tests/unit/sample_scene.h"

enum { ROWS = 2000 };

/* The second implementation. */

static float z_of[VOCAB_MAX];
static uint64_t weight_of[VOCAB_MAX];
static uint32_t ranked[VOCAB_MAX];

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (z_of[x] != z_of[y])
        return z_of[x] > z_of[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void rank_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        ranked[i] = (uint32_t)i;
    qsort(ranked, n, sizeof *ranked, compare_ranks);
}

static void step_1(const struct scene *s)
{
    const struct engine_params *p = &s->params;
    for (uint32_t id = 0; id < s->n_vocab; id++) {
        float z = s->logits[id];
        unsigned count = 0, there = 0;
        for (size_t i = 0; i < s->n_tokens; i++) {
            there |= s->tokens[i] == id;
            count += s->tokens[i] == id && i >= s->n_prompt;
        }
        if (there)
            z = z > 0 ? z / p->repetition_penalty : z * p->repetition_penalty;
        if (count > 0)
            z = (z - p->frequency_penalty * (float)count) - p->presence_penalty;
        for (size_t i = 0; i < p->n_logit_bias; i++)
            if (s->biases[i].id == id)
                z += s->biases[i].bias;
        for (size_t i = 0; i < s->n_banned; i++)
            if (s->banned[i] == id)
                z = -INFINITY;
        if (s->masked && !(s->allowed[id / 32] >> id % 32 & 1))
            z = -INFINITY;
        z_of[id] = z;
    }
}

static uint64_t step_3(size_t n, float temperature, float min_p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        float w = det_exp((z_of[i] - z_of[ranked[0]]) / temperature);
        weight_of[i] = w < min_p ? 0 : (uint64_t)floor((double)w * 0x1p40);
        sum += weight_of[i];
    }
    return sum;
}

/* Drops what is behind the first k in rank order that weigh something. */
static uint64_t step_4(size_t n, unsigned k, uint64_t sum)
{
    unsigned n_kept = 0;
    for (size_t i = 0; k > 0 && i < n; i++) {
        uint64_t *w = &weight_of[ranked[i]];
        if (*w == 0 || n_kept++ < k)
            continue;
        sum -= *w;
        *w = 0;
    }
    return sum;
}

static uint64_t step_5(size_t n, float top_p, uint64_t sum)
{
    uint64_t kept = 0, threshold = (uint64_t)floor((double)top_p * (double)sum);
    for (size_t i = 0; top_p < 1 && i < n; i++) {
        if (i > 0 && kept >= threshold)
            weight_of[ranked[i]] = 0;
        kept += weight_of[ranked[i]];
    }
    return top_p < 1 ? kept : sum;
}

/* floor(u * sum / 2^64), by hand: sum is below 2^60 here. */
static uint64_t scale(uint64_t u, uint64_t sum)
{
    uint64_t high = u >> 32, low = u & 0xffffffff, s1 = sum >> 32, s0 = sum & 0xffffffff;
    uint64_t middle = (low * s0 >> 32) + (high * s0 & 0xffffffff) + (low * s1 & 0xffffffff);
    return high * s1 + (high * s0 >> 32) + (low * s1 >> 32) + (middle >> 32);
}

static uint32_t step_6(const struct scene *s, uint64_t sum)
{
    uint32_t u[4], key[2] = {(uint32_t)s->seed, (uint32_t)(s->seed >> 32)};
    uint32_t counter[4] = {(uint32_t)s->n_tokens, s->params.choice, 0, 0};
    philox4x32_10(u, counter, key);
    uint64_t point = scale((uint64_t)u[1] << 32 | u[0], sum), reached = 0;
    for (uint32_t id = 0; id < s->n_vocab; id++) {
        reached += weight_of[id];
        if (reached > point)
            return id;
    }
    return UINT32_MAX;
}

static uint32_t expected_id(const struct scene *s)
{
    const struct engine_params *p = &s->params;
    step_1(s);
    rank_all(s->n_vocab);
    if (p->temperature == 0)
        return ranked[0];
    uint64_t sum = step_3(s->n_vocab, p->temperature, p->min_p);
    sum = step_4(s->n_vocab, p->top_k, sum);
    return step_6(s, step_5(s->n_vocab, p->top_p, sum));
}

static void assert_logprobs(const struct scene *s, const struct sample_result *got)
{
    memcpy(z_of, s->logits, s->n_vocab * sizeof *z_of);
    rank_all(s->n_vocab);
    double log_sum = det_log64((double)step_3(s->n_vocab, 1, 0) * 0x1p-40);
    double best = (double)z_of[ranked[0]];
    assert_true(got->token.logprob == (float)(((double)s->logits[got->token.id] - best) - log_sum));
    size_t n = 0;
    for (; n < s->params.n_logprobs && n < s->n_vocab && z_of[ranked[n]] > -INFINITY; n++) {
        assert_int_equal(got->top[n].id, ranked[n]);
        assert_true(got->top[n].logprob == (float)(((double)z_of[ranked[n]] - best) - log_sum));
    }
    assert_int_equal(got->n_top, n);
}

static void assert_row(const struct scene *s, struct sampler *sampler)
{
    struct token_counts counts = {0};
    struct sample_result got;
    for (size_t i = 0; i < s->n_tokens; i++)
        assert_false(is_err(token_counts_add(&counts, s->tokens[i], i >= s->n_prompt)));
    struct sample_request r = {.logits = s->logits,
                               .params = &s->params,
                               .seed = s->seed,
                               .position = s->n_tokens,
                               .counts = &counts,
                               .banned = s->banned,
                               .n_banned = s->n_banned,
                               .allowed = s->masked ? s->allowed : NULL};
    assert_false(is_err(sample_token(sampler, &r, &got)));
    assert_int_equal(got.token.id, expected_id(s));
    if (s->params.logprobs)
        assert_logprobs(s, &got);
    else
        assert_true(got.token.logprob == 0 && got.n_top == 0);
    token_counts_cleanup(&counts);
}

static void ids_and_logprobs_are_those_of_the_definition(void **state)
{
    (void)state;
    static struct scene s;
    for (int i = 0; i < ROWS; i++) {
        struct sampler *sampler = NULL;
        make_scene(&s, draw_n_vocab());
        assert_false(is_err(sampler_new(&sampler, s.n_vocab)));
        assert_row(&s, sampler);
        s.seed++;
        assert_row(&s, sampler); /* nothing is left of the row before */
        sampler_free(sampler);
    }
}

/* Where floor(w * 2^40) goes from a few to 0, and the sum is hardly more than the best. */
static void weights_near_the_least_are_those_of_the_definition(void **state)
{
    (void)state;
    static struct scene s;
    struct sampler *sampler = NULL;
    s.n_vocab = 200;
    assert_false(is_err(sampler_new(&sampler, s.n_vocab)));
    for (unsigned row = 0; row < 300; row++) {
        s.params = (struct engine_params){
            .temperature = 1, .top_p = row % 2 ? 1 : 0.999f, .repetition_penalty = 1};
        for (size_t i = 0; i < s.n_vocab; i++) /* from the last weight of 1 to the first of 0 */
            s.logits[i] = -27.0f - 0.005f * (float)((i * 77 + row) % s.n_vocab);
        s.logits[row % s.n_vocab] = row % 3 ? 0 : -26.9f;
        s.n_prompt = s.n_tokens = 1;
        s.seed = row;
        assert_row(&s, sampler);
    }
    sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_and_logprobs_are_those_of_the_definition),
        cmocka_unit_test(weights_near_the_least_are_those_of_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
