/* Tokens chosen on the device by the whole engine: from the same rows of logits the CPU's sampler
 * chooses the same, to the bit, whatever was asked for; what cannot be chosen fails with its words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"
#include "tests/unit/gpu_chosen.h"

static const struct tiny_spec small = {.vocab_size = 264,
                                       .hidden = 64,
                                       .inner = 64,
                                       .n_layers = 1,
                                       .n_heads = 2,
                                       .n_kv_heads = 1,
                                       .head_dim = 64,
                                       .max_positions = 256,
                                       .rope_theta = 10000.0,
                                       .eps = 1e-5,
                                       .type = TINY_BF16,
                                       .seed = 6};

static struct engine *open_gpu(const struct tiny_model *m, uint64_t seed)
{
    struct engine_options o = options(1, 4, 64);
    o.backend = "cuda";
    o.gpu = gpu_chosen();
    o.gpu_logits = true;
    gpu_emu_seed(seed);
    return open_with(m, o);
}

/* Whoever follows an odd token is even. */
static void mask_by_the_last(void *context, unsigned choice, const uint32_t *answer,
                             size_t n_answer, uint32_t *allowed)
{
    (void)context;
    (void)choice;
    if (n_answer > 0)
        for (size_t i = 0; i < 264 / 32; i++)
            allowed[i] &= answer[n_answer - 1] % 2 ? 0x55555555 : 0xaaaaaaaa;
}

static void mask_of_nothing(void *context, unsigned choice, const uint32_t *answer, size_t n_answer,
                            uint32_t *allowed)
{
    (void)context;
    (void)choice;
    (void)answer;
    if (n_answer > 0)
        memset(allowed, 0, (264 + 31) / 32 * sizeof *allowed);
}

/* A request that is watched: each of its tokens is chosen once more. */
struct watched {
    struct engine *e;
    struct engine_params params;
    uint32_t tokens[64];
    size_t n_prompt, n_tokens;
    enum engine_finish finish;
    char error[200];
};

static void choose_again(const struct watched *w, const float *logits, struct sample_result *out)
{
    struct token_counts counts = {0};
    struct sampler *sampler = NULL;
    uint32_t allowed[9];
    size_t n_answer = w->n_tokens - w->n_prompt;
    memset(allowed, 0xff, sizeof allowed);
    if (w->params.mask != NULL)
        w->params.mask(NULL, 0, w->tokens + w->n_prompt, n_answer, allowed);
    for (size_t i = 0; w->e->sampled_ids != NULL && i < (w->e->n_sampled_vocab + 31) / 32; i++)
        allowed[i] &= w->e->sampled_ids[i];
    for (size_t i = 0; i < w->n_tokens; i++)
        assert_false(is_err(token_counts_add(&counts, w->tokens[i], i >= w->n_prompt)));
    struct sample_request s = {.logits = logits,
                               .params = &w->params,
                               .seed = w->params.seed,
                               .position = w->n_tokens,
                               .counts = &counts,
                               .banned = w->params.stop_ids,
                               .n_banned =
                                   n_answer < w->params.min_tokens ? w->params.n_stop_ids : 0,
                               .allowed = allowed};
    assert_false(is_err(sampler_new(&sampler, w->e->n_sampled_vocab)));
    assert_false(is_err(sample_token(sampler, &s, out)));
    sampler_free(sampler);
    token_counts_cleanup(&counts);
}

static void watch(void *context, const struct engine_event *event)
{
    struct watched *w = context;
    struct sample_result want;
    w->finish = event->finish;
    if (event->finish == ENGINE_FAILED)
        snprintf(w->error, sizeof w->error, "%s", event->error);
    if (!event->has_token)
        return;
    assert_non_null(event->logits);
    choose_again(w, event->logits, &want);
    assert_int_equal(event->token.id, want.token.id);
    assert_memory_equal(&event->token.logprob, &want.token.logprob, sizeof(float));
    assert_int_equal(event->n_top, want.n_top);
    assert_memory_equal(event->top, want.top, want.n_top * sizeof want.top[0]);
    w->tokens[w->n_tokens++] = event->token.id;
}

static void submit_watched(struct engine *e, struct watched *w, size_t n_prompt)
{
    uint64_t id;
    w->e = e;
    w->n_prompt = w->n_tokens = n_prompt;
    random_tokens(w->tokens, n_prompt, 3 + n_prompt);
    if (is_err(engine_submit(e, &id, w->tokens, n_prompt, &w->params, watch, w)))
        fail_msg("%s", err_message());
}

enum { N_WATCHED = 4 };

