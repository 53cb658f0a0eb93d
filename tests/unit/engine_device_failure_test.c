/* The engine on a GPU that fails or cannot compute a model: a failure loses nobody but those that
 * were computed, what a GPU cannot compute is refused with the reason, and damaged weights by name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_device_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_failure_fails_what_was_computed_and_the_rest_goes_on, setup),
        cmocka_unit_test_setup(without_recovery_the_engine_stops_and_says_why, setup),
        cmocka_unit_test_setup(a_gpu_comes_back_with_the_measured_weights_or_not_at_all, setup),
        cmocka_unit_test_setup(what_a_gpu_cannot_compute_is_refused_with_the_reason, setup),
        cmocka_unit_test_setup(damaged_weights_are_refused_by_name, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
