/* Every request is refused with a reason or ends exactly once and as it should, whoever submits and
 * cancels from which thread. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

static void refuses_requests_that_make_no_sense(void **state)
{
    struct engine *e = open_with(*state, options(1, 2, 64));
    const uint32_t good[] = {1}, bad[] = {tiny_default.vocab_size};
    const struct engine_params fine = plain_params(4);
    struct engine_params p[11];
    struct answer a = {0};
    for (size_t i = 0; i < 11; i++)
        p[i] = fine;
    p[0].temperature = -1;
    p[1].temperature = NAN;
    p[2].top_p = 1.5f;
    p[3].min_p = -0.1f;
    p[4].repetition_penalty = 0;
    p[5].presence_penalty = INFINITY;
    p[6].frequency_penalty = NAN;
    p[7].n_logprobs = 21;
    const char *stops[] = {""};
    p[8].stop = stops;
    p[8].n_stop = 1;
    p[9].n_choices = ENGINE_CHOICES_MAX + 1;
    p[10].priority = ENGINE_PRIORITIES;
    for (size_t i = 0; i < 11; i++)
        assert_int_equal(engine_submit(e, &a.id, good, 1, &p[i], collect, &a).code, ERR_USAGE);
    assert_int_equal(engine_submit(e, &a.id, good, 0, &fine, collect, &a).code, ERR_USAGE);
    assert_int_equal(engine_submit(e, &a.id, bad, 1, &fine, collect, &a).code, ERR_USAGE);
    assert_int_equal(a.n_events, 0);
    engine_free(e);
}

static void refuses_more_waiting_requests_than_allowed(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    const uint32_t prompt[] = {1};
    struct engine_params p = plain_params(1);
    struct answer a = {0};
    for (unsigned i = 0; i < ENGINE_WAITING_MAX; i++)
        submit(e, prompt, 1, &p, &a);
    assert_int_equal(engine_submit(e, &a.id, prompt, 1, &p, collect, &a).code, ERR_BUSY);
    run_all(e);
    assert_int_equal(a.n_ends, ENGINE_WAITING_MAX);
    submit(e, prompt, 1, &p, &a);
    run_all(e);
    buf_cleanup(&a.text);
    engine_free(e);
}

static void waiting_batch_work_keeps_no_interactive_request_out(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    const uint32_t prompt[] = {1};
    struct engine_params p = plain_params(1);
    struct answer a = {0};
    p.priority = ENGINE_BATCH;
    for (unsigned i = 0; i < ENGINE_WAITING_MAX; i++)
        submit(e, prompt, 1, &p, &a);
    assert_int_equal(engine_submit(e, &a.id, prompt, 1, &p, collect, &a).code, ERR_BUSY);
    for (unsigned i = 0; i < 3; i++) { /* come in, wait, and wait beside one that runs */
        p.priority = ENGINE_INTERACTIVE;
        submit(e, prompt, 1, &p, &a);
        step(e);
        p.priority = ENGINE_BATCH;
        assert_int_equal(engine_submit(e, &a.id, prompt, 1, &p, collect, &a).code, ERR_BUSY);
    }
    run_all(e);
    assert_int_equal(a.n_ends, ENGINE_WAITING_MAX + 3);
    buf_cleanup(&a.text);
    engine_free(e);
}

static void takes_all_choices_of_a_request_or_none(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 64));
    const uint32_t prompt[] = {1};
    struct engine_params p = plain_params(1);
    static struct answer a[ENGINE_CHOICES_MAX];
    memset(a, 0, sizeof a);
    p.n_choices = ENGINE_CHOICES_MAX;
    for (unsigned i = 0; i < ENGINE_WAITING_MAX / ENGINE_CHOICES_MAX; i++) {
        if (i == 1)
            step(e); /* one runs, so one more may wait */
        submit(e, prompt, 1, &p, a);
    }
    assert_int_equal(engine_submit(e, &a[0].id, prompt, 1, &p, collect, a).code, ERR_BUSY);
    p.n_choices = 1;
    submit(e, prompt, 1, &p, a);
    assert_int_equal(engine_submit(e, &a[0].id, prompt, 1, &p, collect, a).code, ERR_BUSY);
    run_all(e);
    assert_int_equal(a[0].n_ends, ENGINE_WAITING_MAX / ENGINE_CHOICES_MAX + 1);
    assert_int_equal(a[ENGINE_CHOICES_MAX - 1].n_ends, ENGINE_WAITING_MAX / ENGINE_CHOICES_MAX);
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++)
        buf_cleanup(&a[i].text);
    engine_free(e);
}

