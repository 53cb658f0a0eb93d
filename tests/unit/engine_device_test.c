/* The whole engine on a GPU, the emulated one: answers and logits as the CPU's ref has them, within
 * what bf16 allows; a request's bits the same in any company; what a GPU cannot compute is refused,
 * and a GPU that fails loses nobody but those it was computing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/device_internal.h"
#include "kernels/cuda/gpu_backend.h"
#include "tests/unit/engine_fixture.h"
#include "tests/unit/gpu_chosen.h"

static const struct gpu_driver *whole; /* the emulated one, or that of BL_TEST_GPU */
static struct gpu_driver driver;       /* the same, in which a test may break something */
static struct gpu_backend backend = {.driver = &driver};

/* Small, with everything that has a case of its own: no multiple of the tiles, two query heads on
 * one key head, an output matrix of its own, long waves stretched. */
static const struct tiny_spec plain = {.vocab_size = 264,
                                       .hidden = 72,
                                       .inner = 88,
                                       .n_layers = 2,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 64,
                                       .max_positions = 640,
                                       .rope_theta = 10000.0,
                                       .eps = 1e-5,
                                       .llama3 = 1,
                                       .type = TINY_BF16,
                                       .seed = 5};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static struct engine_options gpu_options(unsigned max_requests, unsigned budget)
{
    struct engine_options o = options(1, max_requests, budget);
    o.backend = "cuda";
    o.gpu = &backend;
    o.max_context = 256;
    o.gpu_logits = true;
    return o;
}

static int setup(void **state)
{
    (void)state;
    backend = *gpu_chosen();
    whole = backend.driver;
    driver = *whole;
    backend.driver = &driver;
    gpu_emu_chip(90);
    gpu_emu_seed(7);
    return 0;
}

struct difference {
    double worst, worst_l2; /* of a logit; of a row, relative */
};

static struct difference compare(const float *got, const float *want, size_t n_rows, size_t n)
{
    struct difference d = {0};
    for (size_t r = 0; r < n_rows; r++) {
        double error = 0, size = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++) {
            double by = (double)got[i] - (double)want[i];
            error += by * by;
            size += (double)want[i] * (double)want[i];
            d.worst = fmax(d.worst, fabs(by));
        }
        d.worst_l2 = fmax(d.worst_l2, sqrt(error / size));
    }
    return d;
}

/* Logits of a prompt on the CPU's ref, or on the GPU. */
static float *logits_of(const char *dir, struct engine_options o, const uint32_t *tokens, size_t n)
{
    struct engine *e = NULL;
    must(engine_open(&e, dir, &o));
    float *out = calloc(n * e->config.vocab_size, sizeof *out);
    assert_non_null(out);
    must(engine_logits(e, tokens, n, out));
    engine_free(e);
    return out;
}

