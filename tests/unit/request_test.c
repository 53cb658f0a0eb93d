/* A request: what it keeps of its parameters, what it refuses, and when it may end. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/request.h"

enum { VOCAB = 100, CONTEXT = 64 };

static const uint32_t prompt[] = {5, 6, 5}, eos[] = {1, 2};
static const struct engine_params plain = {
    .top_p = 1, .repetition_penalty = 1, .max_tokens = 10, .has_seed = true};

static struct err make(struct request **out, const struct engine_params *p)
{
    struct request_source s = {
        .prompt = prompt, .n_prompt = 3, .params = p, .eos_ids = eos, .n_eos = 2};
    struct request_queue all = {0};
    TRY(request_new(&all, &s, VOCAB, CONTEXT));
    *out = queue_pop(&all);
    return err_ok();
}

static struct request *made(const struct engine_params *p)
{
    struct request *r = NULL;
    assert_false(is_err(make(&r, p)));
    assert_false(is_err(request_make_room(r)));
    return r;
}

static void keeps_its_own_copy_of_what_it_was_given(void **state)
{
    (void)state;
    struct engine_bias biases[] = {{9, 1}, {3, -2}};
    uint32_t stop_ids[] = {7};
    struct engine_params p = plain;
    p.logit_bias = biases;
    p.n_logit_bias = 2;
    p.stop_ids = stop_ids;
    p.n_stop_ids = 1;
    struct request *r = made(&p);
    memset(biases, 0xff, sizeof biases);
    memset(stop_ids, 0xff, sizeof stop_ids);
    assert_int_equal(r->params.n_logit_bias, 2);
    assert_int_equal(r->params.logit_bias[0].id, 3);
    assert_true(r->params.logit_bias[0].bias == -2);
    assert_int_equal(r->params.logit_bias[1].id, 9);
    assert_true(request_ends_with(r, 7));
    request_free(r);
}

static void eos_and_stop_tokens_end_it(void **state)
{
    (void)state;
    const uint32_t stop_ids[] = {7, 2};
    struct engine_params p = plain;
    p.stop_ids = stop_ids;
    p.n_stop_ids = 2;
    struct request *r = made(&p);
    assert_true(request_ends_with(r, 1) && request_ends_with(r, 2) && request_ends_with(r, 7));
    assert_false(request_ends_with(r, 0) || request_ends_with(r, 5));
    request_free(r);
    p.ignore_eos = true;
    r = made(&p);
    assert_true(request_ends_with(r, 2) && request_ends_with(r, 7)); /* 2 was asked for, too */
    assert_false(request_ends_with(r, 1));
    request_free(r);
}

static void must_go_on_until_it_has_min_tokens(void **state)
{
    (void)state;
    struct engine_params p = plain;
    p.min_tokens = 2;
    struct request *r = made(&p);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(request_must_go_on(r));
        assert_false(is_err(request_append(r, i)));
    }
    assert_false(request_must_go_on(r));
    request_free(r);
}

static void counts_tokens_only_for_penalties(void **state)
{
    (void)state;
    struct engine_params p = plain;
    struct request *r = made(&p);
    assert_false(is_err(request_append(r, 6)));
    assert_int_equal(r->counts.n, 0);
    request_free(r);
    p.frequency_penalty = 0.5f;
    r = made(&p);
    assert_false(is_err(request_append(r, 6)));
    assert_false(is_err(request_append(r, 8)));
    const struct token_count want[] = {{5, 0}, {6, 1}, {8, 1}};
    assert_int_equal(r->counts.n, 3);
    assert_memory_equal(r->counts.items, want, sizeof want);
    request_free(r);
}

static void assert_refused(const struct engine_params *p, const char *reason)
{
    struct request *r = NULL;
    assert_int_equal(make(&r, p).code, ERR_USAGE);
    assert_null(r);
    if (strstr(err_message(), reason) == NULL)
        fail_msg("%s", err_message());
}

