/*
 * The demo model against answers and logits that another implementation computed (PyTorch, float32;
 * models/training/golden.py). Every answer whose tokens each lead the second best by at least 1.0
 * must come out token for token, on every kernel set that the machine has.
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

#include "common/text.h"
#include "engine/engine.h"
#include "kernels/backend.h"

#define MODEL_DIR BL_SOURCE_DIR "/models/demo"

/* Logits are of size 10. Of sets with float rows both sides add in float in different orders;
 * avx512bf16 rounds the rows of every matmul to bf16, too (docs/NUMERICS.md). */
static const struct bounds {
    double golden, ref; /* the largest difference of a logit */
    double ref_l2;      /* the largest relative L2 error of a row of logits */
} bounds_of_float = {1e-4, 3e-5, 1e-5}, bounds_of_bf16 = {0.1, 0.1, 0.01};

static json_t *golden;
static struct engine *engine;
static const char *tested; /* the backend */

static const struct bounds *bounds(void)
{
    return strcmp(tested, "avx512bf16") == 0 ? &bounds_of_bf16 : &bounds_of_float;
}

struct answer {
    struct buf ids, text;
    enum engine_finish finish;
};

static void collect(void *context, const struct engine_event *event)
{
    struct answer *a = context;
    buf_append_bytes(&a->text, event->text);
    if (event->has_token)
        buf_append(&a->ids, &event->token.id, sizeof event->token.id);
    a->finish = event->finish;
}

static int open_model(void **state)
{
    (void)state;
    golden = json_load_file(MODEL_DIR "/golden.json", JSON_ALLOW_NUL, NULL);
    if (golden == NULL)
        return -1;
    const struct engine_options options = {.n_threads = 2, .max_requests = 8, .backend = tested};
    if (is_err(engine_open(&engine, MODEL_DIR, &options))) {
        fprintf(stderr, "%s\n", err_message());
        return -1;
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    engine_free(engine);
    json_decref(golden);
    return 0;
}

static void ids_of(const json_t *list, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint32_t id = (uint32_t)json_integer_value(json_array_get(list, i));
        buf_append(out, &id, sizeof id);
    }
}

static void assert_ids(const struct buf *got, const json_t *list, const char *what)
{
    BUF_AUTO want = BUF_INIT;
    ids_of(list, &want);
    if (!bytes_equal(buf_bytes(got), buf_bytes(&want)))
        fail_msg("%s: %zu ids differ from the %zu expected", what, got->len / 4, want.len / 4);
}

static void the_files_are_those_it_was_made_from(void **state)
{
    (void)state;
    const char *name;
    json_t *value;
    const struct engine_info *info = engine_info(engine);
    json_object_foreach(json_object_get(golden, "sha256"), name, value)
    {
        size_t i = 0;
        uint8_t want[SHA256_LEN];
        assert_false(is_err(hex_decode(want, SHA256_LEN, bytes_of_str(json_string_value(value)))));
        while (i < info->n_files && strcmp(info->files[i].name, name) != 0)
            i++;
        assert_true(i < info->n_files);
        assert_memory_equal(info->files[i].sha256, want, SHA256_LEN);
    }
}

static void prompts_get_the_expected_tokens(void **state)
{
    (void)state;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(golden, "answers"), i, item)
    {
        BUF_AUTO ids = BUF_INIT;
        if (is_err(engine_chat_tokens(engine, json_object_get(item, "messages"), &ids)))
            fail_msg("%s", err_message());
        assert_ids(&ids, json_object_get(item, "prompt_ids"),
                   json_string_value(json_object_get(item, "prompt")));
    }
}

static void greedy_answers_are_token_for_token(void **state)
{
    (void)state;
    json_t *list = json_object_get(golden, "answers");
    size_t n = json_array_size(list);
    struct answer *answers = calloc(n, sizeof *answers);
    assert_true(n > 0 && answers != NULL);
    struct engine_params p;
    engine_params_default(engine, &p);
    p.temperature = 0;
    p.max_tokens = 0; /* as many as the context holds */
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO prompt = BUF_INIT;
        uint64_t id;
        ids_of(json_object_get(json_array_get(list, i), "prompt_ids"), &prompt);
        if (is_err(engine_submit(engine, &id, (const uint32_t *)(const void *)prompt.data,
                                 prompt.len / 4, &p, collect, &answers[i])))
            fail_msg("%s", err_message());
    }
    while (engine_step(engine)) {
        /* all of them together */
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const char *prompt = json_string_value(json_object_get(item, "prompt"));
        if (json_number_value(json_object_get(item, "min_lead")) < 1.0)
            continue;
        assert_ids(&answers[i].ids, json_object_get(item, "answer_ids"), prompt);
        assert_int_equal(answers[i].finish, ENGINE_STOP);
        assert_string_equal(buf_str(&answers[i].text),
                            json_string_value(json_object_get(item, "answer")));
        buf_cleanup(&answers[i].ids);
        buf_cleanup(&answers[i].text);
    }
    free(answers);
}

