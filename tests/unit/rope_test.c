/* The rotary embedding: its keys in config.json, its formulas, its table. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/rope.h"

/* Two heads of 12 elements, of which 8 turn: four pairs. */
static const char phi[] =
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"vocab_size\":9,"
    "\"hidden_size\":24,\"intermediate_size\":8,\"num_hidden_layers\":1,\"rms_norm_eps\":1e-05,"
    "\"num_attention_heads\":2,\"max_position_embeddings\":131072,\"partial_rotary_factor\":0.7,"
    "\"original_max_position_embeddings\":4096,\"rope_theta\":10000.0,\"rope_scaling\":"
    "{\"type\":\"longrope\",\"short_factor\":[1,1.5,2,0.5],\"long_factor\":[1,4,16.5,32]}}";

/* `phi` with one key of it, or of its rope_scaling as "rope_scaling/type", set to the JSON text
 * `value`; NULL removes it. */
static struct err parse_with(struct model_config *c, const char *key, const char *value)
{
    json_t *root = json_loads(phi, 0, NULL), *at = root;
    const char *slash = strchr(key, '/');
    assert_non_null(root);
    if (slash != NULL)
        at = json_object_get(root, "rope_scaling");
    const char *name = slash != NULL ? slash + 1 : key;
    if (value == NULL)
        json_object_del(at, name);
    else
        json_object_set_new(at, name, json_loads(value, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(root, 0);
    struct err e = config_parse(c, bytes_of_str(text));
    free(text);
    json_decref(root);
    return e;
}

static void reads_longrope_by_every_name(void **state)
{
    (void)state;
    static const char *const changes[][2] = {{"rope_scaling/type", "\"longrope\""},
                                             {"rope_scaling/type", "\"su\""},
                                             {"rope_scaling/rope_type", "\"longrope\""}};
    for (size_t i = 0; i < 3; i++) {
        struct model_config c = {0};
        if (is_err(parse_with(&c, changes[i][0], changes[i][1])))
            fail_msg("%s", err_message());
        assert_int_equal(c.rope.kind, ROPE_LONGROPE);
        assert_int_equal(c.rope.dim, 8);
        assert_int_equal(c.rope.original_max_positions, 4096);
        assert_true(c.rope.short_factor[3] == 0.5 && c.rope.long_factor[2] == 16.5);
        assert_true(fabs(c.rope.attention_factor - sqrt(1 + log(32) / log(4096))) < 1e-14);
    }
}

/* As transformers 5 writes it: everything in rope_parameters, some of it outside, too. */
static void reads_longrope_from_rope_parameters(void **state)
{
    (void)state;
    struct model_config c = {0};
    json_t *root = json_loads(phi, 0, NULL), *rope = json_object_get(root, "rope_scaling");
    json_object_set(root, "rope_parameters", rope);
    json_object_del(root, "rope_scaling");
    json_object_del(root, "partial_rotary_factor");
    json_object_del(root, "rope_theta");
    json_object_set_new(rope, "rope_type", json_string("longrope"));
    json_object_set_new(rope, "type", json_string("su"));
    json_object_set_new(rope, "rope_theta", json_real(5e5));
    json_object_set_new(rope, "partial_rotary_factor", json_real(0.7));
    json_object_set_new(rope, "factor", json_real(32));
    json_object_set_new(rope, "original_max_position_embeddings", json_integer(4096));
    char *text = json_dumps(root, 0);
    if (is_err(config_parse(&c, bytes_of_str(text))))
        fail_msg("%s", err_message());
    assert_true(c.rope.kind == ROPE_LONGROPE && c.rope.dim == 8 && c.rope.theta == 5e5);
    assert_int_equal(c.rope.original_max_positions, 4096);
    free(text);
    json_decref(root);
}

static void the_attention_factor_may_be_given(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(parse_with(&c, "rope_scaling/attention_factor", "1.25")));
    assert_true(c.rope.attention_factor == 1.25);
    assert_false(is_err(parse_with(&c, "rope_scaling/attention_factor", "null")));
    assert_true(c.rope.attention_factor > 1.18 && c.rope.attention_factor < 1.20);
    assert_false(is_err(parse_with(&c, "max_position_embeddings", "4096")));
    assert_true(c.rope.attention_factor == 1.0);
}

static void refuses_longrope_that_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum err_code code;
        const char *named;
    } cases[] = {
        {"original_max_position_embeddings", NULL, ERR_MALFORMED, NULL},
        {"original_max_position_embeddings", "1", ERR_UNSUPPORTED, NULL},
        {"original_max_position_embeddings", "4096.5", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/original_max_position_embeddings", "8192", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/rope_theta", "9999", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/partial_rotary_factor", "1.0", ERR_UNSUPPORTED, NULL},
        {"partial_rotary_factor", "0.76", ERR_UNSUPPORTED, NULL}, /* 9 elements */
        {"partial_rotary_factor", "0.1", ERR_UNSUPPORTED, NULL},
        {"partial_rotary_factor", "1.5", ERR_UNSUPPORTED, NULL},
        {"partial_rotary_factor", "1.0", ERR_UNSUPPORTED, "short_factor"}, /* 6 pairs */
        {"rope_scaling/short_factor", NULL, ERR_MALFORMED, NULL},
        {"rope_scaling/short_factor", "2.0", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_factor", "[1,2,3]", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_factor", "[1,2,3,4,5]", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_factor", "[1,2,3,\"4\"]", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_factor", "[1,2,3,0]", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_factor", "[1,2,0.1,4]", ERR_UNSUPPORTED, "[2]"},
        {"rope_scaling/factor", "16.0", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/attention_factor", "0", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/short_mscale", "1.1", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/long_mscale", "1.1", ERR_UNSUPPORTED, NULL},
        {"rope_scaling/type", "\"yarn\"", ERR_UNSUPPORTED, "rope_scaling"},
        {"rope_scaling/type", "3", ERR_UNSUPPORTED, "rope_scaling"},
        {"rope_scaling/rope_type", "\"llama3\"", ERR_UNSUPPORTED, "\"type\" is"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config c = {0};
        const char *slash = strchr(cases[i].key, '/');
        const char *named = cases[i].named;
        if (named == NULL)
            named = slash != NULL ? slash + 1 : cases[i].key;
        struct err e = parse_with(&c, cases[i].key, cases[i].value);
        if (e.code != cases[i].code || strstr(err_message(), named) == NULL)
            fail_msg("%s = %s: got %s, \"%s\"", cases[i].key, cases[i].value, err_code_name(e.code),
                     is_err(e) ? err_message() : "");
    }
}

static void only_phi3_may_have_longrope_or_turn_a_part_of_a_head(void **state)
{
    (void)state;
    struct model_config c = {0};
    json_t *root = json_loads(phi, 0, NULL);
    json_object_set_new(root, "architectures", json_pack("[s]", "LlamaForCausalLM"));
    json_object_set_new(root, "model_type", json_string("llama"));
    json_object_del(root, "original_max_position_embeddings");
    char *text = json_dumps(root, 0);
    assert_int_equal(config_parse(&c, bytes_of_str(text)).code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "partial_rotary_factor"));
    free(text);
    json_object_del(root, "partial_rotary_factor");
    text = json_dumps(root, 0);
    assert_int_equal(config_parse(&c, bytes_of_str(text)).code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "longrope"));
    free(text);
    json_decref(root);
}

static void a_context_beyond_the_original_has_the_long_factors(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(parse_with(&c, "hidden_act", "\"silu\"")));
    const double short_factors[] = {1, 1.5, 2, 0.5}, long_factors[] = {1, 4, 16.5, 32};
    for (unsigned i = 0; i < 4; i++) {
        double f = pow(10000.0, -2.0 * i / 8);
        assert_true(fabs(rope_frequency(&c.rope, 4096, i) * short_factors[i] - f) < 1e-14 * f);
        assert_true(fabs(rope_frequency(&c.rope, 4097, i) * long_factors[i] - f) < 1e-14 * f);
    }
}

