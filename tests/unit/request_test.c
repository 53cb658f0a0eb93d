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

static size_t n_left; /* freed pieces of memory that held the salt */
static const uint8_t *sought;

void __real_free(void *p);
void __wrap_free(void *p);

/* The linker puts it in the place of free, in the engine too. */
void __wrap_free(void *p)
{
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
