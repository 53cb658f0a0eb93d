/* A sound model folder opens; each flaw alone is refused with the file and the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/engine.h"
#include "kernels/backend.h"
#include "tests/unit/tiny_model.h"

static const struct engine_options small = {.n_threads = 1, .max_requests = 2, .token_budget = 16};

static int setup(void **state)
{
    static struct tiny_model m;
    tiny_write(&m, &tiny_default);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

static struct engine *open_model(const struct tiny_model *m)
{
    struct engine *e = NULL;
    if (is_err(engine_open(&e, m->dir, &small)))
        fail_msg("%s", err_message());
    return e;
}

static void assert_refused(const struct tiny_model *m, enum err_code code, const char *a,
                           const char *b)
{
    struct engine *e = NULL;
    struct err err = engine_open(&e, m->dir, &small);
    if (err.code != code || strstr(err_message(), a) == NULL || strstr(err_message(), b) == NULL)
        fail_msg("want %s with \"%s\" and \"%s\"; got %s, \"%s\"", err_code_name(code), a, b,
                 err_code_name(err.code), err_message());
    assert_null(e);
}

/* Sets one key of a JSON file; NULL removes it. */
static void set_key(const struct tiny_model *m, const char *file, const char *key, json_t *value)
{
    json_t *root = tiny_read_json(m, file);
    if (value == NULL)
        json_object_del(root, key);
    else
        json_object_set_new(root, key, value);
    tiny_write_json(m, file, root);
    json_decref(root);
}

static void write_weights(const struct tiny_model *m, const char *name, size_t first, size_t last)
{
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, first, last, &file);
    tiny_write_file(m, name, file.data, file.len);
}

/* Two shards and their index in place of the one file. */
static json_t *split_model(const struct tiny_model *m)
{
    json_t *map = json_object();
    for (size_t i = 0; i < m->n_tensors; i++)
        json_object_set_new(
            map, m->tensors[i].name,
            json_string(i < 5 ? "model-1-of-2.safetensors" : "model-2-of-2.safetensors"));
    json_t *index = json_pack("{s:{s:i}, s:o}", "metadata", "total_size", 1, "weight_map", map);
    write_weights(m, "model-1-of-2.safetensors", 0, 5);
    write_weights(m, "model-2-of-2.safetensors", 5, m->n_tensors);
    tiny_remove_file(m, "model.safetensors");
    tiny_write_json(m, "model.safetensors.index.json", index);
    return index;
}

static void says_what_it_opened(void **state)
{
    const struct tiny_model *m = *state;
    struct engine *e = open_model(m);
    const struct engine_info *info = engine_info(e);
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    uint64_t n_parameters = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n_parameters +=
            (m->tensors[i].n_rows > 0 ? m->tensors[i].n_rows : 1) * m->tensors[i].n_cols;
    assert_string_equal(info->model_id, strrchr(m->dir, '/') + 1);
    assert_string_equal(info->architecture, "LlamaForCausalLM");
    const struct backend *best = NULL;
    assert_false(is_err(backend_get(&best, NULL, tiny_default.type == TINY_BF16)));
    assert_string_equal(info->numerics, best->numerics);
    assert_int_equal(info->n_parameters, n_parameters);
    assert_int_equal(info->max_context, tiny_default.max_positions);
    assert_int_equal(info->n_files, 5);
    for (size_t i = 0; i < 5; i++) {
        BUF_AUTO path = BUF_INIT, data = BUF_INIT;
        uint8_t hash[SHA256_LEN];
        assert_false(is_err(file_read(&data, path_join(&path, m->dir, names[i]), 1 << 24)));
        sha256(hash, buf_bytes(&data));
        assert_string_equal(info->files[i].name, names[i]);
        assert_int_equal(info->files[i].size, data.len);
        assert_memory_equal(info->files[i].sha256, hash, SHA256_LEN);
    }
    struct engine_params p;
    engine_params_default(e, &p);
    assert_true(p.temperature == 0.75f && p.top_p == 1.0f && p.repetition_penalty == 1.0f);
    engine_free(e);
}

static void optional_files_may_be_absent(void **state)
{
    const struct tiny_model *m = *state;
    tiny_remove_file(m, "generation_config.json");
    tiny_remove_file(m, "tokenizer_config.json");
    struct engine *e = open_model(m);
    struct engine_params p;
    engine_params_default(e, &p);
    assert_true(p.temperature == 1.0f);
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hi");
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(engine_chat_tokens(e, messages, &out).code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "template"));
    json_decref(messages);
    engine_free(e);
}

