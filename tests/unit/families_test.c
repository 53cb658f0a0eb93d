/*
 * Each model family against logits that `transformers` computed (tests/golden/make_model_golden.py)
 * on every kernel set; the same bits in any company; models that are not what config.json says.
 */
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
#include <dirent.h>
#include <jansson.h>

#include "common/file.h"
#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/safetensors.h"

#define GOLDEN BL_SOURCE_DIR "/tests/golden/families"

/* Both sides add in float in different orders; the largest seen is 5.6e-6. */
#define TOLERANCE 1e-5
#define TOLERANCE_ROWS 6e-2 /* of a set that rounds the rows of matmuls to bf16 */

/* Rounded weights against logits from the weights as they were: what rounding costs on this model.
 * transformers gets the same from them, 5.25e-3 and 3.41e-2. */
#define TOLERANCE_F16 6e-3
#define TOLERANCE_BF16 4e-2

/* N_LONG and ORIGINAL: of the two models with longrope. */
enum { VOCAB = 64, N_TOKENS = 72, N_LONG = 120, ORIGINAL = 96, N_MOST = N_LONG };

static const char *const families[] = {"llama3",  "llama_bias", "smollm2",  "mistral",
                                       "qwen2",   "qwen3",      "phi3",     "llama2",
                                       "llama32", "phi3_long",  "phi4_mini"};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static const char *tested; /* the backend */

/* A model folder: the family's files with the shared tokenizer, and a config.json of one's own. */
struct folder {
    char dir[32];
};

static void link_file(const struct folder *f, const char *from, const char *name)
{
    BUF_AUTO to = BUF_INIT;
    assert_int_equal(symlink(from, path_join(&to, f->dir, name)), 0);
}

/* The weights: one file, or shards and their index. */
static void link_weights(const struct folder *f, const char *family)
{
    BUF_AUTO path = BUF_INIT;
    buf_printf(&path, GOLDEN "/%s", family);
    DIR *dir = opendir(buf_str(&path));
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        BUF_AUTO from = BUF_INIT;
        if (strncmp(d->d_name, "model", 5) == 0)
            link_file(f, path_join(&from, buf_str(&path), d->d_name), d->d_name);
    }
    closedir(dir);
}

/* `key` of config.json is set to the JSON text `value`; NULL leaves the config as it is. */
static struct folder folder_of(const char *family, const char *key, const char *value)
{
    struct folder f = {"/tmp/families-XXXXXX"};
    BUF_AUTO config = BUF_INIT, own = BUF_INIT;
    assert_non_null(mkdtemp(f.dir));
    buf_printf(&config, GOLDEN "/%s/config.json", family);
    link_weights(&f, family);
    link_file(&f, GOLDEN "/tokenizer.json", "tokenizer.json");
    json_t *root = json_load_file(buf_str(&config), 0, NULL);
    assert_non_null(root);
    if (key != NULL)
        json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL));
    assert_int_equal(json_dump_file(root, path_join(&own, f.dir, "config.json"), 0), 0);
    json_decref(root);
    return f;
}

static void folder_remove(const struct folder *f)
{
    DIR *dir = opendir(f->dir);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        BUF_AUTO path = BUF_INIT;
        if (d->d_name[0] != '.')
            assert_int_equal(unlink(path_join(&path, f->dir, d->d_name)), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(f->dir), 0);
}

static struct engine *open_with(const struct folder *f, struct engine_options o)
{
    struct engine *e = NULL;
    if (is_err(engine_open(&e, f->dir, &o)))
        fail_msg("%s", err_message());
    return e;
}

static struct engine_options options(unsigned n_threads, unsigned max_requests, unsigned budget)
{
    return (struct engine_options){.n_threads = n_threads,
                                   .max_requests = max_requests,
                                   .token_budget = budget,
                                   .backend = tested};
}

struct expected {
    size_t n;
    uint32_t tokens[N_MOST];
    float logits[N_MOST * VOCAB];
};

