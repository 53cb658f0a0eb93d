/* config.json and generation_config.json: what is supported is read, everything else is refused by
 * key and value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/generation.h"

static const char base[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":128256,"
    "\"hidden_size\":2048,\"intermediate_size\":8192,\"num_hidden_layers\":16,"
    "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"max_position_embeddings\":131072,"
    "\"rms_norm_eps\":1e-05,\"rope_theta\":500000.0,\"hidden_act\":\"silu\","
    "\"tie_word_embeddings\":true,\"eos_token_id\":[128001,128008,128009],"
    "\"attention_bias\":false,\"torch_dtype\":\"bfloat16\",\"rope_scaling\":{\"factor\":32.0,"
    "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
    "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}";

/* As their makers publish them, the keys that change nothing left out. */
static const char mistral[] =
    "{\"architectures\":[\"MistralForCausalLM\"],\"model_type\":\"mistral\",\"vocab_size\":32000,"
    "\"hidden_size\":4096,\"intermediate_size\":14336,\"num_hidden_layers\":32,"
    "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"max_position_embeddings\":32768,"
    "\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"sliding_window\":4096,"
    "\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\",\"eos_token_id\":2}";
static const char qwen2[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"vocab_size\":151936,"
    "\"hidden_size\":896,\"intermediate_size\":4864,\"num_hidden_layers\":24,"
    "\"num_attention_heads\":14,\"num_key_value_heads\":2,\"max_position_embeddings\":32768,"
    "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"hidden_act\":\"silu\","
    "\"use_sliding_window\":false,\"sliding_window\":32768,\"max_window_layers\":21,"
    "\"tie_word_embeddings\":true,\"attention_dropout\":0.0,\"eos_token_id\":151645}";
static const char qwen3[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":151936,"
    "\"hidden_size\":1024,\"intermediate_size\":3072,\"num_hidden_layers\":2,\"head_dim\":128,"
    "\"num_attention_heads\":16,\"num_key_value_heads\":8,\"max_position_embeddings\":40960,"
    "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000,\"rope_scaling\":null,\"hidden_act\":\"silu\","
    "\"use_sliding_window\":false,\"sliding_window\":null,\"max_window_layers\":2,"
    "\"attention_bias\":false,\"tie_word_embeddings\":true,\"eos_token_id\":151645}";

static const char phi3[] =
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"vocab_size\":32064,"
    "\"hidden_size\":3072,\"intermediate_size\":8192,\"num_hidden_layers\":32,"
    "\"num_attention_heads\":32,\"num_key_value_heads\":32,\"max_position_embeddings\":4096,"
    "\"original_max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
    "\"rope_scaling\":null,\"hidden_act\":\"silu\",\"sliding_window\":2047,\"resid_pdrop\":0.0,"
    "\"embd_pdrop\":0.0,\"attention_bias\":false,\"tie_word_embeddings\":false,"
    "\"auto_map\":{\"AutoConfig\":\"configuration_phi3.Phi3Config\"},\"eos_token_id\":32000}";

/* `text` with `key` set to the JSON text `value`; NULL removes it. */
static struct err parse_changed(struct model_config *c, const char *text, const char *key,
                                const char *value)
{
    json_t *root = json_loads(text, 0, NULL);
    if (value == NULL)
        json_object_del(root, key);
    else
        json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL));
    char *changed = json_dumps(root, 0);
    struct err e = config_parse(c, bytes_of_str(changed));
    free(changed);
    json_decref(root);
    return e;
}

static struct err parse_with(struct model_config *c, const char *key, const char *value)
{
    return parse_changed(c, base, key, value);
}

static void assert_refused(const char *text, const char *key, const char *value, enum err_code code)
{
    struct model_config c = {0};
    struct err e = parse_changed(&c, text, key, value);
    if (e.code != code || strstr(err_message(), key) == NULL)
        fail_msg("%s = %s: got %s, \"%s\"", key, value != NULL ? value : "(absent)",
                 err_code_name(e.code), err_message());
}

static void assert_config_refused(const char *key, const char *value, enum err_code code)
{
    assert_refused(base, key, value, code);
}

static void reads_a_llama_3_config(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(config_parse(&c, bytes_of_str(base))));
    assert_string_equal(c.architecture, "LlamaForCausalLM");
    assert_int_equal(c.vocab_size, 128256);
    assert_int_equal(c.head_dim, 64); /* hidden_size / num_attention_heads */
    assert_int_equal(c.n_kv_heads, 8);
    assert_true(c.tied);
    assert_true(c.rms_norm_eps == 1e-5f);
    assert_int_equal(c.rope.kind, ROPE_LLAMA3);
    assert_true(c.rope.theta == 500000.0 && c.rope.factor == 32.0);
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos_ids[2], 128009);
}