static void refuses_biases_that_make_no_sense(void **state)
{
    (void)state;
    struct engine_bias biases[ENGINE_BIAS_MAX + 1] = {{5, 1}, {4, 1}, {5, 1}};
    struct engine_params p = plain;
    p.logit_bias = biases;
    p.n_logit_bias = 3;
    assert_refused(&p, "logit_bias has token 5 twice");
    biases[2] = (struct engine_bias){VOCAB, 1};
    assert_refused(&p, "logit_bias has token 100; the vocabulary ends at 99");
    biases[2] = (struct engine_bias){6, 100.5f};
    assert_refused(&p, "logit_bias is 100.5");
    biases[2].bias = __builtin_nanf("");
    assert_refused(&p, "logit_bias is");
    p.n_logit_bias = ENGINE_BIAS_MAX + 1;
    assert_refused(&p, "1025 tokens have a logit_bias; at most 1024");
}

static void refuses_ends_that_make_no_sense(void **state)
{
    (void)state;
    uint32_t ids[ENGINE_STOP_IDS_MAX + 1] = {VOCAB};
    struct engine_params p = plain;
    p.stop_ids = ids;
    p.n_stop_ids = 1;
    assert_refused(&p, "a stop token is 100; the vocabulary ends at 99");
    p.n_stop_ids = ENGINE_STOP_IDS_MAX + 1;
    assert_refused(&p, "65 stop tokens; at most 64");
    p = plain;
    p.min_tokens = 11;
    assert_refused(&p, "min_tokens is 11, more than max_tokens, which is 10");
}

static size_t n_left; /* freed pieces of memory that held what is sought, of SHA256_LEN bytes */
static const void *sought;
static size_t n_frees, n_freed; /* pieces, and their bytes */

void __real_free(void *p);
void __wrap_free(void *p);

/* The linker puts it in the place of free, in the engine too. */
void __wrap_free(void *p)
{
    n_frees += p != NULL;
    n_freed += malloc_usable_size(p);
    if (p != NULL && sought != NULL)
        n_left += memmem(p, malloc_usable_size(p), sought, SHA256_LEN) != NULL;
    __real_free(p);
}

static void leaves_no_salt_in_memory(void **state)
{
    (void)state;
    const struct engine_bias twice[] = {{5, 1}, {5, 1}};
    struct engine_params p = plain;
    p.has_cache_salt = true;
    memset(p.cache_salt, 0xa5, sizeof p.cache_salt);
    struct buf bait = BUF_INIT;
    buf_append(&bait, p.cache_salt, SHA256_LEN);
    sought = p.cache_salt;
    n_left = 0;
    buf_cleanup(&bait);
    assert_int_equal(n_left, 1); /* the search finds what is there */
    request_free(made(&p));
    assert_int_equal(n_left, 1);
    p.logit_bias = twice;
    p.n_logit_bias = 2;
    assert_refused(&p, "logit_bias has token 5 twice");
    assert_int_equal(n_left, 1);
    sought = NULL;
}

/* Neither where it waited nor where it ran. */
static void leaves_no_tokens_in_memory(void **state)
{
    (void)state;
    const uint32_t ids[] = {11, 12, 13, 14, 15, 16, 17, 18};
    struct engine_params p = plain;
    struct request_source s = {.prompt = ids, .n_prompt = 8, .params = &p};
    _Static_assert(sizeof ids == SHA256_LEN, "what is sought has that length");
    for (unsigned n_answer = 0; n_answer <= 8; n_answer += 8) {
        struct request_queue all = {0};
        sought = ids;
        n_left = 0;
        p.max_tokens = 40;
        p.presence_penalty = 1; /* a table of counts, too */
        assert_false(is_err(request_new(&all, &s, VOCAB, CONTEXT)));
        struct request *r = queue_pop(&all);
        if (n_answer > 0)
            assert_false(is_err(request_make_room(r)));
        for (unsigned i = 0; i < n_answer; i++)
            assert_false(is_err(request_append(r, ids[i])));
        request_free(r);
        assert_int_equal(n_left, 0);
        sought = NULL;
    }
}

/* As much of everything as may be. */
static struct engine_params largest_params(void)
{
    static struct engine_bias biases[ENGINE_BIAS_MAX];
    static uint32_t stop_ids[ENGINE_STOP_IDS_MAX];
    static char stop[ENGINE_STOP_LEN_MAX + 1];
    static const char *stops[ENGINE_STOP_MAX];
    struct engine_params p = plain;
    for (uint32_t i = 0; i < ENGINE_BIAS_MAX; i++)
        biases[i] = (struct engine_bias){i, 1};
    memset(stop, 'x', ENGINE_STOP_LEN_MAX);
    for (size_t i = 0; i < ENGINE_STOP_MAX; i++)
        stops[i] = stop;
    p.logit_bias = biases;
    p.n_logit_bias = ENGINE_BIAS_MAX;
    p.stop_ids = stop_ids;
    p.n_stop_ids = ENGINE_STOP_IDS_MAX;
    p.stop = stops;
    p.n_stop = ENGINE_STOP_MAX;
    p.max_tokens = 0;
    p.frequency_penalty = 1;
    return p;
}

