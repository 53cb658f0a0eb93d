/* GPUs in a replay: every quote has their reports, and what changes between boots is noted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"
#include "tests/unit/gpu_make.h"

static const char device_code[] =
    "sm90-1 4b0c1e0b6cf8b4ad3c0a4d6f2a6d2d1bb5cf1ad0c88b9a3c0f6f3a5a4a3b2c1d";

static void computes_on_gpus(struct fake_world *w)
{
    w->kernels = device_code;
    w->n_gpus = 2;
    w->gpu_policy = true;
    fake_start(w, 0);
    fake_log_quote(w, 0);
    fake_log_stop(w, 0, 600);
    fake_start(w, 0);
}

static void asks_nothing(struct fake_world *w)
{
    computes_on_gpus(w);
    w->gpu_policy = false;
}

static void resumes_on_gpus(struct fake_world *w)
{
    w->kernels = device_code;
    w->n_gpus = 2;
    w->gpu_policy = true;
    fake_start(w, 0);
    resume(w, 0);
    fake_log_boot(w, 0);
    fake_log_quote(w, 0);
}

static bool says(const struct result *r, const char *part)
{
    for (size_t i = 0; i < r->summary.n_not_proven; i++)
        if (strstr(r->summary.not_proven[i], part) != NULL)
            return true;
    return false;
}

static void replays(struct result *r, const struct trick *t)
{
    replay(r, t);
    if (r->summary.outcome != OUTCOME_TRUE)
        print_result(r);
    assert_int_equal(r->summary.outcome, OUTCOME_TRUE);
    assert_false(finds(r, "GPU-CHANGED", FINDING_NOTE));
}

static void replays_quotes_with_their_reports(void **state)
{
    (void)state;
    const struct trick tricks[] = {{.setup = computes_on_gpus}, {.setup = resumes_on_gpus}};
    for (size_t i = 0; i < 2; i++) {
        struct result r;
        replays(&r, &tricks[i]);
        assert_false(says(&r, "GPU memory not protected"));
        result_cleanup(&r);
    }
}

static void says_where_gpu_memory_is_not_protected(void **state)
{
    (void)state;
    struct result r;
    replays(&r, &(struct trick){.setup = asks_nothing});
    assert_true(says(&r, "GPU memory not protected"));
    result_cleanup(&r);
}

static void of_an_earlier_quote(struct fake_world *w, void *thing)
{
    (void)w;
    memset(((struct gpu_report_shape *)thing)->nonce, 0x11, SHA256_LEN);
}

static void without_reports(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.n_gpu_reports = 0;
}

static void without_blob(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.gpu_reports[1].sha256[0] ^= 1;
}

static void open_memory(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.gpus[0].memory = GPU_MEMORY_OPEN;
}

static void another_uuid(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.gpus[1].uuid[8] = 'f';
}

static const struct trick tricks[] = {
    {"a report of an earlier quote", computes_on_gpus, HOOK(FAKE_GPU_SHAPE, FAKE_PERIODIC, 3),
     .spoil = of_an_earlier_quote, FALSE_AT(4, "BOOT", "it answers another nonce")},
    {"a quote without reports", computes_on_gpus, HOOK(FAKE_STATEMENT, FAKE_PERIODIC, 2),
     .spoil = without_reports, FALSE_AT(4, "BOOT", "the quote has 0 reports")},
    {"a report that is not there", computes_on_gpus, HOOK(FAKE_STATEMENT, FAKE_PERIODIC, 2),
     .spoil = without_blob, FALSE_AT(4, "BOOT", "the report of GPU-00000001")},
    {"a boot with open memory", computes_on_gpus, HOOK(FAKE_STATEMENT, FAKE_BOOT, 2),
     .spoil = open_memory, FALSE_AT(9, "BOOT", "GPU memory not protected: it is 'open'")},
    {"another GPU in the second boot", computes_on_gpus, HOOK(FAKE_STATEMENT, FAKE_BOOT, 2),
     .spoil = another_uuid, FINDS("GPU-CHANGED", FINDING_NOTE, OUTCOME_TRUE)},
};

static void finds_each_manipulation(void **state)
{
    (void)state;
    find_out_each(tricks, sizeof tricks / sizeof *tricks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_quotes_with_their_reports),
        cmocka_unit_test(says_where_gpu_memory_is_not_protected),
        cmocka_unit_test(finds_each_manipulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