static void logits_are_near_the_expected(void **state)
{
    (void)state;
    json_t *expected = json_object_get(golden, "logits");
    BUF_AUTO ids = BUF_INIT;
    ids_of(json_object_get(expected, "ids"), &ids);
    size_t n_tokens = ids.len / 4, vocab = engine_info(engine)->vocab_size, r, i;
    float *logits = calloc(n_tokens * vocab, sizeof *logits);
    assert_non_null(logits);
    assert_false(
        is_err(engine_logits(engine, (const uint32_t *)(const void *)ids.data, n_tokens, logits)));
    double worst = 0;
    json_t *row, *value;
    json_array_foreach(json_object_get(expected, "last"), i, value) worst =
        fmax(worst, fabs((double)logits[(n_tokens - 1) * vocab + i] - json_number_value(value)));
    json_array_foreach(json_object_get(expected, "top"), r, row)
    {
        json_t *top_ids = json_object_get(row, "ids");
        json_array_foreach(json_object_get(row, "values"), i, value)
        {
            size_t id = (size_t)json_integer_value(json_array_get(top_ids, i));
            worst = fmax(worst, fabs((double)logits[r * vocab + id] - json_number_value(value)));
        }
    }
    free(logits);
    print_message("largest difference of a logit: %.2g\n", worst);
    assert_true(worst < bounds()->golden);
}

static double relative_l2(const float *got, const float *want, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        error += d * d;
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(error / size);
}

static void logits_are_near_those_of_ref(void **state)
{
    (void)state;
    if (strcmp(tested, "ref") == 0)
        skip(); /* with itself it would be */
    BUF_AUTO ids = BUF_INIT;
    ids_of(json_object_get(json_object_get(golden, "logits"), "ids"), &ids);
    const uint32_t *tokens = (const uint32_t *)(const void *)ids.data;
    size_t n_tokens = ids.len / 4, n = n_tokens * engine_info(engine)->vocab_size;
    const struct engine_options options = {.n_threads = 2, .max_requests = 1, .backend = "ref"};
    struct engine *ref = NULL;
    assert_false(is_err(engine_open(&ref, MODEL_DIR, &options)));
    float *got = calloc(n, sizeof *got), *want = calloc(n, sizeof *want);
    assert_true(got != NULL && want != NULL);
    assert_false(is_err(engine_logits(engine, tokens, n_tokens, got)));
    assert_false(is_err(engine_logits(ref, tokens, n_tokens, want)));
    double worst = 0, worst_l2 = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    for (size_t r = 0; r < n_tokens; r++)
        worst_l2 = fmax(worst_l2,
                        relative_l2(got + r * n / n_tokens, want + r * n / n_tokens, n / n_tokens));
    engine_free(ref);
    free(got);
    free(want);
    print_message("from ref: largest difference %.2g, relative L2 %.2g\n", worst, worst_l2);
    assert_true(worst < bounds()->ref && worst_l2 < bounds()->ref_l2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_files_are_those_it_was_made_from),
        cmocka_unit_test(prompts_get_the_expected_tokens),
        cmocka_unit_test(greedy_answers_are_token_for_token),
        cmocka_unit_test(logits_are_near_the_expected),
        cmocka_unit_test(logits_are_near_those_of_ref),
    };
    if (access(MODEL_DIR "/golden.json", R_OK) != 0)
        return 77; /* the demo model is not here */
    const struct backend *all[BACKENDS_MAX];
    int failed = 0;
    for (size_t i = backend_all(all); i-- > 0;) {
        tested = all[i]->name;
        print_message("backend %s\n", tested);
        failed += cmocka_run_group_tests_name(tested, tests, open_model, close_model);
    }
    return failed;
}