/* What the cache can never hold is refused; what it just holds runs, all choices of it. */
static void refuses_what_would_never_fit_in_the_cache(void **state)
{
    struct engine_options o = options(1, 4, 64);
    o.kv_bytes = 2 * page_size();
    struct engine *e = open_with(*state, o);
    assert_int_equal(engine_info(e)->max_context, 128);
    static struct answer a[3];
    memset(a, 0, sizeof a);
    uint32_t prompt[129];
    random_tokens(prompt, 129, 10);
    struct engine_params p = plain_params(29);
    assert_int_equal(engine_submit(e, &a->id, prompt, 100, &p, collect, a).code, ERR_LIMIT);
    assert_non_null(strstr(err_message(), "100 tokens and 29 are to be generated"));
    assert_non_null(strstr(err_message(), "128"));
    assert_int_equal(engine_submit(e, &a->id, prompt, 129, &p, collect, a).code, ERR_LIMIT);
    p.max_tokens = 28;
    p.n_choices = 3;
    submit(e, prompt, 100, &p, a);
    run_all(e);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(a[i].n, 28);
        buf_cleanup(&a[i].text);
    }
    engine_free(e);
    o.max_context = 129;
    assert_int_equal(engine_open(&e, ((struct tiny_model *)*state)->dir, &o).code, ERR_USAGE);
}

static void cancelling_ends_all_choices(void **state)
{
    struct engine *e = open_with(*state, options(1, 2, 64));
    uint32_t prompt[70];
    random_tokens(prompt, 70, 11);
    struct engine_params p = plain_params(50);
    static struct answer a[4];
    memset(a, 0, sizeof a);
    p.n_choices = 4;
    submit(e, prompt, 70, &p, a);
    for (unsigned i = 0; i < 5; i++)
        step(e);
    engine_cancel(e, a[0].id);
    run_all(e);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(a[i].finish, ENGINE_CANCELLED);
        assert_int_equal(a[i].n_ends, 1);
        buf_cleanup(&a[i].text);
    }
    assert_true(a[0].n > 0 && a[1].n > 0 && a[2].n == 0);
    assert_int_equal(e->kv.n_free, e->kv.cache.n_pages);
    engine_free(e);
}

static void a_cancelled_request_gets_one_last_event(void **state)
{
    struct engine *e = open_with(*state, options(1, 2, 8));
    uint32_t prompt[64];
    random_tokens(prompt, 64, 7);
    struct engine_params p = plain_params(50);
    static struct answer prefilling, itself, waiting, gone;
    prefilling = itself = waiting = gone = (struct answer){0};
    itself.cancel_in = e;
    itself.cancel_after = 5;
    submit(e, prompt, 3, &p, &itself);
    submit(e, prompt, 64, &p, &prefilling);
    submit(e, prompt, 3, &p, &waiting);
    submit(e, prompt, 3, &p, &gone);
    engine_cancel(e, gone.id); /* before any step saw it */
    step(e);
    step(e);
    engine_cancel(e, prefilling.id);
    engine_cancel(e, waiting.id);
    engine_cancel(e, 12345);
    engine_cancel(e, 0);
    run_all(e);
    const struct answer *all[] = {&prefilling, &itself, &waiting, &gone};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(all[i]->finish, ENGINE_CANCELLED);
        assert_int_equal(all[i]->n_ends, 1);
    }
    assert_int_equal(prefilling.n, 0);
    assert_int_equal(itself.n, 5);
    engine_cancel(e, itself.id); /* finished: ignored */
    run_all(e);
    assert_int_equal(itself.n_ends, 1);
    struct engine_stats stats;
    engine_stats(e, &stats);
    assert_int_equal(stats.n_finished, 4);
    assert_int_equal(stats.n_pages_used, 0);
    buf_cleanup(&itself.text);
    engine_free(e);
}

static void freeing_calls_no_sink(void **state)
{
    struct engine *e = open_with(*state, options(1, 1, 8));
    uint32_t prompt[64];
    random_tokens(prompt, 64, 8);
    struct engine_params p = plain_params(50);
    struct answer a = {0}, b = {0}, c = {0};
    submit(e, prompt, 64, &p, &a);
    submit(e, prompt, 64, &p, &b);
    step(e);
    submit(e, prompt, 64, &p, &c);
    engine_free(e);
    assert_int_equal(a.n_events + b.n_events + c.n_events, 0);
}

struct client {
    struct engine *engine;
    unsigned index;
    atomic_uint *n_ended;
};