enum { LONG_CONTEXT = 5000, LARGE_VOCAB = 4096 };

static struct request *largest(size_t n_prompt)
{
    static uint32_t tokens[LONG_CONTEXT];
    const uint32_t eos_ids[CONFIG_EOS_MAX] = {1};
    struct engine_params p = largest_params();
    struct request_source s = {.prompt = tokens,
                               .n_prompt = n_prompt,
                               .params = &p,
                               .eos_ids = eos_ids,
                               .n_eos = CONFIG_EOS_MAX};
    struct request_queue all = {0};
    for (uint32_t i = 0; i < LONG_CONTEXT; i++)
        tokens[i] = i % LARGE_VOCAB;
    assert_false(is_err(request_new(&all, &s, LARGE_VOCAB, LONG_CONTEXT)));
    assert_int_equal(all.n_bytes, request_size(all.first));
    struct request *r = queue_pop(&all);
    assert_int_equal(all.n_bytes, 0);
    return r;
}

/* Everything that it frees was counted, and not much more. */
static void free_and_compare(struct request *r, uint64_t size)
{
    n_frees = n_freed = 0;
    request_free(r);
    assert_true(n_freed <= size);
    assert_true(size <= n_freed + n_frees * 32);
}

static void its_size_is_all_that_it_holds(void **state)
{
    (void)state;
    struct request *r = made(&plain);
    free_and_compare(r, request_size(r));
    r = largest(4990);
    free_and_compare(r, request_size(r));
    r = largest(4990);
    assert_false(is_err(request_make_room(r)));
    free_and_compare(r, request_size(r));
}

static void none_is_larger_than_the_largest_that_is_counted(void **state)
{
    (void)state;
    struct request *r = largest(LONG_CONTEXT - 1);
    assert_true(ENGINE_CHOICES_MAX * request_size(r) <= request_waiting_max(LONG_CONTEXT));
    assert_true(request_size(r) > (uint64_t)LONG_CONTEXT * 4);
    assert_false(is_err(request_make_room(r)));
    assert_false(is_err(request_append(r, 7)));
    assert_true(request_size(r) <= request_running_size(LONG_CONTEXT, LARGE_VOCAB));
    request_free(r);
}

/* Short contexts: all that may wait; longer ones: 64 MiB; very long ones: one request. */
static void what_may_wait_has_a_limit_that_admits_the_largest_request(void **state)
{
    (void)state;
    uint64_t one = request_waiting_max(100) / ENGINE_WAITING_MAX;
    assert_true(one > 100 * 4 && one < 100 * 1024);
    assert_int_equal(request_waiting_max(100) % ENGINE_WAITING_MAX, 0);
    assert_int_equal(request_waiting_max(100000), REQUEST_WAITING_LEN);
    assert_true(request_waiting_max(1 << 20) >= ENGINE_CHOICES_MAX * ((uint64_t)4 << 20));
    assert_true(request_waiting_max(1 << 20) < ENGINE_CHOICES_MAX * ((uint64_t)5 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_own_copy_of_what_it_was_given),
        cmocka_unit_test(eos_and_stop_tokens_end_it),
        cmocka_unit_test(must_go_on_until_it_has_min_tokens),
        cmocka_unit_test(counts_tokens_only_for_penalties),
        cmocka_unit_test(refuses_biases_that_make_no_sense),
        cmocka_unit_test(refuses_ends_that_make_no_sense),
        cmocka_unit_test(leaves_no_salt_in_memory),
        cmocka_unit_test(leaves_no_tokens_in_memory),
        cmocka_unit_test(its_size_is_all_that_it_holds),
        cmocka_unit_test(none_is_larger_than_the_largest_that_is_counted),
        cmocka_unit_test(what_may_wait_has_a_limit_that_admits_the_largest_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