/* A row of the table does not depend on the number of rows, but for the set. */
static void the_set_is_one_for_the_whole_table(void **state)
{
    (void)state;
    enum { LONG = 5000, WIDTH = 8 };
    struct model_config c = {0};
    float *at_limit = calloc(LONG * WIDTH, sizeof *at_limit);
    float *beyond = calloc(LONG * WIDTH, sizeof *beyond);
    float *few = calloc(LONG * WIDTH, sizeof *few);
    assert_true(at_limit != NULL && beyond != NULL && few != NULL);
    assert_false(is_err(parse_with(&c, "hidden_act", "\"silu\"")));
    rope_table(few, &c.rope, 100);
    rope_table(at_limit, &c.rope, 4096);
    rope_table(beyond, &c.rope, LONG);
    assert_memory_equal(few, at_limit, 100 * WIDTH * sizeof *few);
    assert_memory_not_equal(beyond, at_limit, 100 * WIDTH * sizeof *few);
    for (unsigned p = 0; p < LONG; p += 61) {
        double angle = p * pow(10000.0, -4.0 / 8) / 16.5, scale = sqrt(1 + log(32) / log(4096));
        assert_true(fabs((double)beyond[p * WIDTH + 2] - scale * cos(angle)) < 6e-8);
        assert_true(fabs((double)beyond[p * WIDTH + 4 + 2] - scale * sin(angle)) < 6e-8);
    }
    free(few);
    free(at_limit);
    free(beyond);
}