static void make_params(struct engine_params p[N_WATCHED])
{
    static const uint32_t ends[] = {11, 12, 13, TINY_EOS};
    static const struct engine_bias biases[] = {{11, 50}, {12, 45}, {77, -3}, {78, 6.5f}};
    for (size_t i = 0; i < N_WATCHED; i++) {
        p[i] = plain_params(6);
        p[i].seed = 70 + i;
        p[i].choice = (unsigned)i;
    }
    p[0].temperature = 0.8f; /* banned at first, then chosen at once */
    p[0].stop_ids = ends;
    p[0].n_stop_ids = 4;
    p[0].logit_bias = biases;
    p[0].n_logit_bias = 4;
    p[0].min_tokens = 3;
    p[1].temperature = 1.3f;
    p[1].top_p = 0.9f;
    p[1].repetition_penalty = 1.2f;
    p[1].frequency_penalty = 2.0f;
    p[1].presence_penalty = 0.5f;
    p[1].logprobs = true;
    p[1].n_logprobs = ENGINE_LOGPROBS_MAX;
    p[2].mask = mask_by_the_last;
    p[2].temperature = 2.0f;
    p[2].top_k = 40;
    p[2].min_p = 0.01f;
    p[3].presence_penalty = 3.0f; /* greedy */
    p[3].logprobs = true;
}

static void tokens_are_those_that_the_cpu_chooses_from_the_same_logits(void **state)
{
    (void)state;
    struct tiny_model m;
    tiny_write(&m, &small);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        static struct watched w[N_WATCHED];
        struct engine_params params[N_WATCHED];
        struct engine *e = open_gpu(&m, seed);
        memset(w, 0, sizeof w);
        make_params(params);
        for (size_t i = 0; i < N_WATCHED; i++) {
            w[i].params = params[i];
            submit_watched(e, &w[i], 1 + 9 * i);
        }
        run_all(e);
        assert_int_equal(w[0].finish, ENGINE_STOP);
        assert_int_equal(w[0].n_tokens - w[0].n_prompt, 4);
        for (size_t i = 1; i < N_WATCHED; i++) {
            assert_int_equal(w[i].finish, ENGINE_LENGTH);
            assert_int_equal(w[i].n_tokens - w[i].n_prompt, 6);
        }
        engine_free(e);
    }
    tiny_remove(&m);
}

static void what_cannot_be_chosen_fails_alone_and_with_the_cpus_words(void **state)
{
    (void)state;
    struct tiny_model m;
    static struct watched on_gpu, on_cpu, other;
    struct engine_options cpu = options(1, 2, 64);
    on_gpu = on_cpu = other = (struct watched){.params = plain_params(4)};
    on_gpu.params.mask = on_cpu.params.mask = mask_of_nothing;
    tiny_write(&m, &small);
    struct engine *gpu = open_gpu(&m, 3), *ref = open_with(&m, cpu);
    submit_watched(gpu, &on_gpu, 5);
    submit_watched(gpu, &other, 3);
    submit_watched(ref, &on_cpu, 5);
    run_all(gpu);
    run_all(ref);
    assert_int_equal(on_gpu.finish, ENGINE_FAILED);
    assert_int_equal(on_gpu.n_tokens, 6);
    assert_int_equal(other.finish, ENGINE_LENGTH);
    assert_non_null(strstr(on_gpu.error, "allows none of the"));
    assert_string_equal(on_gpu.error, on_cpu.error);
    engine_free(gpu);
    engine_free(ref);
    tiny_remove(&m);
}

/* Without them nothing but ids comes back, and the same ones. */
static void logits_stay_on_the_device_unless_they_are_wanted(void **state)
{
    (void)state;
    struct tiny_model m;
    struct answer with = {0}, without = {0};
    const uint32_t prompt[] = {9, 8, 7};
    struct engine_params p = plain_params(4);
    tiny_write(&m, &small);
    struct engine *e = open_gpu(&m, 4);
    submit(e, prompt, 3, &p, &with);
    run_all(e);
    engine_free(e);
    struct engine_options o = options(1, 4, 64);
    o.backend = "cuda";
    o.gpu = gpu_chosen();
    e = open_with(&m, o);
    submit(e, prompt, 3, &p, &without);
    run_all(e);
    assert_null(e->logits);
    engine_free(e);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(with.ids[i], without.ids[i]);
        assert_true(with.rows[i] != 0 && without.rows[i] == 0);
    }
    buf_cleanup(&with.text);
    buf_cleanup(&without.text);
    tiny_remove(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_that_the_cpu_chooses_from_the_same_logits),
        cmocka_unit_test(what_cannot_be_chosen_fails_alone_and_with_the_cpus_words),
        cmocka_unit_test(logits_stay_on_the_device_unless_they_are_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
