/* Steps in flight on the emulated GPU: each is launched before the one ahead is read, and whatever
 * ends or waits meanwhile, every answer is that of one step at a time, to the bit. */
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

static const struct gpu_driver *whole; /* of the GPU that was chosen */
static struct gpu_driver driver;       /* the same, which is listened to */
static struct gpu_backend backend;

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
                                       .seed = 8};

static int setup(void **state)
{
    static struct tiny_model m;
    backend = *gpu_chosen();
    whole = backend.driver;
    driver = *whole;
    backend.driver = &driver;
    tiny_write(&m, &small);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

static struct engine *open_gpu(const struct tiny_model *m, unsigned max_requests, size_t n_pages,
                               size_t depth, uint64_t seed)
{
    struct engine_options o = options(1, max_requests, 96);
    o.backend = "cuda";
    o.gpu = &backend;
    o.gpu_logits = true;
    o.kv_bytes = n_pages * 2 * KV_PAGE_TOKENS * small.head_dim * sizeof(uint16_t);
    gpu_emu_seed(seed);
    struct engine *e = open_with(m, o);
    assert_int_equal(e->depth, DEVICE_FLIGHTS);
    assert_int_equal(e->kv.cache.n_pages, n_pages);
    e->depth = depth;
    return e;
}

/* What the driver was asked for: a step begins with a copy, ends with a record, and is read after a
 * wait for it. */
static unsigned n_copies, n_records, n_waits, most_in_flight;

static struct err count_copy(struct gpu_stream *s, struct gpu_address to, const void *from,
                             size_t len)
{
    n_copies++;
    return whole->copy_to(s, to, from, len);
}

static struct err count_record(struct gpu_event *e, struct gpu_stream *s)
{
    n_records++;
    if (n_records - n_waits > most_in_flight)
        most_in_flight = n_records - n_waits;
    return whole->event_record(e, s);
}

static struct err count_wait(struct gpu_event *e)
{
    n_waits++;
    return whole->event_wait(e);
}

static void a_step_is_launched_before_the_one_ahead_is_read(void **state)
{
    const uint32_t prompt[] = {1, 2, 3};
    struct engine_params p = plain_params(8);
    struct answer answers[2] = {0};
    for (size_t depth = 1; depth <= 2; depth++) {
        driver.copy_to = count_copy;
        driver.event_record = count_record;
        driver.event_wait = count_wait;
        struct engine *e = open_gpu(*state, 1, 4, depth, depth);
        n_copies = n_records = n_waits = most_in_flight = 0;
        submit(e, prompt, 3, &p, &answers[depth - 1]);
        run_all(e);
        assert_int_equal(n_records, 8); /* none too many: the length is known */
        assert_int_equal(n_waits, 8);
        assert_int_equal(n_copies, 8 + 2); /* first the slot's page and its parameters */
        assert_int_equal(most_in_flight, depth);
        assert_int_equal(e->progress.n_steps, 8);
        engine_free(e);
    }
    assert_same_answer(&answers[0], &answers[1]);
    for (size_t i = 0; i < 2; i++)
        buf_cleanup(&answers[i].text);
}

enum { N_MIX = 7 };

struct mixed {
    uint32_t prompt[100];
    size_t n_prompt;
    struct engine_params params;
    unsigned cancel_after; /* tokens; 0: never */
    struct answer alone, among;
};

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

static void run_alone(const struct tiny_model *m, struct mixed *x)
{
    struct engine *e = open_gpu(m, 1, 4, 1, 1);
    x->alone = (struct answer){0};
    submit(e, x->prompt, x->n_prompt, &x->params, &x->alone);
    run_all(e);
    engine_free(e);
}

static void make_mix(const struct tiny_model *m, struct mixed *mix)
{
    static const size_t lengths[N_MIX] = {62, 5, 9, 64, 3, 30, 61};
    static uint32_t end;
    static char stop[2];
    static const char *const stops[] = {stop};
    for (size_t i = 0; i < N_MIX; i++) {
        random_tokens(mix[i].prompt, 100, 40 + i);
        mix[i].n_prompt = lengths[i];
        mix[i].params = plain_params(8);
        mix[i].params.seed = i;
        mix[i].params.temperature = 1.5f;
        mix[i].params.logprobs = i % 2 == 0;
        mix[i].params.n_logprobs = i % 2 == 0 ? 3 : 0;
        run_alone(m, &mix[i]);
    }
    end = mix[1].alone.ids[4]; /* the fifth ends it, or the first like it */
    mix[1].params.stop_ids = &end;
    mix[1].params.n_stop_ids = 1;
    for (size_t i = 0; i < mix[2].alone.text.len && stop[0] == 0; i++)
        if (mix[2].alone.text.data[i] < 128)
            stop[0] = (char)mix[2].alone.text.data[i];
    assert_true(stop[0] != 0); /* a byte of ASCII: one token */
    mix[2].params.stop = stops;
    mix[2].params.n_stop = 1;
    mix[3].params.mask = mask_by_the_last;
    mix[4].params.frequency_penalty = 1;
    mix[4].params.priority = ENGINE_BATCH;
    mix[5].cancel_after = 3;
    mix[6].params.priority = ENGINE_BATCH;
    mix[6].params.has_cache_salt = true;
    for (size_t i = 0; i < N_MIX; i++) {
        buf_cleanup(&mix[i].alone.text);
        run_alone(m, &mix[i]);
    }
    assert_true(mix[1].alone.finish == ENGINE_STOP && mix[2].alone.finish == ENGINE_STOP);
    assert_true(mix[1].alone.n <= 5 && mix[2].alone.n < 8);
}

static void assert_mixed(const struct mixed *x)
{
    assert_int_equal(x->among.n_ends, 1);
    if (x->cancel_after == 0) {
        assert_same_answer(&x->among, &x->alone);
        return;
    }
    assert_int_equal(x->among.finish, ENGINE_CANCELLED);
    assert_int_equal(x->among.n, x->cancel_after); /* what was on its way is nobody's */
    assert_memory_equal(x->among.ids, x->alone.ids, x->among.n * sizeof x->alone.ids[0]);
    assert_memory_equal(x->among.rows, x->alone.rows, x->among.n * sizeof x->alone.rows[0]);
}

static uint64_t run_mix(const struct tiny_model *m, struct mixed *mix, size_t n_pages,
                        uint64_t seed)
{
    struct engine *e = open_gpu(m, 5, n_pages, 2, seed);
    for (size_t i = 0; i < N_MIX; i++) {
        struct mixed *x = &mix[(i * 3 + seed) % N_MIX];
        x->among = (struct answer){.cancel_in = x->cancel_after > 0 ? e : NULL,
                                   .cancel_after = x->cancel_after};
        submit(e, x->prompt, x->n_prompt, &x->params, &x->among);
        for (uint64_t n = (seed + i) % 3; n > 0; n--)
            step(e);
    }
    run_all(e);
    for (size_t i = 0; i < N_MIX; i++) {
        assert_mixed(&mix[i]);
        buf_cleanup(&mix[i].among.text);
    }
    uint64_t n_preempted = e->sched.n_preempted;
    assert_int_equal(e->kv.n_free + e->kv.n_idle, n_pages);
    assert_int_equal(e->sched.n_flights, 0);
    engine_free(e);
    return n_preempted;
}

/* End tokens, stop strings and cancellation in the middle of a flight, a mask that waits, batch
 * work that gives up its pages. */
static void whoever_ends_or_waits_changes_nobodys_answer(void **state)
{
    static struct mixed mix[N_MIX];
    memset(mix, 0, sizeof mix);
    make_mix(*state, mix);
    uint64_t n_preempted = 0;
    for (uint64_t seed = 1; seed <= 3; seed++)
        n_preempted += run_mix(*state, mix, seed == 1 ? 12 : 4, seed);
    assert_true(n_preempted > 0);
    for (size_t i = 0; i < N_MIX; i++)
        buf_cleanup(&mix[i].alone.text);
}

static void choices_share_a_prompt_that_is_on_its_way(void **state)
{
    uint32_t prompt[70];
    struct engine_params p = plain_params(4);
    struct answer answers[3] = {0}, alone[3] = {0};
    random_tokens(prompt, 70, 5);
    p.temperature = 1;
    for (unsigned i = 0; i < 3; i++) {
        struct engine *e = open_gpu(*state, 1, 4, 1, 2);
        p.choice = i;
        submit(e, prompt, 70, &p, &alone[i]);
        run_all(e);
        engine_free(e);
    }
    struct engine *e = open_gpu(*state, 3, 12, 2, 3);
    p.choice = 0;
    p.n_choices = 3;
    submit(e, prompt, 70, &p, answers);
    run_all(e);
    assert_true(e->progress.n_prompt_tokens < 2 * 70); /* computed once */
    for (size_t i = 0; i < 3; i++) {
        assert_same_answer(&answers[i], &alone[i]);
        buf_cleanup(&answers[i].text);
        buf_cleanup(&alone[i].text);
    }
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_step_is_launched_before_the_one_ahead_is_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(whoever_ends_or_waits_changes_nobodys_answer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(choices_share_a_prompt_that_is_on_its_way, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