static void read_tensor(void *out, size_t len, const struct safetensors *s, const char *name)
{
    const struct tensor *t = safetensors_find(s, name);
    assert_non_null(t);
    assert_int_equal(t->data.len, len);
    memcpy(out, t->data.data, len);
}

static void read_expected_of(struct expected *x, const char *family, const char *name, size_t n)
{
    BUF_AUTO path = BUF_INIT, file = BUF_INIT;
    struct safetensors s;
    buf_printf(&path, GOLDEN "/%s/%s.safetensors", family, name);
    assert_false(is_err(file_read(&file, buf_str(&path), 1 << 20)));
    assert_false(is_err(safetensors_parse(&s, buf_bytes(&file))));
    read_tensor(x->tokens, n * sizeof *x->tokens, &s, "tokens");
    read_tensor(x->logits, n * VOCAB * sizeof *x->logits, &s, "logits");
    x->n = n;
    safetensors_cleanup(&s);
}

static void read_expected(struct expected *x, const char *family)
{
    read_expected_of(x, family, "expected", N_TOKENS);
}

/* The largest relative L2 error of a row's logits, of rows 0 to `n_rows` - 1. */
static double worst_row(const float *got, const float *want, size_t n_rows)
{
    double worst = 0;
    for (size_t r = 0; r < n_rows; r++) {
        double error = 0, size = 0;
        for (size_t i = r * VOCAB; i < (r + 1) * VOCAB; i++) {
            double d = (double)got[i] - (double)want[i];
            error += d * d;
            size += (double)want[i] * (double)want[i];
        }
        assert_true(isfinite(error));
        worst = fmax(worst, sqrt(error / size));
    }
    return worst;
}

/* The error of a model that was opened for a context of `max_context` tokens (0: its own). */
static double error_of(const struct folder *f, const struct expected *x, unsigned max_context,
                       size_t n_rows)
{
    static float got[N_MOST * VOCAB];
    struct engine_options o = options(2, 1, 31);
    o.max_context = max_context;
    struct engine *e = open_with(f, o);
    assert_false(is_err(engine_logits(e, x->tokens, x->n, got)));
    engine_free(e);
    return worst_row(got, x->logits, n_rows);
}

/* What the family's model gives when one key of its config.json is another. */
static double error_with(const char *family, const char *key, const char *value, size_t n_rows)
{
    static struct expected x;
    struct folder f = folder_of(family, key, value);
    read_expected(&x, family);
    double error = error_of(&f, &x, N_TOKENS, n_rows);
    folder_remove(&f);
    return error;
}

static double bound(double of_float_rows)
{
    bool rounds = strcmp(tested, "avx512bf16") == 0;
    return rounds && of_float_rows < TOLERANCE_ROWS ? TOLERANCE_ROWS : of_float_rows;
}

static void assert_error(const char *what, double error, double tolerance)
{
    printf("%s: largest relative error of a row %.1e\n", what, error);
    if (!(error < tolerance))
        fail_msg("%s: a row's relative error is %g", what, error);
}

/* The models with longrope are opened for a short context here, so they have the short factors. */
static void logits_are_those_of_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAMILIES; i++)
        assert_error(families[i], error_with(families[i], NULL, NULL, N_TOKENS), bound(TOLERANCE));
}

static void rounded_weights_give_logits_that_are_near(void **state)
{
    (void)state;
    static const char *const models[] = {"llama2_f16", "llama2_bf16"};
    static const double tolerances[] = {TOLERANCE_F16, TOLERANCE_BF16};
    static struct expected x;
    for (size_t i = 0; i < 2; i++) {
        struct folder f = folder_of(models[i], NULL, NULL);
        read_expected(&x, "llama2");
        assert_error(models[i], error_of(&f, &x, 0, N_TOKENS), bound(tolerances[i]));
        folder_remove(&f);
    }
}

/* transformers takes the long factors for a prompt that is longer than the original context; here
 * the context decides, so a short prompt has them, too. */
