/* The whole engine on a GPU, the emulated one: answers and logits as the CPU's ref has them, within
 * what bf16 allows; a request's bits the same in any company; the measured files those of the CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/file.h"
#include "tests/unit/engine_device_fixture.h"

/* Logits are of size 10 to 14; bf16 has 8 bits. */
static void logits_are_near_those_of_ref(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct tiny_model m;
        struct tiny_spec spec = plain;
        uint32_t tokens[100];
        spec.seed += (uint64_t)variant;
        spec.tied = variant == 1;
        spec.biases = variant == 2;
        spec.head_dim = variant == 1 ? 128 : 64;
        tiny_write(&m, &spec);
        random_tokens(tokens, 100, spec.seed);
        struct difference d = from_ref(m.dir, gpu_options(2, 64), tokens, 100, spec.vocab_size);
        assert_true(d.worst < 0.6 && d.worst_l2 < 0.04);
        tiny_remove(&m);
    }
}

/* The demo model's answers lead by 1.0 or more everywhere; bf16 moves no logit by half as much. */
static void the_demo_model_answers_as_expected(void **state)
{
    (void)state;
    BUF_AUTO path = BUF_INIT, golden_path = BUF_INIT;
    const char *root = getenv("BL_SOURCE_DIR"); /* where they lie on another machine */
    const char *dir = path_join(&path, root != NULL ? root : BL_SOURCE_DIR, "models/demo");
    json_t *golden =
        json_load_file(path_join(&golden_path, dir, "golden.json"), JSON_ALLOW_NUL, NULL);
    if (golden == NULL)
        skip(); /* the demo model is not here */
    struct engine *e = NULL;
    struct engine_options o = gpu_options(2, 32);
    struct answer answers[2] = {0};
    must(engine_open(&e, dir, &o));
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = json_array_get(json_object_get(golden, "answers"), i);
        const json_t *ids = json_object_get(item, "prompt_ids");
        uint32_t prompt[64];
        struct engine_params p = plain_params(16);
        assert_true(json_number_value(json_object_get(item, "min_lead")) > 1.0);
        for (size_t j = 0; j < json_array_size(ids); j++)
            prompt[j] = (uint32_t)json_integer_value(json_array_get(ids, j));
        submit(e, prompt, json_array_size(ids), &p, &answers[i]);
    }
    run_all(e);
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = json_array_get(json_object_get(golden, "answers"), i);
        const json_t *want = json_object_get(item, "answer_ids");
        assert_int_equal(answers[i].n, 16);
        for (size_t j = 0; j < 16; j++)
            assert_int_equal(answers[i].ids[j], json_integer_value(json_array_get(want, j)));
        buf_cleanup(&answers[i].text);
    }
    engine_free(e);
    json_decref(golden);
}

/* Under its own numerics name. */
static void an_ampere_gives_logits_near_those_of_ref(void **state)
{
    (void)state;
    struct tiny_model m;
    uint32_t tokens[70];
    if (backend.image != NULL)
        skip(); /* a real GPU is what it is */
    gpu_emu_chip(80);
    tiny_write(&m, &plain);
    random_tokens(tokens, 70, 3);
    struct difference d = from_ref(m.dir, gpu_options(2, 64), tokens, 70, plain.vocab_size);
    assert_true(d.worst < 0.6 && d.worst_l2 < 0.04);
    struct engine *e = open_with(&m, gpu_options(1, 64));
    assert_string_equal(engine_info(e)->numerics, "sm80-1");
    engine_free(e);
    tiny_remove(&m);
}

enum { N_MIX = 4, MIX_TOKENS = 3 };

struct mixed {
    uint32_t prompt[160];
    size_t n_prompt;
    struct engine_params params;
    struct answer alone, among;
};

static void make_mix(struct mixed *mix, uint64_t seed)
{
    static const size_t lengths[N_MIX] = {1, 65, 40, 64};
    for (size_t i = 0; i < N_MIX; i++) {
        random_tokens(mix[i].prompt, 160, seed + i % 2); /* some begin alike */
        mix[i].n_prompt = lengths[i];
        mix[i].params = plain_params(MIX_TOKENS);
        mix[i].params.logprobs = true;
        mix[i].params.n_logprobs = 2;
        mix[i].params.seed = seed + i;
        mix[i].params.temperature = i % 2 == 0 ? 0.9f : 0.0f;
        mix[i].params.frequency_penalty = i == 3 ? 0.5f : 0.0f;
        mix[i].params.has_cache_salt = i > 0; /* the last finds the whole of the second's page */
    }
}

static uint64_t page_size_of(const struct tiny_model *m)
{
    const struct tiny_spec *s = &m->spec;
    return (uint64_t)s->n_layers * 2 * s->n_kv_heads * KV_PAGE_TOKENS * s->head_dim *
           sizeof(uint16_t);
}

