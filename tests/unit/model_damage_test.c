/* Model folders that are damaged, hostile or too large: each is refused with what is wrong, before
 * anything large is read where that can be known. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/engine.h"
#include "engine/finite.h"
#include "tests/unit/tiny_model.h"

static const struct engine_options small = {.n_threads = 1, .max_requests = 2, .token_budget = 16};

static int setup_with(void **state, const struct tiny_spec *spec)
{
    static struct tiny_model m;
    tiny_write(&m, spec);
    *state = &m;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, &tiny_default);
}

/* Every kind of tensor that a plain Llama has, with values of 32 bits. */
static int setup_f32(void **state)
{
    struct tiny_spec spec = tiny_default;
    spec.type = TINY_F32;
    spec.tied = 0;
    return setup_with(state, &spec);
}

static int teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

static void assert_refused_with(const struct tiny_model *m, const struct engine_options *o,
                                enum err_code code, const char *a, const char *b)
{
    struct engine *e = NULL;
    struct err err = engine_open(&e, m->dir, o);
    if (err.code != code || strstr(err_message(), a) == NULL || strstr(err_message(), b) == NULL)
        fail_msg("want %s with \"%s\" and \"%s\"; got %s, \"%s\"", err_code_name(code), a, b,
                 err_code_name(err.code), is_err(err) ? err_message() : "it was opened");
    assert_null(e);
}

static void assert_refused(const struct tiny_model *m, enum err_code code, const char *a,
                           const char *b)
{
    assert_refused_with(m, &small, code, a, b);
}

static void set_config(const struct tiny_model *m, const char *key, json_t *value)
{
    json_t *root = tiny_read_json(m, "config.json");
    json_object_set_new(root, key, value);
    tiny_write_json(m, "config.json", root);
    json_decref(root);
}

static void write_weights(const struct tiny_model *m, const char *name, size_t first, size_t last)
{
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, first, last, &file);
    tiny_write_file(m, name, file.data, file.len);
}

/* Shards of the first five tensors and of the rest, and their index, instead of the one file. */
static void split_model(const struct tiny_model *m)
{
    json_t *map = json_object();
    for (size_t i = 0; i < m->n_tensors; i++)
        json_object_set_new(map, m->tensors[i].name,
                            json_string(i < 5 ? "first.safetensors" : "rest.safetensors"));
    json_t *index = json_pack("{s:{}, s:o}", "metadata", "weight_map", map);
    write_weights(m, "first.safetensors", 0, 5);
    write_weights(m, "rest.safetensors", 5, m->n_tensors);
    tiny_remove_file(m, "model.safetensors");
    tiny_write_json(m, "model.safetensors.index.json", index);
    json_decref(index);
}

static void truncate_file(const struct tiny_model *m, const char *name, off_t by)
{
    BUF_AUTO path = BUF_INIT;
    struct stat st;
    assert_int_equal(stat(path_join(&path, m->dir, name), &st), 0);
    assert_int_equal(truncate(buf_str(&path), by >= 0 ? st.st_size - by : -by), 0);
}

/* --- values --- */

static void finds_the_first_value_that_is_no_number_of_every_type(void **state)
{
    (void)state;
    enum { N = 37 };
    static const uint16_t bad16[][3] = {
        {0x7f80, 0xff80, 0x7fc1}, /* BF16 */
        {0x7c00, 0xfc00, 0x7e01}, /* F16 */
    };
    static const uint16_t good16[][3] = {{0x7f7f, 0xff7f, 0x0001}, {0x7bff, 0xfbff, 0x03ff}};
    static const enum weight_type types[] = {WEIGHT_BF16, WEIGHT_F16};
    size_t first = 0;
    for (size_t t = 0; t < 2; t++)
        for (size_t k = 0; k < 3; k++) {
            uint16_t values[N];
            for (size_t i = 0; i < N; i++)
                values[i] = good16[t][i % 3];
            assert_true(weights_finite(values, types[t], N, &first));
            for (size_t i = N; i-- > 0;) {
                values[i] = bad16[t][k];
                assert_false(weights_finite(values, types[t], N, &first));
                assert_int_equal(first, i);
                assert_true(weights_finite(values, types[t], i, &first));
            }
        }
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < N; i++) {
            float values[N] = {0x1.fffffep127f, -0x1.fffffep127f, 0x1p-149f};
            values[i] = bad[k];
            assert_false(weights_finite(values, WEIGHT_F32, N, &first));
            assert_int_equal(first, i);
            assert_true(weights_finite(values, WEIGHT_F32, i, &first));
        }
}