static void absent_keys_get_the_defaults_of_transformers(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(parse_with(&c, "num_key_value_heads", NULL)));
    assert_int_equal(c.n_kv_heads, 32);
    assert_false(is_err(parse_with(&c, "rope_theta", NULL)));
    assert_true(c.rope.theta == 10000.0);
    assert_false(is_err(parse_with(&c, "tie_word_embeddings", NULL)));
    assert_false(c.tied);
    assert_false(is_err(parse_with(&c, "rope_scaling", NULL)));
    assert_int_equal(c.rope.kind, ROPE_PLAIN);
    assert_false(is_err(parse_with(&c, "eos_token_id", "null")));
    assert_int_equal(c.n_eos, 0);
    assert_false(is_err(parse_with(&c, "head_dim", "128")));
    assert_int_equal(c.head_dim, 128);
}

static void reads_rope_parameters_of_newer_files(void **state)
{
    (void)state;
    struct model_config c = {0};
    json_t *root = json_loads(base, 0, NULL);
    json_object_del(root, "rope_scaling");
    json_object_del(root, "rope_theta");
    json_object_set_new(root, "rope_parameters",
                        json_pack("{s:f, s:s}", "rope_theta", 7e4, "rope_type", "default"));
    char *text = json_dumps(root, 0);
    assert_false(is_err(config_parse(&c, bytes_of_str(text))));
    assert_true(c.rope.theta == 7e4);
    free(text);
    json_decref(root);
}

static void reads_each_family_with_its_flags(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(config_parse(&c, bytes_of_str(base))));
    assert_false(c.qkv_bias || c.o_bias || c.mlp_bias || c.qk_norm || c.sliding_window != 0);
    assert_false(is_err(config_parse(&c, bytes_of_str(mistral))));
    assert_string_equal(c.architecture, "MistralForCausalLM");
    assert_int_equal(c.sliding_window, 4096);
    assert_false(c.qkv_bias || c.o_bias || c.mlp_bias || c.qk_norm);
    assert_false(is_err(config_parse(&c, bytes_of_str(qwen2))));
    assert_string_equal(c.architecture, "Qwen2ForCausalLM");
    assert_true(c.qkv_bias && c.tied && c.sliding_window == 0);
    assert_false(c.o_bias || c.mlp_bias || c.qk_norm);
    assert_false(is_err(config_parse(&c, bytes_of_str(qwen3))));
    assert_string_equal(c.architecture, "Qwen3ForCausalLM");
    assert_true(c.qk_norm && c.head_dim == 128 && c.sliding_window == 0);
    assert_false(c.qkv_bias || c.o_bias || c.mlp_bias || c.fused);
    assert_false(is_err(config_parse(&c, bytes_of_str(phi3))));
    assert_string_equal(c.architecture, "Phi3ForCausalLM");
    assert_true(c.fused && c.sliding_window == 2047);
    assert_false(c.qkv_bias || c.o_bias || c.mlp_bias || c.qk_norm);
}

static void reads_the_keys_of_one_family(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_false(is_err(parse_with(&c, "attention_bias", "true")));
    assert_true(c.qkv_bias && c.o_bias && !c.mlp_bias);
    assert_false(is_err(parse_with(&c, "mlp_bias", "true")));
    assert_true(!c.qkv_bias && !c.o_bias && c.mlp_bias);
    assert_false(is_err(parse_changed(&c, mistral, "sliding_window", "null")));
    assert_int_equal(c.sliding_window, 0);
    assert_false(is_err(parse_changed(&c, mistral, "head_dim", "null")));
    assert_int_equal(c.head_dim, 128);
    assert_false(is_err(parse_changed(&c, mistral, "head_dim", "96")));
    assert_int_equal(c.head_dim, 96);
    assert_false(is_err(parse_changed(&c, qwen3, "attention_bias", "true")));
    assert_true(c.qkv_bias && c.o_bias);
    assert_false(
        is_err(parse_changed(&c, qwen3, "layer_types", "[\"full_attention\",\"full_attention\"]")));
}