static struct difference from_ref(const char *dir, struct engine_options gpu,
                                  const uint32_t *tokens, size_t n, size_t vocab_size)
{
    struct engine_options ref = {.backend = "ref", .n_threads = 1, .max_requests = 1};
    ref.max_context = gpu.max_context;
    float *got = logits_of(dir, gpu, tokens, n), *want = logits_of(dir, ref, tokens, n);
    struct difference d = compare(got, want, n, vocab_size);
    print_message("from ref: largest difference %.2g, relative L2 %.2g\n", d.worst, d.worst_l2);
    free(got);
    free(want);
    return d;
}

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
static void an_ampere_gives_the_tokens_and_logits_of_ref(void **state)
{
    struct tiny_model m;
    uint32_t tokens[70];
    gpu_emu_chip(80);
    the_demo_model_answers_as_expected(state);
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

static unsigned n_until_failure;

static struct err fail_in_time(struct gpu_event *e)
{
    if (n_until_failure > 0 && --n_until_failure == 0)
        return err_set(ERR_IO, "an uncorrectable error of its memory");
    return whole->event_wait(e);
}

/* The first of two requests is computed when the GPU fails; the second one waits. */
static struct engine *fail_in_flight(const struct tiny_model *m, bool recovers, struct answer *a,
                                     struct answer *b)
{
    const uint32_t prompt[] = {5, 6, 7};
    struct engine_params p = plain_params(4);
    struct engine_options o = gpu_options(1, 64);
    o.gpu_recovers = recovers;
    driver.event_wait = fail_in_time;
    struct engine *e = open_with(m, o);
    submit(e, prompt, 3, &p, a);
    submit(e, prompt, 3, &p, b);
    step(e);
    step(e); /* its first token is there, the second one is on its way */
    n_until_failure = 1;
    return e;
}

static void a_failure_fails_what_was_computed_and_the_rest_goes_on(void **state)
{
    (void)state;
    struct tiny_model m;
    struct answer a = {0}, b = {0}, after = {0};
    const uint32_t prompt[] = {5, 6, 7};
    struct engine_params p = plain_params(4);
    struct engine_stats stats;
    tiny_write(&m, &plain);
    struct engine *e = fail_in_flight(&m, true, &a, &b);
    run_all(e);
    assert_int_equal(a.finish, ENGINE_FAILED);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.finish, ENGINE_LENGTH);
    submit(e, prompt, 3, &p, &after);
    run_all(e);
    assert_same_answer(&b, &after);
    engine_stats(e, &stats);
    assert_int_equal(stats.n_gpu_failures, 1);
    assert_false(stats.stopped);
    assert_int_equal(stats.n_pages_used, 0);
    engine_free(e);
    buf_cleanup(&a.text);
    buf_cleanup(&b.text);
    buf_cleanup(&after.text);
    tiny_remove(&m);
}

static void without_recovery_the_engine_stops_and_says_why(void **state)
{
    (void)state;
    struct tiny_model m;
    struct answer a = {0}, b = {0};
    const uint32_t prompt[] = {5};
    struct engine_params p = plain_params(1);
    uint64_t id;
    BUF_AUTO why = BUF_INIT;
    tiny_write(&m, &plain);
    struct engine *e = fail_in_flight(&m, false, &a, &b);
    run_all(e);
    assert_int_equal(a.finish, ENGINE_FAILED);
    assert_int_equal(b.finish, ENGINE_FAILED);
    engine_failure(e, &why);
    assert_non_null(strstr(buf_str(&why), "the GPU failed: an uncorrectable error"));
    struct err err = engine_submit(e, &id, prompt, 1, &p, collect, &a);
    assert_int_equal(err.code, ERR_IO);
    assert_false(step(e));
    engine_free(e);
    buf_cleanup(&a.text);
    buf_cleanup(&b.text);
    tiny_remove(&m);
}

/* Another model in the same files is not what was measured. */
static void a_gpu_comes_back_with_the_measured_weights_or_not_at_all(void **state)
{
    (void)state;
    struct tiny_model m, other;
    struct tiny_spec spec = plain;
    struct answer a = {0}, b = {0};
    BUF_AUTO why = BUF_INIT, file = BUF_INIT;
    spec.seed++;
    tiny_write(&m, &plain);
    tiny_write(&other, &spec);
    tiny_safetensors(&other, 0, other.n_tensors, &file);
    struct engine *e = fail_in_flight(&m, true, &a, &b);
    tiny_write_file(&m, "model.safetensors", file.data, file.len);
    run_all(e);
    assert_int_equal(b.finish, ENGINE_FAILED);
    engine_failure(e, &why);
    assert_non_null(strstr(buf_str(&why), "not the file that was measured"));
    engine_free(e);
    buf_cleanup(&a.text);
    buf_cleanup(&b.text);
    tiny_remove(&m);
    tiny_remove(&other);
}