static void refuses_a_tensor_of_any_place_that_holds_no_number(void **state)
{
    struct tiny_model *m = *state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct tiny_tensor *t = &m->tensors[i];
        size_t n = (t->n_rows > 0 ? t->n_rows : 1) * t->n_cols, at = (i * 7) % n;
        float before = t->values[at];
        char where[32];
        snprintf(where, sizeof where, "element %zu is", at);
        t->values[at] = bad[i % 3];
        write_weights(m, "model.safetensors", 0, m->n_tensors);
        assert_refused(m, ERR_MALFORMED, t->name, where);
        t->values[at] = before;
    }
    write_weights(m, "model.safetensors", 0, m->n_tensors);
    struct engine *e = NULL;
    assert_false(is_err(engine_open(&e, m->dir, &small)));
    engine_free(e);
}

/* --- files --- */

static void refuses_a_truncated_shard_by_its_name(void **state)
{
    const struct tiny_model *m = *state;
    split_model(m);
    struct engine *e = NULL;
    assert_false(is_err(engine_open(&e, m->dir, &small)));
    engine_free(e);
    truncate_file(m, "rest.safetensors", 1);
    assert_refused(m, ERR_MALFORMED, "rest.safetensors", "leave the file's");
    truncate_file(m, "rest.safetensors", -20);
    assert_refused(m, ERR_MALFORMED, "rest.safetensors", "ends inside its header");
    truncate_file(m, "rest.safetensors", -3);
    assert_refused(m, ERR_MALFORMED, "rest.safetensors", "ends inside");
    tiny_remove_file(m, "rest.safetensors");
    assert_refused(m, ERR_NOT_FOUND, m->dir, "rest.safetensors");
}

static void refuses_two_shards_that_hold_the_same_tensor(void **state)
{
    const struct tiny_model *m = *state;
    split_model(m);
    write_weights(m, "rest.safetensors", 4, m->n_tensors);
    assert_refused(m, ERR_MALFORMED, "rest.safetensors", m->tensors[4].name);
}

static void refuses_links_that_lead_nowhere(void **state)
{
    const struct tiny_model *m = *state;
    static const char *const names[] = {"model.safetensors", "tokenizer_config.json",
                                        "chat_template.jinja", "tokenizer.json", "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        BUF_AUTO path = BUF_INIT;
        unlink(path_join(&path, m->dir, names[i]));
        assert_int_equal(symlink(names[i], buf_str(&path)), 0); /* to itself */
        assert_refused(m, ERR_IO, names[i], "symbolic links");
    }
}

static void refuses_what_would_block_or_never_end(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO path = BUF_INIT;
    tiny_remove_file(m, "tokenizer_config.json");
    path_join(&path, m->dir, "tokenizer_config.json");
    assert_int_equal(mkfifo(buf_str(&path), 0600), 0);
    assert_refused(m, ERR_UNSUPPORTED, "tokenizer_config.json", "not a regular file");
    assert_int_equal(unlink(buf_str(&path)), 0);
    assert_int_equal(symlink("/dev/zero", buf_str(&path)), 0);
    assert_refused(m, ERR_UNSUPPORTED, "tokenizer_config.json", "not a regular file");
}

static void refuses_duplicate_keys_in_every_settings_file(void **state)
{
    const struct tiny_model *m = *state;
    static const char *const names[] = {"tokenizer_config.json", "tokenizer.json",
                                        "generation_config.json", "config.json"};
    static const char text[] = "{\"eos_token_id\":1,\"eos_token_id\":1}";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tiny_write_file(m, names[i], text, sizeof text - 1);
        assert_refused(m, ERR_MALFORMED, names[i], "duplicate");
    }
}

static void refuses_a_tokenizer_without_merges(void **state)
{
    const struct tiny_model *m = *state;
    json_t *root = tiny_read_json(m, "tokenizer.json"), *model = json_object_get(root, "model");
    json_object_del(model, "merges");
    tiny_write_json(m, "tokenizer.json", root);
    assert_refused(m, ERR_MALFORMED, "tokenizer.json", "merges is not a list");
    json_object_set_new(model, "merges", json_pack("[[s, s]]", "a", "no such token"));
    tiny_write_json(m, "tokenizer.json", root);
    assert_refused(m, ERR_MALFORMED, "tokenizer.json", "merge 0 (\"ano such token\")");
    json_decref(root);
}

/* --- sizes --- */