static void refuses_what_a_family_does_not_have(void **state)
{
    (void)state;
    assert_refused(mistral, "model_type", "\"llama\"", ERR_UNSUPPORTED);
    assert_refused(mistral, "sliding_window", NULL, ERR_MALFORMED);
    assert_refused(mistral, "sliding_window", "0", ERR_UNSUPPORTED);
    assert_refused(mistral, "sliding_window", "true", ERR_UNSUPPORTED);
    assert_refused(mistral, "num_key_value_heads", NULL, ERR_MALFORMED);
    assert_refused(mistral, "attention_bias", "true", ERR_UNSUPPORTED);
    assert_refused(mistral, "layer_types", "[]", ERR_UNSUPPORTED);
    assert_refused(qwen2, "use_sliding_window", "true", ERR_UNSUPPORTED);
    assert_refused(qwen2, "use_mrope", "true", ERR_UNSUPPORTED);
    assert_refused(qwen2, "attention_bias", "false", ERR_UNSUPPORTED);
    assert_refused(qwen2, "num_key_value_heads", NULL, ERR_MALFORMED);
    assert_refused(qwen3, "head_dim", NULL, ERR_MALFORMED);
    assert_refused(qwen3, "use_sliding_window", "true", ERR_UNSUPPORTED);
    assert_refused(qwen3, "mlp_bias", "false", ERR_UNSUPPORTED);
    assert_refused(qwen3, "layer_types", "[\"full_attention\"]", ERR_UNSUPPORTED);
    assert_refused(qwen3, "layer_types", "[\"full_attention\",\"sliding_attention\"]",
                   ERR_UNSUPPORTED);
    assert_refused(qwen3, "layer_types", "[\"full_attention\",1]", ERR_UNSUPPORTED);
    assert_refused(qwen3, "layer_types", "\"full_attention\"", ERR_UNSUPPORTED);
    assert_refused(qwen3, "num_experts", "8", ERR_UNSUPPORTED); /* unknown here */
    assert_refused(phi3, "attention_bias", "true", ERR_UNSUPPORTED);
    assert_refused(phi3, "mlp_bias", "true", ERR_UNSUPPORTED);
    assert_refused(phi3, "lm_head_bias", "true", ERR_UNSUPPORTED);
    assert_refused(phi3, "full_attn_mod", "2", ERR_UNSUPPORTED);
    assert_refused(phi3, "interpolate_factor", "4", ERR_UNSUPPORTED);
    assert_refused(base, "auto_map", "{}", ERR_UNSUPPORTED);
}

static void reads_both_spellings_of_the_rope_type(void **state)
{
    (void)state;
    static const char numbers[] = "\"factor\":8.0,\"low_freq_factor\":1.0,"
                                  "\"high_freq_factor\":4.0,"
                                  "\"original_max_position_embeddings\":8192}";
    static const char *const types[] = {"{\"type\":\"llama3\",", "{\"rope_type\":\"llama3\",",
                                        "{\"type\":\"llama3\",\"rope_type\":\"llama3\","};
    for (size_t i = 0; i < 3; i++) {
        struct model_config c = {0};
        BUF_AUTO value = BUF_INIT;
        buf_printf(&value, "%s%s", types[i], numbers);
        assert_false(is_err(parse_with(&c, "rope_scaling", buf_str(&value))));
        assert_true(c.rope.kind == ROPE_LLAMA3 && c.rope.factor == 8.0);
    }
    assert_config_refused("rope_scaling", "{\"type\":\"default\",\"rope_type\":\"llama3\"}",
                          ERR_UNSUPPORTED);
    assert_config_refused("rope_scaling", "{\"type\":\"linear\",\"factor\":2.0}", ERR_UNSUPPORTED);
}

static void refuses_what_would_change_the_computation(void **state)
{
    (void)state;
    assert_config_refused("architectures", "[\"Qwen3MoeForCausalLM\"]", ERR_UNSUPPORTED);
    assert_config_refused("architectures", "[\"LlamaForCausalLM\",\"Other\"]", ERR_UNSUPPORTED);
    assert_config_refused("architectures", "\"LlamaForCausalLM\"", ERR_UNSUPPORTED);
    assert_config_refused("architectures", NULL, ERR_MALFORMED);
    assert_config_refused("model_type", "\"mistral\"", ERR_UNSUPPORTED);
    assert_config_refused("hidden_act", "\"gelu\"", ERR_UNSUPPORTED);
    assert_config_refused("attention_bias", "1", ERR_UNSUPPORTED);
    assert_config_refused("mlp_bias", "\"yes\"", ERR_UNSUPPORTED);
    assert_config_refused("max_window_layers", "4", ERR_UNSUPPORTED); /* a key of others */
    assert_config_refused("sliding_window", "4096", ERR_UNSUPPORTED);
    assert_config_refused("quantization_config", "{\"bits\":4}", ERR_UNSUPPORTED);
    assert_config_refused("partial_rotary_factor", "0.5", ERR_UNSUPPORTED);
    assert_config_refused("logit_scale", "2.0", ERR_UNSUPPORTED); /* unknown here */
    assert_config_refused("rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":4.0}",
                          ERR_UNSUPPORTED);
    assert_config_refused("rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":4.0}",
                          ERR_MALFORMED);
    assert_config_refused("rope_scaling", "{\"rope_type\":\"default\",\"mscale\":2}",
                          ERR_UNSUPPORTED);
    assert_config_refused("rope_parameters", "{\"rope_type\":\"default\"}", ERR_UNSUPPORTED);
}

