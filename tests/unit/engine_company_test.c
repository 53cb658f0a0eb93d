/* The promise of the whole engine: alone or among others, in chunks of any size, on any number of
 * threads, on any pages, with its beginning found in the cache or not, as one choice of several,
 * interactive or batch, preempted or not, a request gets the same tokens, logprobs and rows of
 * logits, bit for bit. Random mixes; the seed of a failure is printed, BL_TEST_SEED repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

enum { N_REQUESTS = 14, CHOICES = 3, PROMPT_MAX = 200, TOKENS_MAX = 56, ROUNDS = 8, PASSES = 2 };

struct mix_request {
    uint32_t prompt[PROMPT_MAX];
    size_t n_prompt;
    struct engine_params params; /* of its first choice alone, with no salt */
    struct answer alone[CHOICES];
    unsigned n_alone; /* those that are known */
};

static unsigned below(uint64_t *seed, unsigned n)
{
    return (unsigned)(tiny_random(seed) % n);
}

/* Three documents; a prompt is the beginning of one, at times with an end of its own. */
static void make_prompt(struct mix_request *r, uint64_t *seed)
{
    static const unsigned whole_pages[] = {64, 65, 128, 129, 192};
    random_tokens(r->prompt, PROMPT_MAX, 1000 + below(seed, 3));
    r->n_prompt = below(seed, 3) == 0 ? whole_pages[below(seed, 5)] : 1 + below(seed, PROMPT_MAX);
    size_t n_own = below(seed, 2) * below(seed, 80);
    if (n_own > r->n_prompt)
        n_own = r->n_prompt;
    random_tokens(r->prompt + r->n_prompt - n_own, n_own, *seed);
}

static void make_request(struct mix_request *r, uint64_t *seed)
{
    make_prompt(r, seed);
    r->params = plain_params(1 + below(seed, TOKENS_MAX));
    r->params.logprobs = true;
    r->params.n_logprobs = 2;
    r->params.seed = tiny_random(seed);
    r->params.choice = below(seed, 3);
    if (below(seed, 3) != 0)
        r->params.temperature = 0.9f;
    if (below(seed, 4) == 0)
        r->params.top_p = 0.8f;
    if (below(seed, 4) == 0)
        r->params.top_k = 20;
    if (below(seed, 4) == 0)
        r->params.frequency_penalty = 0.5f;
}

/* Each choice as a request of its own, on a fresh engine. */
static const struct answer *alone(const struct tiny_model *m, struct mix_request *r, unsigned index)
{
    for (; r->n_alone <= index; r->n_alone++) {
        struct engine *e = open_with(m, options(1, 1, 512));
        struct engine_params p = r->params;
        p.choice += r->n_alone;
        submit(e, r->prompt, r->n_prompt, &p, &r->alone[r->n_alone]);
        run_all(e);
        assert_int_equal(r->alone[r->n_alone].n, p.max_tokens);
        engine_free(e);
    }
    return &r->alone[index];
}

/* One request of a mix in flight. */
struct flight {
    struct mix_request *request;
    unsigned n_choices, n_wait; /* steps until it is cancelled; 0: never */
    struct answer answers[CHOICES];
};

static struct engine_params mixed_params(const struct flight *f, uint64_t *seed)
{
    struct engine_params p = f->request->params;
    p.n_choices = f->n_choices;
    p.priority = below(seed, 2) == 0 ? ENGINE_BATCH : ENGINE_INTERACTIVE;
    unsigned salt = below(seed, 3);
    p.has_cache_salt = salt > 0;
    p.cache_salt[0] = (uint8_t)salt;
    return p;
}

static void assert_part_of(const struct answer *part, const struct answer *whole)
{
    assert_true(part->n <= whole->n);
    assert_memory_equal(part->ids, whole->ids, part->n * sizeof *part->ids);
    assert_memory_equal(part->rows, whole->rows, part->n * sizeof *part->rows);
}

static void check_flight(const struct tiny_model *m, struct flight *f)
{
    for (unsigned i = 0; i < f->n_choices; i++) {
        struct answer *a = &f->answers[i];
        assert_int_equal(a->n_ends, 1);
        if (a->finish == ENGINE_CANCELLED && f->n_wait > 0)
            assert_part_of(a, alone(m, f->request, i));
        else
            assert_same_answer(a, alone(m, f->request, i));
        buf_cleanup(&a->text);
    }
}

/* Every page is free and zero, idle and known, or held; the numbers add up. */
static void check_pages(const struct engine *e)
{
    const struct kv *kv = &e->kv;
    size_t len = kv_cache_page_len(&kv->cache), n_idle = 0;
    for (uint32_t i = kv->oldest; i != KV_NO_PAGE; i = kv->pages[i].newer, n_idle++)
        assert_true(kv->pages[i].known && kv->pages[i].n_holders == 0);
    assert_int_equal(n_idle, kv->n_idle);
    size_t n_held = 0;
    for (size_t i = 0; i < kv->cache.n_pages; i++)
        n_held += kv->pages[i].n_holders > 0;
    assert_int_equal(n_held + n_idle + kv->n_free, kv->cache.n_pages);
    for (size_t i = 0; i < kv->n_free; i++) {
        assert_false(kv->pages[kv->free_pages[i]].known);
        assert_true(all_zero(kv->cache.data + kv->free_pages[i] * len, len * sizeof(float)));
    }
}