static void rope_frequencies_follow_the_formulas(void **state)
{
    (void)state;
    struct rope_config plain = {.kind = ROPE_PLAIN, .dim = 64, .theta = 500000.0};
    struct rope_config llama3 = {.kind = ROPE_LLAMA3,
                                 .dim = 64,
                                 .theta = 500000.0,
                                 .factor = 32,
                                 .low_freq_factor = 1,
                                 .high_freq_factor = 4,
                                 .original_max_positions = 8192};
    unsigned n_kept = 0, n_stretched = 0, n_mixed = 0;
    for (unsigned i = 0; i < 32; i++) {
        double f = pow(500000.0, -2.0 * i / 64), wave = 2 * M_PI / f, want = f;
        assert_true(fabs(rope_frequency(&plain, 100, i) - f) < 1e-14 * f);
        if (wave > 8192.0) {
            want = f / 32;
            n_stretched++;
        } else if (wave > 2048.0) {
            double s = (8192 / wave - 1) / 3;
            want = (1 - s) * f / 32 + s * f;
            n_mixed++;
        } else {
            n_kept++;
        }
        assert_true(fabs(rope_frequency(&llama3, 100, i) - want) < 1e-13 * want);
    }
    assert_true(n_kept > 0 && n_stretched > 0 && n_mixed > 0);
}

static void the_rope_table_is_near_the_c_library(void **state)
{
    (void)state;
    enum { POSITIONS = 5000, HALF = 8 };
    struct rope_config plain = {.kind = ROPE_PLAIN, .dim = 2 * HALF, .theta = 10000.0};
    float *table = calloc(POSITIONS * 2 * HALF, sizeof *table);
    assert_non_null(table);
    rope_table(table, &plain, POSITIONS);
    for (unsigned p = 0; p < POSITIONS; p += 37)
        for (unsigned i = 0; i < HALF; i++) {
            double angle = p * pow(10000.0, -2.0 * i / (2 * HALF));
            assert_true(fabs((double)table[(p * 2 + 0) * HALF + i] - cos(angle)) < 4e-8);
            assert_true(fabs((double)table[(p * 2 + 1) * HALF + i] - sin(angle)) < 4e-8);
        }
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_longrope_by_every_name),
        cmocka_unit_test(reads_longrope_from_rope_parameters),
        cmocka_unit_test(the_attention_factor_may_be_given),
        cmocka_unit_test(refuses_longrope_that_is_not_whole),
        cmocka_unit_test(only_phi3_may_have_longrope_or_turn_a_part_of_a_head),
        cmocka_unit_test(a_context_beyond_the_original_has_the_long_factors),
        cmocka_unit_test(the_set_is_one_for_the_whole_table),
        cmocka_unit_test(rope_frequencies_follow_the_formulas),
        cmocka_unit_test(the_rope_table_is_near_the_c_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