static void refuses_sizes_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const sizes[] = {"vocab_size",          "hidden_size",
                                        "intermediate_size",   "num_hidden_layers",
                                        "num_attention_heads", "max_position_embeddings"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_config_refused(sizes[i], "0", ERR_UNSUPPORTED);
        assert_config_refused(sizes[i], "-1", ERR_UNSUPPORTED);
        assert_config_refused(sizes[i], "1e3", ERR_UNSUPPORTED);
        assert_config_refused(sizes[i], "4611686018427387904", ERR_UNSUPPORTED);
        assert_config_refused(sizes[i], "\"64\"", ERR_UNSUPPORTED);
        assert_config_refused(sizes[i], NULL, ERR_MALFORMED);
    }
    assert_config_refused("num_key_value_heads", "5", ERR_UNSUPPORTED);
    assert_config_refused("head_dim", "63", ERR_UNSUPPORTED);
    assert_config_refused("rms_norm_eps", "0", ERR_UNSUPPORTED);
    assert_config_refused("rope_theta", "0.5", ERR_UNSUPPORTED);
    assert_config_refused("tie_word_embeddings", "1", ERR_UNSUPPORTED);
    assert_config_refused("eos_token_id", "-1", ERR_UNSUPPORTED);
    assert_config_refused("eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", ERR_LIMIT);
}

static void refuses_what_is_not_one_json_object(void **state)
{
    (void)state;
    struct model_config c = {0};
    assert_int_equal(config_parse(&c, bytes_of_str("")).code, ERR_MALFORMED);
    assert_int_equal(config_parse(&c, bytes_of_str("[]")).code, ERR_MALFORMED);
    assert_int_equal(config_parse(&c, bytes_of_str("{\"a\":1,\"a\":1}")).code, ERR_MALFORMED);
    assert_int_equal(config_parse(&c, bytes_of(base, sizeof base - 2)).code, ERR_MALFORMED);
}

static void reads_generation_defaults(void **state)
{
    (void)state;
    struct generation_config g = generation_default;
    const char *text = "{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":40,"
                       "\"eos_token_id\":3,\"max_length\":99,\"_from_model_config\":true}";
    assert_false(is_err(generation_parse(&g, bytes_of_str(text))));
    assert_true(g.temperature == 0.6f && g.top_p == 0.9f && g.top_k == 40);
    assert_true(g.min_p == 0.0f && g.repetition_penalty == 1.0f);
    assert_int_equal(g.n_eos, 1);
    assert_false(
        is_err(generation_parse(&g, bytes_of_str("{\"do_sample\":false,\"temperature\":0.6}"))));
    assert_true(g.temperature == 0.0f);
    assert_false(is_err(generation_parse(&g, bytes_of_str("{}"))));
    assert_true(g.temperature == 1.0f && g.top_k == 0 && g.n_eos == 0);
}

static void refuses_generation_settings_that_are_not_done(void **state)
{
    (void)state;
    static const char *const refused[] = {"{\"num_beams\":4}",
                                          "{\"no_repeat_ngram_size\":3}",
                                          "{\"suppress_tokens\":[1]}",
                                          "{\"typical_p\":0.9}",
                                          "{\"forced_eos_token_id\":2}",
                                          "{\"temperature\":-1}",
                                          "{\"top_p\":1.5}",
                                          "{\"top_k\":-1}",
                                          "{\"sequence_bias\":[]}",
                                          "{\"temperature\":\"0.6\"}"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct generation_config g = generation_default;
        assert_int_equal(generation_parse(&g, bytes_of_str(refused[i])).code, ERR_UNSUPPORTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_llama_3_config),
        cmocka_unit_test(absent_keys_get_the_defaults_of_transformers),
        cmocka_unit_test(reads_rope_parameters_of_newer_files),
        cmocka_unit_test(reads_each_family_with_its_flags),
        cmocka_unit_test(reads_the_keys_of_one_family),
        cmocka_unit_test(refuses_what_a_family_does_not_have),
        cmocka_unit_test(reads_both_spellings_of_the_rope_type),
        cmocka_unit_test(refuses_what_would_change_the_computation),
        cmocka_unit_test(refuses_sizes_that_make_no_sense),
        cmocka_unit_test(refuses_what_is_not_one_json_object),
        cmocka_unit_test(reads_generation_defaults),
        cmocka_unit_test(refuses_generation_settings_that_are_not_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