static void longrope_follows_the_context_that_was_asked_for(void **state)
{
    (void)state;
    static const char *const models[] = {"phi3_long", "phi4_mini"};
    static struct expected x;
    for (size_t i = 0; i < 2; i++) {
        struct folder f = folder_of(models[i], NULL, NULL);
        read_expected_of(&x, models[i], "expected_long", N_LONG);
        assert_error(models[i], error_of(&f, &x, 0, N_LONG), bound(TOLERANCE));
        x.n = N_TOKENS;
        assert_true(error_of(&f, &x, N_LONG, N_TOKENS) < bound(TOLERANCE));
        assert_true(error_of(&f, &x, ORIGINAL + 1, N_TOKENS) < bound(TOLERANCE));
        assert_true(error_of(&f, &x, ORIGINAL, N_TOKENS) > 1e-2);
        read_expected(&x, models[i]);
        assert_true(error_of(&f, &x, ORIGINAL, N_TOKENS) < bound(TOLERANCE));
        assert_true(error_of(&f, &x, ORIGINAL + 1, N_TOKENS) > 1e-2);
        folder_remove(&f);
    }
}

/* The window of 21 to the position: rows before it is full are alike with any. */
static void a_window_of_one_more_or_less_is_another_model(void **state)
{
    (void)state;
    static const char *const others[] = {"20", "22", "null"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(error_with("mistral", "sliding_window", others[i], N_TOKENS) > 1e-3);
        assert_true(error_with("mistral", "sliding_window", others[i], 20) < TOLERANCE);
    }
    assert_true(error_with("mistral", "sliding_window", "20", 21) > 1e-3);
    assert_true(error_with("mistral", "sliding_window", "22", 21) < TOLERANCE);
    assert_true(error_with("mistral", "sliding_window", "22", 22) > 1e-3);
}

static void prefill_equals_decode_bit_for_bit_in_every_family(void **state)
{
    (void)state;
    static const unsigned budgets[] = {512, 1, 7, 64}, threads[] = {1, 2, 3, 4};
    static struct expected x;
    static float first[N_TOKENS * VOCAB], next[N_TOKENS * VOCAB];
    for (size_t i = 0; i < N_FAMILIES; i++) {
        struct folder f = folder_of(families[i], NULL, NULL);
        read_expected(&x, families[i]);
        for (size_t j = 0; j < 4; j++) {
            struct engine *e = open_with(&f, options(threads[j], 1, budgets[j]));
            assert_false(is_err(engine_logits(e, x.tokens, N_TOKENS, j == 0 ? first : next)));
            if (j > 0)
                assert_memory_equal(first, next, sizeof first);
            engine_free(e);
        }
        folder_remove(&f);
    }
}

enum { MIX = 6, ANSWER_MAX = 48 };

struct answer {
    struct engine_logprob tokens[ANSWER_MAX];
    size_t n;
};

static void collect(void *context, const struct engine_event *event)
{
    struct answer *a = context;
    if (event->has_token && a->n < ANSWER_MAX)
        a->tokens[a->n++] = event->token;
}

/* Request i: a prompt of its own length; `n_before` steps are taken before the next one comes. */
static void submit(struct engine *e, const struct expected *x, size_t i, struct answer *a)
{
    struct engine_params p = {.temperature = i % 2 == 0 ? 0.0f : 0.8f,
                              .top_p = 1,
                              .repetition_penalty = 1,
                              .max_tokens = ANSWER_MAX,
                              .ignore_eos = true,
                              .has_seed = true,
                              .seed = i,
                              .logprobs = true};
    uint64_t id;
    *a = (struct answer){.n = 0};
    if (is_err(engine_submit(e, &id, x->tokens + i, 1 + 12 * i, &p, collect, a)))
        fail_msg("%s", err_message());
}

static void run_all(struct engine *e)
{
    unsigned n_steps = 0;
    while (engine_step(e))
        assert_true(++n_steps < 20000);
}