static void collect_and_count(void *context, const struct engine_event *event)
{
    struct client *c = context;
    if (event->finish != ENGINE_UNFINISHED)
        atomic_fetch_add(c->n_ended, 1);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct engine_params p = plain_params(12);
    uint32_t prompt[40];
    random_tokens(prompt, 40, c->index);
    for (size_t i = 0; i < 8; i++) {
        uint64_t id = 0;
        struct engine_stats stats;
        if (is_err(engine_submit(c->engine, &id, prompt, 1 + 4 * i, &p, collect_and_count, c)))
            abort();
        if (i % 3 == 1)
            engine_cancel(c->engine, id);
        engine_stats(c->engine, &stats);
    }
    return NULL;
}

static void many_threads_submit_to_a_running_engine(void **state)
{
    struct engine *e = open_with(*state, options(2, 4, 32));
    atomic_uint n_ended = 0;
    struct client clients[4];
    pthread_t threads[4];
    assert_false(is_err(engine_start(e)));
    assert_int_equal(engine_start(e).code, ERR_USAGE);
    for (unsigned i = 0; i < 4; i++) {
        clients[i] = (struct client){.engine = e, .index = i, .n_ended = &n_ended};
        assert_int_equal(pthread_create(&threads[i], NULL, client_main, &clients[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 2000 && atomic_load(&n_ended) < 32; i++)
        usleep(5000);
    assert_int_equal(atomic_load(&n_ended), 32);
    engine_free(e);
}

static void assert_damage(void *context, const struct engine_event *event)
{
    assert_int_equal(event->finish, ENGINE_FAILED);
    assert_non_null(strstr(event->error, "not a number"));
    ++*(unsigned *)context;
}

/* Each with its reason, whichever thread has looked at its logits. */
static void damaged_weights_fail_the_requests_and_not_the_engine(void **state)
{
    struct tiny_model *m = *state;
    /* Finite, as what is not is refused at load; but the last norm's products are not. */
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, "model.norm.weight") == 0)
            for (size_t k = 0; k < m->tensors[i].n_cols; k++)
                m->tensors[i].values[k] = 0x1.8p127f;
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, 0, m->n_tensors, &file);
    tiny_write_file(m, "model.safetensors", file.data, file.len);
    struct engine *e = open_with(m, options(2, 6, 64));
    const uint32_t prompt[] = {'z'};
    const struct engine_params p = plain_params(3);
    unsigned n_failed = 0;
    uint64_t id;
    for (size_t i = 0; i < 6; i++)
        assert_false(is_err(engine_submit(e, &id, prompt, 1, &p, assert_damage, &n_failed)));
    run_all(e);
    assert_int_equal(n_failed, 6);
    engine_free(e);
}

/* Byte 'k' is no token any more. */
static void leave_a_gap_in_the_vocabulary(const struct tiny_model *m)
{
    char path[128];
    snprintf(path, sizeof path, "%s/tokenizer.json", m->dir);
    json_t *root = json_load_file(path, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    assert_int_equal(json_object_del(vocab, "k"), 0);
    tiny_write_json(m, "tokenizer.json", root);
    json_decref(root);
}

static void an_id_without_a_token_is_never_chosen(void **state)
{
    leave_a_gap_in_the_vocabulary(*state);
    struct engine *e = open_with(*state, options(1, 2, 64));
    const uint32_t prompt[] = {'z'};
    const struct engine_bias wanted = {'k', 100};
    struct answer a = {0}, plain = {0};
    struct engine_params p = plain_params(3);
    submit(e, prompt, 1, &p, &plain);
    p.logit_bias = &wanted;
    p.n_logit_bias = 1;
    submit(e, prompt, 1, &p, &a);
    run_all(e);
    assert_int_equal(a.finish, ENGINE_LENGTH);
    assert_same_answer(&a, &plain);
    buf_cleanup(&a.text);
    buf_cleanup(&plain.text);
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_CASE(refuses_requests_that_make_no_sense),
        ENGINE_CASE(refuses_more_waiting_requests_than_allowed),
        ENGINE_CASE(waiting_batch_work_keeps_no_interactive_request_out),
        ENGINE_CASE(takes_all_choices_of_a_request_or_none),
        ENGINE_CASE(refuses_what_would_never_fit_in_the_cache),
        ENGINE_CASE(cancelling_ends_all_choices),
        ENGINE_CASE(a_cancelled_request_gets_one_last_event),
        ENGINE_CASE(freeing_calls_no_sink),
        ENGINE_CASE(many_threads_submit_to_a_running_engine),
        ENGINE_CASE(damaged_weights_fail_the_requests_and_not_the_engine),
        ENGINE_CASE(an_id_without_a_token_is_never_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
