/* Models of other families on the emulated GPU, near the CPU's ref: a window, norms of each query
 * and key, matrices stored as one with heads that are turned in part, an output matrix that is
 * stored although it is tied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_device_fixture.h"

enum { N_TOKENS = 110 }; /* two pages: the window begins behind the first */

static void write_tensors(const struct tiny_model *m)
{
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, 0, m->n_tensors, &file);
    tiny_write_file(m, "model.safetensors", file.data, file.len);
}

/* Over the config, less the keys that are Llama's alone. */
static void change_config(const struct tiny_model *m, json_t *changes)
{
    json_t *config = tiny_read_json(m, "config.json");
    json_object_del(config, "attention_bias");
    json_object_del(config, "mlp_bias");
    json_object_update(config, changes);
    tiny_write_json(m, "config.json", config);
    json_decref(config);
    json_decref(changes);
}

static struct tiny_tensor *find(struct tiny_model *m, unsigned layer, const char *part)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, part);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fail_msg("there is no %s", name);
    return NULL;
}

/* One tensor of several, their rows one below the other, in the place of the first. */
static void stack(struct tiny_model *m, unsigned layer, const char *as, const char *const *parts,
                  size_t n)
{
    struct tiny_tensor all = {.n_cols = find(m, layer, parts[0])->n_cols};
    snprintf(all.name, sizeof all.name, "model.layers.%u.%s.weight", layer, as);
    for (size_t i = 0; i < n; i++) {
        struct tiny_tensor *t = find(m, layer, parts[i]);
        size_t len = t->n_rows * t->n_cols, at = all.n_rows * all.n_cols;
        all.values = realloc(all.values, (at + len) * sizeof *all.values);
        assert_non_null(all.values);
        memcpy(all.values + at, t->values, len * sizeof *all.values);
        all.n_rows += t->n_rows;
        free(t->values);
        *t = m->tensors[--m->n_tensors];
    }
    m->tensors[m->n_tensors++] = all;
}

static void add_vector(struct tiny_model *m, unsigned layer, const char *part, size_t n)
{
    uint64_t random = layer + n;
    struct tiny_tensor *t = &m->tensors[m->n_tensors++];
    *t = (struct tiny_tensor){.n_cols = n, .values = calloc(n, sizeof *t->values)};
    assert_non_null(t->values);
    snprintf(t->name, sizeof t->name, "model.layers.%u.%s.weight", layer, part);
    for (size_t i = 0; i < n; i++)
        t->values[i] = 1.0f + (float)(tiny_random(&random) % 64) / 128.0f; /* bf16 holds it */
}

/* Logits are of size 10 to 14; bf16 has 8 bits. */
static void is_near_ref(const struct tiny_model *m)
{
    uint32_t tokens[N_TOKENS];
    random_tokens(tokens, N_TOKENS, m->spec.seed);
    struct difference d =
        from_ref(m->dir, gpu_options(2, 64), tokens, N_TOKENS, m->spec.vocab_size);
    assert_true(d.worst < 0.6 && d.worst_l2 < 0.04);
}

static void a_window_hides_what_is_before_it(void **state)
{
    (void)state;
    struct tiny_model m;
    tiny_write(&m, &plain);
    change_config(&m, json_pack("{s:[s], s:s, s:i, s:n}", "architectures", "MistralForCausalLM",
                                "model_type", "mistral", "sliding_window", 40, "rope_scaling"));
    is_near_ref(&m);
    tiny_remove(&m);
}

static void queries_and_keys_are_normed(void **state)
{
    (void)state;
    struct tiny_model m;
    tiny_write(&m, &plain);
    for (unsigned i = 0; i < plain.n_layers; i++) {
        add_vector(&m, i, "self_attn.q_norm", plain.head_dim);
        add_vector(&m, i, "self_attn.k_norm", plain.head_dim);
    }
    write_tensors(&m);
    change_config(&m, json_pack("{s:[s], s:s, s:n}", "architectures", "Qwen3ForCausalLM",
                                "model_type", "qwen3", "rope_scaling"));
    is_near_ref(&m);
    tiny_remove(&m);
}

static void heads_are_turned_in_part_and_matrices_stored_as_one(void **state)
{
    (void)state;
    static const char *const qkv[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    static const char *const gate_up[] = {"mlp.gate_proj", "mlp.up_proj"};
    struct tiny_model m;
    struct tiny_spec spec = plain;
    spec.head_dim = 96;
    tiny_write(&m, &spec);
    for (unsigned i = 0; i < spec.n_layers; i++) {
        stack(&m, i, "self_attn.qkv_proj", qkv, 3);
        stack(&m, i, "mlp.gate_up_proj", gate_up, 2);
    }
    write_tensors(&m);
    change_config(&m, json_pack("{s:[s], s:s, s:f, s:i, s:n}", "architectures", "Phi3ForCausalLM",
                                "model_type", "phi3", "partial_rotary_factor", 0.75,
                                "sliding_window", 100, "rope_scaling"));
    is_near_ref(&m);
    tiny_remove(&m);
}

static void a_tied_output_matrix_may_be_stored_if_it_is_the_same(void **state)
{
    (void)state;
    struct tiny_model m;
    struct engine *e = NULL;
    struct engine_options o = gpu_options(1, 64);
    tiny_write(&m, &plain); /* untied: it stores both */
    struct tiny_tensor *embed = &m.tensors[0], *output = &m.tensors[m.n_tensors - 1];
    change_config(&m, json_pack("{s:b}", "tie_word_embeddings", 1));
    assert_int_equal(engine_open(&e, m.dir, &o).code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "\"lm_head.weight\" differs from"));
    memcpy(output->values, embed->values, embed->n_rows * embed->n_cols * sizeof *embed->values);
    write_tensors(&m);
    is_near_ref(&m);
    tiny_remove(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_window_hides_what_is_before_it, setup),
        cmocka_unit_test_setup(queries_and_keys_are_normed, setup),
        cmocka_unit_test_setup(heads_are_turned_in_part_and_matrices_stored_as_one, setup),
        cmocka_unit_test_setup(a_tied_output_matrix_may_be_stored_if_it_is_the_same, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