static uint64_t kv_page_of(const char *family)
{
    BUF_AUTO path = BUF_INIT, text = BUF_INIT;
    struct model_config config;
    buf_printf(&path, GOLDEN "/%s/config.json", family);
    assert_false(is_err(file_read(&text, buf_str(&path), CONFIG_LEN_MAX)));
    assert_false(is_err(config_parse(&config, buf_bytes(&text))));
    return kv_page_size(&config);
}

/* A cache of three pages for six requests of up to two: some are preempted and computed again. */
static void an_answer_does_not_depend_on_its_company_in_any_family(void **state)
{
    (void)state;
    static struct expected x;
    static struct answer alone[MIX], mixed[MIX];
    for (size_t f = 0; f < N_FAMILIES; f++) {
        struct folder folder = folder_of(families[f], NULL, NULL);
        struct engine_stats stats;
        struct engine_options tight = options(2, 4, 19);
        read_expected(&x, families[f]);
        struct engine *e = open_with(&folder, options(1, 1, 512));
        for (size_t i = 0; i < MIX; i++) {
            submit(e, &x, i, &alone[i]);
            run_all(e);
            assert_int_equal(alone[i].n, ANSWER_MAX);
        }
        engine_free(e);
        tight.kv_bytes = 3 * kv_page_of(families[f]);
        e = open_with(&folder, tight);
        for (size_t i = MIX; i-- > 0; engine_step(e))
            submit(e, &x, i, &mixed[i]);
        run_all(e);
        engine_stats(e, &stats);
        assert_int_equal(stats.n_pages, 3);
        assert_true(stats.n_preempted > 0);
        engine_free(e);
        folder_remove(&folder);
        assert_memory_equal(alone, mixed, sizeof alone);
    }
}

static void assert_refused(const char *family, const char *key, const char *value,
                           enum err_code code, const char *why)
{
    struct folder f = folder_of(family, key, value);
    struct engine *e = NULL;
    struct err err = engine_open(&e, f.dir, &(struct engine_options){.n_threads = 1});
    if (err.code != code || strstr(err_message(), why) == NULL)
        fail_msg("%s with %s = %s: got %s, \"%s\"", family, key, value, err_code_name(err.code),
                 err_message());
    folder_remove(&f);
}

static void refuses_weights_that_the_config_does_not_call_for(void **state)
{
    (void)state;
    assert_refused("llama_bias", "attention_bias", "false", ERR_UNSUPPORTED, "_proj.bias");
    assert_refused("llama_bias", "mlp_bias", "false", ERR_UNSUPPORTED, "_proj.bias");
    assert_refused("smollm2", "attention_bias", "true", ERR_MALFORMED, "q_proj.bias");
    assert_refused("smollm2", "mlp_bias", "true", ERR_MALFORMED, "gate_proj.bias");
    assert_refused("qwen3", "attention_bias", "true", ERR_MALFORMED, "q_proj.bias");
    assert_refused("llama3", "tie_word_embeddings", "true", ERR_UNSUPPORTED, "lm_head.weight");
    assert_refused("mistral", "head_dim", "14", ERR_MALFORMED, "q_proj.weight");
    assert_refused("phi3", "num_key_value_heads", "1", ERR_MALFORMED, "qkv_proj.weight");
    assert_refused("phi3", "intermediate_size", "20", ERR_MALFORMED, "gate_up_proj.weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(rounded_weights_give_logits_that_are_near),
        cmocka_unit_test(longrope_follows_the_context_that_was_asked_for),
        cmocka_unit_test(a_window_of_one_more_or_less_is_another_model),
        cmocka_unit_test(prefill_equals_decode_bit_for_bit_in_every_family),
        cmocka_unit_test(an_answer_does_not_depend_on_its_company_in_any_family),
        cmocka_unit_test(refuses_weights_that_the_config_does_not_call_for),
    };
    const struct backend *all[BACKENDS_MAX];
    int failed = 0;
    for (size_t i = backend_all(all); i-- > 0;) {
        tested = all[i]->name;
        print_message("backend %s\n", tested);
        failed += cmocka_run_group_tests_name(tested, tests, NULL, NULL);
    }
    return failed;
}