/* Returns how many pages were copied. */
static size_t run_mix(const struct tiny_model *m, struct mixed *mix, unsigned budget,
                      size_t n_pages, uint64_t seed)
{
    struct engine_options o = gpu_options(4, budget);
    o.kv_bytes = n_pages * page_size_of(m);
    gpu_emu_seed(seed);
    struct engine *e = open_with(m, o);
    for (size_t i = 0; i < N_MIX; i++) {
        mix[i].among = (struct answer){0};
        submit(e, mix[i].prompt, mix[i].n_prompt, &mix[i].params, &mix[i].among);
        for (uint64_t n = (seed + i) % 3; n > 0; n--)
            step(e);
    }
    run_all(e);
    assert_true(e->device->n_graph_steps > 0 && e->device->n_graph_steps < e->progress.n_steps);
    for (size_t i = 0; i < N_MIX; i++) {
        assert_same_answer(&mix[i].among, &mix[i].alone);
        buf_cleanup(&mix[i].among.text);
    }
    size_t n_copies = e->device->n_copies;
    engine_free(e);
    return n_copies;
}

/* Tokens, logprobs and whole rows of logits, under other budgets, with few pages, in another order
 * of the device's events. */
static void an_answer_does_not_depend_on_its_company(void **state)
{
    (void)state;
    struct tiny_model m;
    static struct mixed mix[N_MIX];
    memset(mix, 0, sizeof mix);
    tiny_write(&m, &plain);
    make_mix(mix, 50);
    for (size_t i = 0; i < N_MIX; i++) {
        struct engine *e = open_with(&m, gpu_options(1, 256));
        submit(e, mix[i].prompt, mix[i].n_prompt, &mix[i].params, &mix[i].alone);
        run_all(e);
        assert_int_equal(mix[i].alone.n, MIX_TOKENS);
        engine_free(e);
    }
    assert_true(run_mix(&m, mix, 160, 16, 1) + run_mix(&m, mix, 37, 4, 2) > 0);
    for (size_t i = 0; i < N_MIX; i++)
        buf_cleanup(&mix[i].alone.text);
    tiny_remove(&m);
}

static bool zero_there(const struct device *d, struct gpu_address at, size_t len)
{
    void *copy = malloc(len);
    assert_non_null(copy);
    must(whole->copy_from(d->stream, copy, at, len));
    must(whole->stream_wait(d->stream));
    bool zero = all_zero(copy, len);
    free(copy);
    return zero;
}

static void what_came_from_prompts_is_zeroed(void **state)
{
    (void)state;
    struct tiny_model m;
    uint32_t prompt[100];
    struct answer a = {0};
    struct engine_params p = plain_params(2);
    tiny_write(&m, &plain);
    random_tokens(prompt, 100, 9);
    struct engine *e = open_with(&m, gpu_options(1, 64));
    submit(e, prompt, 100, &p, &a);
    run_all(e);
    const struct device *d = e->device;
    assert_true(zero_there(d, d->cache, d->sizes.n_pages * device_page_size(d->config)));
    assert_true(zero_there(d, d->x, d->sizes.max_rows * plain.hidden * sizeof(float)));
    assert_true(zero_there(d, d->qkv, d->sizes.max_rows * 512 * sizeof(uint16_t)));
    assert_true(zero_there(d, d->tokens, d->sizes.max_rows * sizeof(uint32_t)));
    buf_cleanup(&a.text);
    engine_free(e);
    tiny_remove(&m);
}

static void both_backends_measure_the_same_files(void **state)
{
    (void)state;
    struct tiny_model m;
    struct engine_options cpu = options(1, 1, 64);
    tiny_write(&m, &plain);
    cpu.backend = "cpu";
    struct engine *a = open_with(&m, gpu_options(1, 64)), *b = open_with(&m, cpu);
    const struct engine_info *x = engine_info(a), *y = engine_info(b);
    assert_int_equal(x->n_files, y->n_files);
    for (size_t i = 0; i < x->n_files; i++) {
        assert_string_equal(x->files[i].name, y->files[i].name);
        assert_memory_equal(x->files[i].sha256, y->files[i].sha256, SHA256_LEN);
    }
    assert_int_equal(x->n_parameters, y->n_parameters);
    assert_string_equal(x->numerics, "sm90-1");
    assert_string_equal(x->device, device_info(a->device)->name);
    engine_free(a);
    engine_free(b);
    tiny_remove(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(logits_are_near_those_of_ref, setup),
        cmocka_unit_test_setup(the_demo_model_answers_as_expected, setup),
        cmocka_unit_test_setup(an_ampere_gives_logits_near_those_of_ref, setup),
        cmocka_unit_test_setup(an_answer_does_not_depend_on_its_company, setup),
        cmocka_unit_test_setup(what_came_from_prompts_is_zeroed, setup),
        cmocka_unit_test_setup(both_backends_measure_the_same_files, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
