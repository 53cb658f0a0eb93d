#include "tests/unit/engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/text.h"

const char *engine_tested;

static uint64_t hash_row(const float *row, size_t n)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a over 32-bit words */
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, &row[i], sizeof word);
        hash = (hash ^ word) * 1099511628211u;
    }
    return hash;
}

void collect(void *context, const struct engine_event *event)
{
    struct answer *a = (struct answer *)context;
    size_t vocab_size = a->vocab_size;
    a += event->choice - a->first_choice;
    a->n_events++;
    if (a->n_events == 1)
        a->text_was_valid = true;
    a->text_was_valid &= utf8_valid(event->text);
    buf_append_bytes(&a->text, event->text);
    if (event->has_token && a->n < ANSWER_MAX) {
        a->ids[a->n] = event->token.id;
        a->rows[a->n] = event->logits != NULL ? hash_row(event->logits, vocab_size) : 0;
        a->logprobs[a->n] = event->token.logprob;
        if (event->n_top > 0)
            a->top[a->n] = event->top[event->n_top - 1];
        a->n++;
    }
    a->finish = event->finish;
    a->n_ends += event->finish != ENGINE_UNFINISHED;
    a->n_generated = event->n_generated;
    a->n_prompt = event->n_prompt;
    a->n_cached = event->n_cached;
    a->seed = event->seed;
    if (a->cancel_in != NULL && a->n == a->cancel_after)
        engine_cancel(a->cancel_in, a->id);
}

struct engine *open_with(const struct tiny_model *m, struct engine_options o)
{
    struct engine *e = NULL;
    if (is_err(engine_open(&e, m->dir, &o)))
        fail_msg("%s", err_message());
    return e;
}

struct engine_options options(unsigned n_threads, unsigned max_requests, unsigned budget)
{
    return (struct engine_options){.n_threads = n_threads,
                                   .max_requests = max_requests,
                                   .token_budget = budget,
                                   .backend = engine_tested};
}

struct engine_params plain_params(unsigned max_tokens)
{
    return (struct engine_params){.top_p = 1,
                                  .repetition_penalty = 1,
                                  .max_tokens = max_tokens,
                                  .ignore_eos = true,
                                  .has_seed = true};
}

void submit(struct engine *e, const uint32_t *prompt, size_t n_prompt,
            const struct engine_params *p, struct answer *a)
{
    a->first_choice = p->choice;
    a->vocab_size = engine_info(e)->vocab_size;
    if (is_err(engine_submit(e, &a->id, prompt, n_prompt, p, collect, a)))
        fail_msg("%s", err_message());
}

void random_tokens(uint32_t *out, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)(tiny_random(&seed) % 256);
}

void assert_same_answer(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs);
    assert_memory_equal(a->rows, b->rows, a->n * sizeof *a->rows);
    assert_memory_equal(a->top, b->top, a->n * sizeof *a->top);
    assert_int_equal(a->text.len, b->text.len);
    assert_memory_equal(a->text.data, b->text.data, a->text.len);
    assert_int_equal(a->finish, b->finish);
}

bool all_zero(const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

bool step(struct engine *e)
{
    return engine_step(e);
}

void run_all(struct engine *e)
{
    unsigned n_steps = 0;
    while (step(e))
        assert_true(++n_steps < 20000);
}

int engine_setup(void **state)
{
    static struct tiny_model m;
    tiny_write(&m, &tiny_default);
    *state = &m;
    return 0;
}

int engine_teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

int engine_run_on_all_backends(const struct CMUnitTest *tests, size_t n)
{
    const struct backend *all[BACKENDS_MAX];
    int failed = 0;
    for (size_t i = backend_all(all); i-- > 0;) {
        engine_tested = all[i]->name;
        print_message("backend %s\n", engine_tested);
        failed += _cmocka_run_group_tests(engine_tested, tests, n, NULL, NULL);
    }
    return failed;
}

uint64_t page_size(void)
{
    const struct tiny_spec *s = &tiny_default;
    return (uint64_t)s->n_layers * 2 * s->n_kv_heads * KV_PAGE_TOKENS * s->head_dim * sizeof(float);
}