static void expect_refusal(const char *dir, struct engine_options o, enum err_code code,
                           const char *words)
{
    struct engine *e = NULL;
    struct err err = engine_open(&e, dir, &o);
    if (err.code != code || strstr(err_message(), words) == NULL)
        fail_msg("code %d, \"%s\"; wanted %d, \"%s\"", (int)err.code,
                 is_err(err) ? err_message() : "opened", (int)code, words);
    /* With "auto" the CPU takes over, and says why. */
    o.backend = NULL;
    if (code == ERR_MEMORY || code == ERR_MALFORMED)
        return;
    must(engine_open(&e, dir, &o));
    assert_string_not_equal(engine_info(e)->backend, driver.name);
    assert_non_null(strstr(engine_info(e)->why_cpu, words));
    engine_free(e);
}

static struct err an_older_chip(struct gpu *g, struct gpu_info *out)
{
    TRY(whole->info(g, out));
    out->major = 7;
    out->minor = 5;
    return err_ok();
}

static struct err a_small_chip(struct gpu *g, struct gpu_info *out)
{
    TRY(whole->info(g, out));
    out->memory_free = 257 << 20;
    return err_ok();
}

static void what_a_gpu_cannot_compute_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct tiny_model m;
    struct tiny_spec spec = plain;
    struct engine_options o = gpu_options(1, 64);
    tiny_write(&m, &plain);
    driver.info = an_older_chip;
    expect_refusal(m.dir, o, ERR_UNSUPPORTED, "compute capability 7.5");
    driver.info = a_small_chip;
    o.max_context = 64;
    expect_refusal(m.dir, o, ERR_MEMORY, "1 MiB are available");
    driver = *whole;
    o.gpu = NULL;
    expect_refusal(m.dir, o, ERR_NOT_FOUND, "built without the CUDA backend");
    tiny_remove(&m);
    o = gpu_options(1, 64);
    spec.type = TINY_F16;
    tiny_write(&m, &spec);
    expect_refusal(m.dir, o, ERR_UNSUPPORTED, "BF16 alone");
    tiny_remove(&m);
    tiny_write(&m, &tiny_default);
    expect_refusal(m.dir, o, ERR_UNSUPPORTED, "not 12");
    tiny_remove(&m);
}

static void damaged_weights_are_refused_by_name(void **state)
{
    (void)state;
    struct tiny_model m;
    BUF_AUTO file = BUF_INIT;
    tiny_write(&m, &plain);
    m.tensors[5].values[77] = INFINITY; /* of a matrix */
    tiny_safetensors(&m, 0, m.n_tensors, &file);
    tiny_write_file(&m, "model.safetensors", file.data, file.len);
    expect_refusal(m.dir, gpu_options(1, 64), ERR_MALFORMED, m.tensors[5].name);
    expect_refusal(m.dir, gpu_options(1, 64), ERR_MALFORMED, "its element 77 is");
    m.tensors[5].values[77] = 0;
    m.tensors[8].values[3] = INFINITY; /* of a norm */
    buf_clear(&file);
    tiny_safetensors(&m, 0, m.n_tensors, &file);
    tiny_write_file(&m, "model.safetensors", file.data, file.len);
    expect_refusal(m.dir, gpu_options(1, 64), ERR_MALFORMED, m.tensors[8].name);
    tiny_write_file(&m, "model.safetensors", file.data, file.len - 2);
    expect_refusal(m.dir, gpu_options(1, 64), ERR_MALFORMED, "leave the file");
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
        cmocka_unit_test_setup(an_ampere_gives_the_tokens_and_logits_of_ref, setup),
        cmocka_unit_test_setup(an_answer_does_not_depend_on_its_company, setup),
        cmocka_unit_test_setup(what_came_from_prompts_is_zeroed, setup),
        cmocka_unit_test_setup(a_failure_fails_what_was_computed_and_the_rest_goes_on, setup),
        cmocka_unit_test_setup(without_recovery_the_engine_stops_and_says_why, setup),
        cmocka_unit_test_setup(a_gpu_comes_back_with_the_measured_weights_or_not_at_all, setup),
        cmocka_unit_test_setup(what_a_gpu_cannot_compute_is_refused_with_the_reason, setup),
        cmocka_unit_test_setup(damaged_weights_are_refused_by_name, setup),
        cmocka_unit_test_setup(both_backends_measure_the_same_files, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