static void refuses_layers_and_heads_that_cannot_be(void **state)
{
    const struct tiny_model *m = *state;
    set_config(m, "num_hidden_layers", json_integer(0));
    assert_refused(m, ERR_UNSUPPORTED, "\"num_hidden_layers\" is 0", "from 1 to 1024");
    set_config(m, "num_hidden_layers", json_integer(1025));
    assert_refused(m, ERR_UNSUPPORTED, "\"num_hidden_layers\" is 1025", "from 1 to 1024");
    set_config(m, "num_hidden_layers", json_integer(2));
    set_config(m, "num_key_value_heads", json_integer(3));
    assert_refused(m, ERR_UNSUPPORTED, "\"num_key_value_heads\" is 3", "must divide");
}

/* The largest sizes that config.json may have, all at once: nothing overflows, nothing is read. */
static void the_largest_sizes_are_refused_for_their_memory(void **state)
{
    const struct tiny_model *m = *state;
    struct engine_options o = {.n_threads = 1024, .max_requests = 65536, .token_budget = 1 << 20};
    set_config(m, "num_hidden_layers", json_integer(1024));
    set_config(m, "num_attention_heads", json_integer(4096));
    set_config(m, "num_key_value_heads", json_integer(4096));
    set_config(m, "head_dim", json_integer(1024));
    set_config(m, "hidden_size", json_integer(1 << 17));
    set_config(m, "intermediate_size", json_integer(1 << 20));
    set_config(m, "max_position_embeddings", json_integer(1 << 20));
    set_config(m, "vocab_size", json_integer(1 << 22));
    assert_refused_with(m, &o, ERR_LIMIT, "not even one page", "allow more");
    o.kv_bytes = (uint64_t)1 << 50;
    assert_refused_with(m, &o, ERR_MEMORY, "the model does not fit", "MiB are available");
}

/* A quarter of a tebibyte that takes no room on the disk: reading it would take minutes. */
static void a_model_larger_than_the_memory_is_refused_unread(void **state)
{
    const struct tiny_model *m = *state;
    truncate_file(m, "model.safetensors", -((off_t)1 << 38));
    assert_refused(m, ERR_MEMORY, "262144 MiB of weights", "MiB are available");
}

/* In a child, whose limits are its own: exits 0 when the model was refused with the numbers. */
static void open_under_a_limit(const struct tiny_model *m, __rlimit_resource_t resource,
                               const char *used_key)
{
    BUF_AUTO status = BUF_INIT;
    struct engine_options o = small;
    struct engine *e = NULL;
    if (is_err(file_read(&status, "/proc/self/status", 65536)))
        _exit(2);
    const char *at = strstr(buf_str(&status), used_key);
    uint64_t used = at != NULL ? strtoull(at + strlen(used_key), NULL, 10) * 1024 : 0;
    struct rlimit limit = {used + (512 << 20), used + (512 << 20)};
    if (used == 0 || setrlimit(resource, &limit) != 0)
        _exit(3);
    o.kv_bytes = 1 << 30;
    struct err err = engine_open(&e, m->dir, &o);
    bool refused = err.code == ERR_MEMORY && strstr(err_message(), "MiB are available") != NULL;
    o.kv_bytes = 1 << 20;
    bool opened = refused && !is_err(engine_open(&e, m->dir, &o));
    if (!opened)
        fprintf(stderr, "%s\n", err_message());
    _exit(!refused ? 1 : !opened ? 4 : 0);
}

static void a_limit_of_the_process_counts(void **state)
{
    const struct {
        __rlimit_resource_t resource;
        const char *used_key;
    } limits[] = {{RLIMIT_AS, "VmSize:"}, {RLIMIT_DATA, "VmData:"}};
    for (size_t i = 0; i < 2; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0)
            open_under_a_limit(*state, limits[i].resource, limits[i].used_key);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first_value_that_is_no_number_of_every_type),
        cmocka_unit_test_setup_teardown(refuses_a_tensor_of_any_place_that_holds_no_number,
                                        setup_f32, teardown),
        CASE(refuses_a_truncated_shard_by_its_name),
        CASE(refuses_two_shards_that_hold_the_same_tensor),
        CASE(refuses_links_that_lead_nowhere),
        CASE(refuses_what_would_block_or_never_end),
        CASE(refuses_duplicate_keys_in_every_settings_file),
        CASE(refuses_a_tokenizer_without_merges),
        CASE(refuses_layers_and_heads_that_cannot_be),
        CASE(the_largest_sizes_are_refused_for_their_memory),
        CASE(a_model_larger_than_the_memory_is_refused_unread),
        CASE(a_limit_of_the_process_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