static void an_empty_settings_file_is_not_an_absent_one(void **state)
{
    const struct tiny_model *m = *state;
    /* The last that is read first: each is met before those that are empty already. */
    static const char *const names[] = {"tokenizer_config.json", "tokenizer.json",
                                        "generation_config.json", "config.json"};
    struct engine_options options = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tiny_write_file(m, names[i], "", 0);
        struct engine *e = NULL;
        assert_true(is_err(engine_open(&e, m->dir, &options)));
        assert_non_null(strstr(err_message(), names[i]));
        assert_non_null(strstr(err_message(), "empty"));
    }
}

static void a_template_file_goes_before_the_settings(void **state)
{
    const struct tiny_model *m = *state;
    const char *text = "<|bos|>{{ messages[0]['content'] }}";
    tiny_write_file(m, "chat_template.jinja", text, strlen(text));
    struct engine *e = open_model(m);
    assert_int_equal(engine_info(e)->n_files, 6);
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hi");
    BUF_AUTO out = BUF_INIT;
    assert_false(is_err(engine_chat_tokens(e, messages, &out)));
    const uint32_t want[] = {TINY_BOS, 'h', 'i'};
    assert_int_equal(out.len, sizeof want);
    assert_memory_equal(out.data, want, sizeof want);
    json_decref(messages);
    engine_free(e);
}

static void refuses_a_missing_file(void **state)
{
    const struct tiny_model *m = *state;
    static const char *const needed[] = {"model.safetensors", "tokenizer.json", "config.json"};
    for (size_t i = 0; i < 3; i++) {
        tiny_remove_file(m, needed[i]);
        assert_refused(m, ERR_NOT_FOUND, m->dir, needed[i]);
    }
    struct engine *e = NULL;
    assert_int_equal(engine_open(&e, "/tmp/no-such-model-folder", &small).code, ERR_NOT_FOUND);
    assert_int_equal(engine_open(&e, "/dev/null", &small).code, ERR_USAGE);
}

static void refuses_a_truncated_or_corrupt_weight_file(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, 0, m->n_tensors, &file);
    tiny_write_file(m, "model.safetensors", file.data, file.len - 1);
    assert_refused(m, ERR_MALFORMED, "model.safetensors", "leave the file's");
    tiny_write_file(m, "model.safetensors", file.data, 100);
    assert_refused(m, ERR_MALFORMED, "model.safetensors", "ends inside its header");
    tiny_write_file(m, "model.safetensors", "", 0);
    assert_refused(m, ERR_MALFORMED, "model.safetensors", "ends inside");
    file.data[9] ^= 1;
    tiny_write_file(m, "model.safetensors", file.data, file.len);
    assert_refused(m, ERR_MALFORMED, "model.safetensors", "not JSON");
}

static void refuses_corrupt_settings(void **state)
{
    const struct tiny_model *m = *state;
    static const char *const files[] = {"tokenizer_config.json", "tokenizer.json",
                                        "generation_config.json", "config.json"};
    for (size_t i = 0; i < 4; i++) {
        tiny_write_file(m, files[i], "{\"a\":", 5);
        assert_refused(m, ERR_MALFORMED, files[i], m->dir);
    }
}

static void refuses_what_is_not_a_file(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO path = BUF_INIT;
    tiny_remove_file(m, "model.safetensors");
    assert_int_equal(mkdir(path_join(&path, m->dir, "model.safetensors"), 0700), 0);
    assert_refused(m, ERR_UNSUPPORTED, "model.safetensors", "not a regular file");
}

static void follows_links_to_files(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO from = BUF_INIT, to = BUF_INIT;
    path_join(&from, m->dir, "model.safetensors");
    path_join(&to, m->dir, "blob");
    assert_int_equal(rename(buf_str(&from), buf_str(&to)), 0);
    assert_int_equal(symlink("blob", buf_str(&from)), 0);
    engine_free(open_model(m));
}

static void refuses_another_architecture(void **state)
{
    const struct tiny_model *m = *state;
    set_key(m, "config.json", "architectures", json_pack("[s]", "GPT2LMHeadModel"));
    assert_refused(m, ERR_UNSUPPORTED, "config.json", "GPT2LMHeadModel");
}

