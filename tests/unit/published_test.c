/*
 * The settings files of published checkpoints, old and new (tests/golden/published.json: their keys
 * and values, lists of rope factors made up): each is taken, and means what it should.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/generation.h"

static json_t *published;

static int read_published(void **state)
{
    (void)state;
    published = json_load_file(BL_SOURCE_DIR "/tests/golden/published.json", 0, NULL);
    return published != NULL ? 0 : -1;
}

static int free_published(void **state)
{
    (void)state;
    json_decref(published);
    return 0;
}

static const char *rope_name(const struct rope_config *r)
{
    static const char *const names[] = {
        [ROPE_PLAIN] = "plain", [ROPE_LLAMA3] = "llama3", [ROPE_LONGROPE] = "longrope"};
    return names[r->kind];
}

/* The number of that name in "expect"; what it is when absent. */
static double expected(const json_t *c, const char *key, double absent)
{
    const json_t *value = json_object_get(json_object_get(c, "expect"), key);
    return json_is_boolean(value) ? json_is_true(value)
           : value != NULL        ? json_number_value(value)
                                  : absent;
}

static void check(const json_t *c, const char *key, double got, double absent)
{
    if (fabs(got - expected(c, key, absent)) > 1e-6 * fabs(got))
        fail_msg("%s: %s is %g", json_string_value(json_object_get(c, "name")), key, got);
}

static void check_config(const json_t *c)
{
    const json_t *json = json_object_get(c, "config"), *expect = json_object_get(c, "expect");
    char *text = json_dumps(json, 0);
    struct model_config m = {0};
    if (is_err(config_parse(&m, bytes_of_str(text))))
        fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), err_message());
    free(text);
    assert_int_equal(m.hidden_size, json_integer_value(json_object_get(json, "hidden_size")));
    assert_int_equal(m.n_layers, json_integer_value(json_object_get(json, "num_hidden_layers")));
    assert_string_equal(rope_name(&m.rope), json_string_value(json_object_get(expect, "rope")));
    check(c, "head_dim", m.head_dim, -1);
    check(c, "rope_dim", m.rope.dim, m.head_dim);
    check(c, "theta", m.rope.theta, -1);
    check(c, "window", m.sliding_window, 0);
    check(c, "n_eos", (double)m.n_eos, -1);
    check(c, "tied", m.tied, 0);
    check(c, "qkv_bias", m.qkv_bias, 0);
    check(c, "qk_norm", m.qk_norm, 0);
    assert_false(m.o_bias || m.mlp_bias);
}

static void takes_each_published_config(void **state)
{
    (void)state;
    const json_t *all = json_object_get(published, "configs");
    assert_true(json_array_size(all) >= 28);
    for (size_t i = 0; i < json_array_size(all); i++)
        check_config(json_array_get(all, i));
}

static void refuses_each_published_config_with_one_unknown_key_more(void **state)
{
    (void)state;
    const json_t *all = json_object_get(published, "configs");
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *config = json_deep_copy(json_object_get(json_array_get(all, i), "config"));
        json_object_set_new(config, "attn_logit_softcapping", json_real(50));
        char *text = json_dumps(config, 0);
        struct model_config m = {0};
        assert_int_equal(config_parse(&m, bytes_of_str(text)).code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err_message(), "\"attn_logit_softcapping\" is 50"));
        free(text);
        json_decref(config);
    }
}

static void takes_each_published_generation_config(void **state)
{
    (void)state;
    const json_t *all = json_object_get(published, "generation");
    assert_true(json_array_size(all) >= 10);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *c = json_array_get(all, i);
        struct generation_config g = generation_default;
        char *text = json_dumps(json_object_get(c, "config"), 0);
        if (is_err(generation_parse(&g, bytes_of_str(text))))
            fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), err_message());
        free(text);
        check(c, "temperature", (double)g.temperature, 1);
        check(c, "top_p", (double)g.top_p, 1);
        check(c, "top_k", g.top_k, 0);
        check(c, "repetition_penalty", (double)g.repetition_penalty, 1);
        check(c, "n_eos", (double)g.n_eos, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_each_published_config),
        cmocka_unit_test(refuses_each_published_config_with_one_unknown_key_more),
        cmocka_unit_test(takes_each_published_generation_config),
    };
    return cmocka_run_group_tests(tests, read_published, free_published);
}
