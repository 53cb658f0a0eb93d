#include "tests/unit/sched_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct model_config config = {
    .vocab_size = 10, .n_layers = 1, .n_heads = 1, .n_kv_heads = 1, .head_dim = 2};

static void sink(void *context, const struct engine_event *event)
{
    (void)context;
    (void)event;
}

void setup(struct fixture *f, size_t n_pages, size_t max_running)
{
    *f = (struct fixture){0};
    assert_false(is_err(kv_init(&f->kv, &config, n_pages, NULL)));
    assert_false(is_err(sched_init(&f->sched, &f->kv, max_running)));
}

void assert_all_zero(const struct kv *kv)
{
    for (size_t i = 0; i < kv->cache.n_pages * kv_cache_page_len(&kv->cache); i++)
        assert_true(kv->cache.data[i] == 0.0f);
}

void teardown(struct fixture *f)
{
    sched_cleanup(&f->sched);
    f->kv.now_ms = 1000;
    kv_expire(&f->kv, 0, SIZE_MAX);
    assert_int_equal(f->kv.n_free, f->kv.cache.n_pages);
    assert_all_zero(&f->kv);
    kv_cleanup(&f->kv);
}

void add_all(struct fixture *f, const struct engine_params *params, size_t n_prompt,
             struct request **out)
{
    uint32_t prompt[4096] = {0};
    struct request_source source = {
        .prompt = prompt, .n_prompt = n_prompt, .params = params, .sink = sink};
    struct request_queue made = {0};
    assert_false(is_err(request_new(&made, &source, 10, 4096)));
    f->last_id++;
    for (struct request *r = made.first; r != NULL; r = r->next) {
        r->id = f->last_id;
        r->number = ++f->last_number;
        *out++ = r;
    }
    sched_add(&f->sched, &made);
}

const struct engine_params plain = {.top_p = 1, .repetition_penalty = 1};

struct request *add(struct fixture *f, size_t n_prompt, unsigned max_tokens)
{
    struct engine_params params = plain;
    struct request *r = NULL;
    params.max_tokens = max_tokens;
    add_all(f, &params, n_prompt, &r);
    return r;
}

struct request *add_batch(struct fixture *f, size_t n_prompt, unsigned max_tokens)
{
    struct engine_params params = plain;
    struct request *r = NULL;
    params.max_tokens = max_tokens;
    params.priority = ENGINE_BATCH;
    add_all(f, &params, n_prompt, &r);
    return r;
}

struct request *add_salted(struct fixture *f, size_t n_prompt, uint8_t salt)
{
    struct engine_params params = plain;
    struct request *r = NULL;
    params.max_tokens = 4;
    params.has_cache_salt = true;
    params.cache_salt[5] = salt;
    add_all(f, &params, n_prompt, &r);
    return r;
}

void finish(struct fixture *f, struct request *r)
{
    sched_remove(&f->sched, r);
    request_free(r);
}

static void read_flight(struct sched *s)
{
    for (size_t i = 0; i < s->flights[0].n_items; i++) {
        struct request *r = s->flights[0].items[i].request;
        if (r == NULL || !s->flights[0].items[i].chooses)
            continue;
        sched_read(s, r);
        r->n_tokens++;
    }
    sched_land(s);
}

/* What a step does: all planned rows are computed, complete requests get a token. */
void step(struct fixture *f, size_t budget)
{
    sched_plan(&f->sched, budget);
    for (size_t i = 0; i < f->sched.n_items; i++) {
        struct request *r = f->sched.items[i].request;
        assert_true(r->pages.n >= kv_pages_for(r->n_computed + f->sched.items[i].n_rows));
        for (size_t t = r->n_computed; t < r->n_computed + f->sched.items[i].n_rows; t++) {
            uint32_t page = r->pages.pages[t / KV_PAGE_TOKENS];
            assert_int_equal(f->kv.pages[page].n_holders, 1); /* what is shared is only read */
            assert_false(f->kv.pages[page].known);
            *kv_cache_keys(&f->kv.cache, page, 0) = (float)r->id;
        }
    }
    bool planned = f->sched.n_items > 0;
    if (planned)
        sched_launch(&f->sched);
    if (f->sched.n_flights > f->depth_less_one || (!planned && f->sched.n_flights > 0))
        read_flight(&f->sched);
}

size_t rows_of(const struct fixture *f, const struct request *r)
{
    for (size_t i = 0; i < f->sched.n_items; i++)
        if (f->sched.items[i].request == r)
            return f->sched.items[i].n_rows;
    return 0;
}