static void refuses_weights_that_do_not_fit_the_config(void **state)
{
    const struct tiny_model *m = *state;
    set_key(m, "config.json", "intermediate_size", json_integer(80));
    assert_refused(m, ERR_MALFORMED, "mlp.gate_proj.weight", "(80, 40)");
    set_key(m, "config.json", "intermediate_size", json_integer(72));
    set_key(m, "config.json", "num_hidden_layers", json_integer(3));
    assert_refused(m, ERR_MALFORMED, "no tensor", "model.layers.2.");
    set_key(m, "config.json", "num_hidden_layers", json_integer(1));
    assert_refused(m, ERR_UNSUPPORTED, "no place", "model.layers.1.");
    set_key(m, "config.json", "num_hidden_layers", json_integer(2));
    set_key(m, "config.json", "tie_word_embeddings", json_false());
    assert_refused(m, ERR_MALFORMED, "no tensor", "lm_head.weight");
}

static void refuses_weights_of_a_type_it_does_not_compute_with(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, 0, m->n_tensors, &file);
    uint8_t *at = memmem(file.data, file.len, "\"BF16\"", 6);
    assert_non_null(at);
    memcpy(at, "\"I16\" ", 6);
    tiny_write_file(m, "model.safetensors", file.data, file.len);
    assert_refused(m, ERR_UNSUPPORTED, "I16", "only BF16");
}

static void a_tied_model_may_store_its_output_matrix_only_if_equal(void **state)
{
    struct tiny_model *m = *state;
    struct tiny_tensor *copy = &m->tensors[m->n_tensors];
    *copy = m->tensors[0];
    size_t len = copy->n_rows * copy->n_cols * sizeof *copy->values;
    copy->values = malloc(len);
    assert_non_null(copy->values);
    memcpy(copy->values, m->tensors[0].values, len);
    snprintf(copy->name, sizeof copy->name, "lm_head.weight");
    m->n_tensors++;
    write_weights(m, "model.safetensors", 0, m->n_tensors);
    engine_free(open_model(m));
    copy->values[5] = 3.0f;
    write_weights(m, "model.safetensors", 0, m->n_tensors);
    assert_refused(m, ERR_UNSUPPORTED, "tie_word_embeddings", "lm_head.weight");
}

static void refuses_a_tokenizer_with_more_ids_than_the_model(void **state)
{
    struct tiny_model *m = *state;
    tiny_remove(m);
    struct tiny_spec spec = tiny_default;
    spec.vocab_size = TINY_N_TOKENS - 1;
    tiny_write(m, &spec);
    assert_refused(m, ERR_MALFORMED, "tokenizer.json", "vocab_size");
}

static void shards_give_the_same_model(void **state)
{
    const struct tiny_model *m = *state;
    const uint32_t tokens[] = {TINY_BOS, 'a', 'b'};
    float *one = calloc(3 * tiny_default.vocab_size, sizeof *one);
    float *two = calloc(3 * tiny_default.vocab_size, sizeof *two);
    struct engine *e = open_model(m);
    assert_false(is_err(engine_logits(e, tokens, 3, one)));
    engine_free(e);
    json_decref(split_model(m));
    e = open_model(m);
    assert_int_equal(engine_info(e)->n_files, 7);
    assert_string_equal(engine_info(e)->files[2].name, "model-1-of-2.safetensors");
    assert_false(is_err(engine_logits(e, tokens, 3, two)));
    engine_free(e);
    assert_memory_equal(one, two, 3 * tiny_default.vocab_size * sizeof *one);
    free(one);
    free(two);
}

