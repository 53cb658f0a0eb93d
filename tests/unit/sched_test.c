/* The plan of a step: decode first, prompts in chunks, first come first served, the youngest gives
 * up its pages, and pages come back zeroed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched.h"

static const struct model_config config = {
    .vocab_size = 10, .n_layers = 1, .n_heads = 1, .n_kv_heads = 1, .head_dim = 2};

struct fixture {
    struct kv kv;
    struct sched sched;
    uint64_t last_id;
};

static void sink(void *context, const struct engine_event *event)
{
    (void)context;
    (void)event;
}

static void setup(struct fixture *f, size_t n_pages, size_t max_running)
{
    f->last_id = 0;
    assert_false(is_err(kv_init(&f->kv, &config, n_pages)));
    assert_false(is_err(sched_init(&f->sched, &f->kv, max_running)));
}

static void teardown(struct fixture *f)
{
    sched_cleanup(&f->sched);
    assert_int_equal(f->kv.n_free, f->kv.cache.n_pages);
    kv_cleanup(&f->kv);
}

static struct request *add(struct fixture *f, size_t n_prompt, unsigned max_tokens)
{
    uint32_t prompt[4096] = {0};
    struct engine_params params = {.top_p = 1, .repetition_penalty = 1, .max_tokens = max_tokens};
    struct request_source source = {prompt, n_prompt, &params, NULL, 0, sink, NULL};
    struct request *r = NULL;
    assert_false(is_err(request_new(&r, &source, 10, 4096)));
    r->id = ++f->last_id;
    queue_push(&f->sched.waiting, r);
    return r;
}

/* What a step does: all planned rows are computed, complete requests get a token. */
static void step(struct fixture *f, size_t budget)
{
    sched_plan(&f->sched, budget);
    for (size_t i = 0; i < f->sched.n_items; i++) {
        struct request *r = f->sched.items[i].request;
        assert_true(r->pages.n >= kv_pages_for(r->n_computed + f->sched.items[i].n_rows));
        for (size_t t = r->n_computed; t < r->n_computed + f->sched.items[i].n_rows; t++)
            *kv_cache_keys(&f->kv.cache, r->pages.pages[t / KV_PAGE_TOKENS], 0) = (float)r->id;
        r->n_computed += f->sched.items[i].n_rows;
        if (r->n_computed == r->n_tokens)
            r->n_tokens++;
    }
}

static size_t rows_of(const struct fixture *f, const struct request *r)
{
    for (size_t i = 0; i < f->sched.n_items; i++)
        if (f->sched.items[i].request == r)
            return f->sched.items[i].n_rows;
    return 0;
}

static void prompts_come_in_chunks_in_order(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 4);
    struct request *a = add(&f, 100, 10), *b = add(&f, 50, 10);
    step(&f, 60);
    assert_int_equal(rows_of(&f, a), 60);
    assert_int_equal(rows_of(&f, b), 0);
    step(&f, 60);
    assert_int_equal(rows_of(&f, a), 40);
    assert_int_equal(rows_of(&f, b), 20);
    teardown(&f);
}

static void decoding_goes_before_prompts(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 4);
    struct request *a = add(&f, 3, 10);
    step(&f, 8);
    struct request *b = add(&f, 100, 10);
    step(&f, 8);
    assert_int_equal(rows_of(&f, a), 1);
    assert_int_equal(rows_of(&f, b), 7);
    assert_ptr_equal(f.sched.items[0].request, a);
    teardown(&f);
}

static void no_more_run_than_allowed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 64, 2);
    add(&f, 3, 10);
    add(&f, 3, 10);
    add(&f, 3, 10);
    step(&f, 100);
    assert_int_equal(f.sched.n_items, 2);
    assert_int_equal(f.sched.waiting.n, 1);
    teardown(&f);
}

static void the_youngest_gives_up_its_pages_and_starts_over_first(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4, 4); /* 256 tokens */
    struct request *a = add(&f, 63, 193), *b = add(&f, 63, 100), *c = NULL;
    step(&f, 512);
    c = add(&f, 63, 100);
    step(&f, 512);
    assert_int_equal(f.sched.n_running, 3);
    assert_int_equal(f.kv.n_free, 1);
    for (int i = 0; i < 3; i++) /* a takes the last page, then b needs c's */
        step(&f, 512);
    assert_int_equal(f.sched.n_preempted, 1);
    assert_int_equal(f.sched.n_running, 2);
    assert_ptr_equal(f.sched.waiting.first, c);
    assert_int_equal(c->n_computed, 0);
    assert_int_equal(c->pages.n, 0);
    assert_true(rows_of(&f, a) == 1 && rows_of(&f, b) == 1);
    teardown(&f);
}

static void the_oldest_always_advances(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 3, 8); /* 192 tokens for eight requests that want up to 192 each */
    struct request *all[8];
    for (size_t i = 0; i < 8; i++)
        all[i] = add(&f, 1 + 20 * i, (unsigned)(192 - (1 + 20 * i)));
    for (size_t i = 0; i < 8; i++) {
        unsigned n_steps = 0;
        while (all[i]->n_tokens < all[i]->n_max) {
            size_t before = all[i]->n_computed;
            step(&f, 16);
            assert_true(all[i]->n_computed > before);
            assert_true(++n_steps < 300);
        }
        request_free(sched_remove(&f.sched, all[i]->id));
    }
    assert_int_equal(f.sched.n_running, 0);
    teardown(&f);
}

static void pages_come_back_zeroed(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 8, 4);
    struct request *a = add(&f, 200, 10);
    step(&f, 512);
    assert_true(*kv_cache_keys(&f.kv.cache, a->pages.pages[3], 0) == 1.0f);
    request_free(sched_remove(&f.sched, a->id));
    for (size_t i = 0; i < 8 * kv_cache_page_len(&f.kv.cache); i++)
        assert_true(f.kv.cache.data[i] == 0.0f);
    teardown(&f);
}

static void removing_finds_waiting_and_running_and_nothing_else(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 8, 1);
    struct request *a = add(&f, 2, 10), *b = add(&f, 2, 10), *c = add(&f, 2, 10);
    step(&f, 512);
    assert_null(sched_remove(&f.sched, 99));
    assert_ptr_equal(sched_remove(&f.sched, 2), b);
    assert_ptr_equal(sched_remove(&f.sched, 1), a);
    assert_null(sched_remove(&f.sched, 1));
    request_free(a);
    request_free(b);
    step(&f, 512);
    assert_int_equal(rows_of(&f, c), 2);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_chunks_in_order),
        cmocka_unit_test(decoding_goes_before_prompts),
        cmocka_unit_test(no_more_run_than_allowed),
        cmocka_unit_test(the_youngest_gives_up_its_pages_and_starts_over_first),
        cmocka_unit_test(the_oldest_always_advances),
        cmocka_unit_test(pages_come_back_zeroed),
        cmocka_unit_test(removing_finds_waiting_and_running_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