static void step_and_cancel(struct engine *e, struct flight *flights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (flights[i].n_wait > 1 && --flights[i].n_wait == 1)
            engine_cancel(e, flights[i].answers[0].id);
    step(e);
}

static bool all_ended(const struct flight *flights)
{
    for (size_t i = 0; i < N_REQUESTS; i++)
        for (unsigned j = 0; j < flights[i].n_choices; j++)
            if (flights[i].answers[j].n_ends == 0)
                return false;
    return true;
}

/* All requests in a random order, some of them late. */
static void run_pass(const struct tiny_model *m, struct engine *e, struct mix_request *mix,
                     uint64_t *seed)
{
    static struct flight flights[N_REQUESTS];
    memset(flights, 0, sizeof flights);
    for (size_t i = 0; i < N_REQUESTS; i++) {
        struct flight *f = &flights[i];
        f->request = &mix[below(seed, N_REQUESTS)];
        f->n_choices = below(seed, 3) == 0 ? 1 + below(seed, CHOICES) : 1;
        f->n_wait = below(seed, 5) == 0 ? 2 + below(seed, 40) : 0;
        struct engine_params p = mixed_params(f, seed);
        submit(e, f->request->prompt, f->request->n_prompt, &p, f->answers);
        for (unsigned n = below(seed, 6); n > 0; n--)
            step_and_cancel(e, flights, i + 1);
        check_pages(e);
    }
    for (unsigned n = 0; !all_ended(flights); n++) {
        step_and_cancel(e, flights, N_REQUESTS);
        assert_true(n < 20000);
        if (n % 16 == 0)
            check_pages(e);
    }
    for (size_t i = 0; i < N_REQUESTS; i++)
        check_flight(m, &flights[i]);
}

static void check_end(struct engine *e)
{
    struct engine_stats stats;
    run_all(e);
    check_pages(e);
    engine_stats(e, &stats);
    assert_int_equal(stats.n_pages_used, 0);
    assert_int_equal(stats.n_running + stats.n_waiting, 0);
    assert_int_equal(stats.waiting_bytes, 0);
    assert_int_equal(stats.n_pages_cached + e->kv.n_free, stats.n_pages);
    if (e->options.no_prefix_cache) /* then all salts are nobody's, and nothing may stay */
        assert_int_equal(stats.n_pages_cached, 0);
    kv_expire(&e->kv, 0, SIZE_MAX);
    assert_int_equal(e->kv.n_free, stats.n_pages);
    assert_true(all_zero(e->kv.cache.data, stats.n_pages * page_size()));
}

static struct engine_options random_options(unsigned round, uint64_t *seed)
{
    static const unsigned budgets[] = {1, 3, 5, 16, 33, 64, 100, 512};
    struct engine_options o = options(1 + below(seed, 3), 1 + below(seed, 12), budgets[round % 8]);
    o.max_context = 256;
    o.kv_bytes = (4 + below(seed, 9)) * page_size();
    o.no_prefix_cache = below(seed, 3) == 0;
    return o;
}

static uint64_t first_seed(void)
{
    const char *given = getenv("BL_TEST_SEED");
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    return given != NULL ? strtoull(given, NULL, 10) : seed;
}

static void an_answer_does_not_depend_on_its_company(void **state)
{
    const struct tiny_model *m = *state;
    static struct mix_request mix[N_REQUESTS];
    uint64_t seed = first_seed(), n_preempted = 0, n_evicted = 0, n_hits = 0;
    print_message("BL_TEST_SEED=%llu\n", (unsigned long long)seed);
    memset(mix, 0, sizeof mix);
    for (size_t i = 0; i < N_REQUESTS; i++)
        make_request(&mix[i], &seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct engine_stats stats;
        struct engine *e = open_with(m, random_options(round, &seed));
        for (unsigned pass = 0; pass < PASSES; pass++)
            run_pass(m, e, mix, &seed);
        check_end(e);
        engine_stats(e, &stats);
        n_preempted += stats.n_preempted;
        n_evicted += stats.n_evicted;
        n_hits += stats.n_prefix_hits;
        engine_free(e);
    }
    assert_true(n_preempted > 0 && n_evicted > 0 && n_hits > 0);
    for (size_t i = 0; i < N_REQUESTS; i++)
        for (unsigned j = 0; j < mix[i].n_alone; j++)
            buf_cleanup(&mix[i].alone[j].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {ENGINE_CASE(an_answer_does_not_depend_on_its_company)};
    return engine_run_on_all_backends(tests, 1);
}