static void refuses_shards_that_are_not_as_the_index_says(void **state)
{
    const struct tiny_model *m = *state;
    const char *index_name = "model.safetensors.index.json";
    json_t *index = split_model(m), *map = json_object_get(index, "weight_map");
    const char *first = m->tensors[0].name;

    json_object_set_new(map, first, json_string("model-2-of-2.safetensors"));
    tiny_write_json(m, index_name, index);
    assert_refused(m, ERR_MALFORMED, "model-1-of-2.safetensors", first);

    json_object_del(map, first);
    tiny_write_json(m, index_name, index);
    assert_refused(m, ERR_MALFORMED, "model-1-of-2.safetensors", first);

    json_object_set_new(map, first, json_string("model-1-of-2.safetensors"));
    json_object_set_new(map, "more", json_string("model-1-of-2.safetensors"));
    tiny_write_json(m, index_name, index);
    assert_refused(m, ERR_MALFORMED, "does not hold it", "more");

    json_object_set_new(map, "more", json_string("model-3-of-2.safetensors"));
    tiny_write_json(m, index_name, index);
    assert_refused(m, ERR_NOT_FOUND, "model-3-of-2.safetensors", m->dir);

    static const char *const outside[] = {"../x.safetensors", "/etc/passwd", "", ".x", "a\nb"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        json_object_set_new(map, "more", json_string(outside[i]));
        tiny_write_json(m, index_name, index);
        assert_refused(m, ERR_MALFORMED, index_name, "not the name of a file");
    }
    json_decref(index);
    tiny_write_file(m, index_name, "{}", 2);
    assert_refused(m, ERR_MALFORMED, index_name, "weight_map");
    write_weights(m, "model.safetensors", 0, m->n_tensors);
    assert_refused(m, ERR_UNSUPPORTED, "both", index_name);
}

static void refuses_a_model_that_does_not_fit_before_reading_it(void **state)
{
    const struct tiny_model *m = *state;
    struct engine_options o = small;
    struct engine *e = NULL;
    o.kv_bytes = (uint64_t)1 << 50;
    assert_int_equal(engine_open(&e, m->dir, &o).code, ERR_MEMORY);
    assert_non_null(strstr(err_message(), "MiB of KV cache"));
    o.kv_bytes = 1;
    assert_int_equal(engine_open(&e, m->dir, &o).code, ERR_LIMIT);
    assert_non_null(strstr(err_message(), "one page"));
}

static void a_small_cache_shortens_the_context(void **state)
{
    const struct tiny_model *m = *state;
    struct engine_options o = small;
    struct engine *e = NULL;
    uint64_t page = tiny_default.n_layers * 2 * tiny_default.n_kv_heads * 64 *
                    tiny_default.head_dim * sizeof(float);
    o.kv_bytes = 2 * page + page / 2;
    assert_false(is_err(engine_open(&e, m->dir, &o)));
    assert_int_equal(engine_info(e)->max_context, 128);
    engine_free(e);
    e = NULL;
    o.max_context = 128;
    assert_false(is_err(engine_open(&e, m->dir, &o)));
    engine_free(e);
}

static void refuses_more_context_than_can_be_had(void **state)
{
    const struct tiny_model *m = *state;
    struct engine_options o = small;
    struct engine *e = NULL;
    char number[32];
    snprintf(number, sizeof number, "most %u", tiny_default.max_positions);
    o.max_context = tiny_default.max_positions + 1;
    assert_int_equal(engine_open(&e, m->dir, &o).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), number));
    uint64_t page = tiny_default.n_layers * 2 * tiny_default.n_kv_heads * 64 *
                    tiny_default.head_dim * sizeof(float);
    o.kv_bytes = 2 * page;
    o.max_context = 129;
    assert_int_equal(engine_open(&e, m->dir, &o).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "129 tokens"));
    assert_non_null(strstr(err_message(), "holds 128"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(says_what_it_opened),
        CASE(optional_files_may_be_absent),
        CASE(an_empty_settings_file_is_not_an_absent_one),
        CASE(a_template_file_goes_before_the_settings),
        CASE(refuses_a_missing_file),
        CASE(refuses_a_truncated_or_corrupt_weight_file),
        CASE(refuses_corrupt_settings),
        CASE(refuses_what_is_not_a_file),
        CASE(follows_links_to_files),
        CASE(refuses_another_architecture),
        CASE(refuses_weights_that_do_not_fit_the_config),
        CASE(refuses_weights_of_a_type_it_does_not_compute_with),
        CASE(a_tied_model_may_store_its_output_matrix_only_if_equal),
        CASE(refuses_a_tokenizer_with_more_ids_than_the_model),
        CASE(shards_give_the_same_model),
        CASE(refuses_shards_that_are_not_as_the_index_says),
        CASE(refuses_a_model_that_does_not_fit_before_reading_it),
        CASE(a_small_cache_shortens_the_context),
        CASE(refuses_more_context_than_can_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
