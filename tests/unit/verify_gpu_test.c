/* Rule 8 on GPUs: what the policy asks of them, what the host says, what each one signs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/gpu_make.h"
#include "verify_scene.h"

static const char device_code[] =
    "sm90-1 4b0c1e0b6cf8b4ad3c0a4d6f2a6d2d1bb5cf1ad0c88b9a3c0f6f3a5a4a3b2c1d";

/* Two GPUs compute, and the policy asks for everything. */
static void computes_on_gpus(struct fake_world *w)
{
    w->kernels = device_code;
    w->n_gpus = 2;
    w->gpu_policy = true;
    usual_history(w);
}

static void says_nothing_of_them(struct fake_world *w)
{
    w->kernels = device_code;
    w->gpu_policy = true;
    usual_history(w);
}

static void without_a_policy(struct fake_world *w)
{
    w->kernels = device_code;
    w->n_gpus = 2;
    usual_history(w);
}

static void neither(struct fake_world *w)
{
    w->kernels = device_code;
    usual_history(w);
}

static void on_the_cpu(struct fake_world *w)
{
    w->gpu_policy = true;
    usual_history(w);
}

static void verdict_of(struct verdict *v, const struct flaw *f)
{
    struct scene s;
    scene_init(&s, f);
    if (is_err(verify_evidence(v, &s.input)))
        fail_msg("%s", err_message());
    scene_cleanup(&s);
    if (v->outcome != OUTCOME_TRUE) {
        print_verdict(v);
        fail_msg("%s: not true", f->name);
    }
}

static bool proves(const struct verdict *v, const char *part)
{
    for (size_t i = 0; i < v->n_proven; i++)
        if (strstr(v->proven[i], part) != NULL)
            return true;
    return false;
}

static void proves_gpus_whose_reports_answer_the_quote(void **state)
{
    (void)state;
    struct verdict v;
    const struct flaw f = SETUP("protected", 0, "", computes_on_gpus);
    verdict_of(&v, &f);
    assert_true(proves(&v, "GPUs (2, driver 580.95.05)"));
    assert_non_null(strstr(v.rules[7].text, "each GPU's own report answers the live quote"));
    assert_false(says(&v, "GPU memory not protected"));
    assert_true(says(&v, "measurements in the reports are compared with nothing"));
}

static void says_where_gpu_memory_is_not_protected(void **state)
{
    (void)state;
    struct verdict v;
    const struct flaw asks_nothing = SETUP("asks nothing", 0, "", without_a_policy);
    verdict_of(&v, &asks_nothing);
    assert_true(says(&v, "GPU memory not protected, as far as the policy asks"));
    assert_false(proves(&v, "GPUs ("));
    const struct flaw says_nothing = SETUP("says nothing", 0, "", neither);
    verdict_of(&v, &says_nothing);
    assert_true(says(&v, "GPU memory not protected: nothing attests"));
}

/* Whoever asks for protected GPUs may be answered by a host without one. */
static void a_cpu_has_no_gpu_to_protect(void **state)
{
    (void)state;
    struct verdict v;
    const struct flaw f = SETUP("cpu", 0, "", on_the_cpu);
    verdict_of(&v, &f);
    assert_false(says(&v, "GPU"));
    assert_false(proves(&v, "GPU"));
}

static void open_memory(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.gpus[1].memory = GPU_MEMORY_OPEN;
}

static void let_debuggers_in(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.gpus[0].memory = GPU_MEMORY_DEVTOOLS;
}

static void another_driver(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct statement *)thing)->boot.gpu_driver, "550.90.07");
}

static void another_vbios(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct statement *)thing)->boot.gpus[1].vbios, "96.00.9F.00.02");
}

static void a_chain_twice(struct fake_world *w, void *thing)
{
    struct buf *chain = thing;
    (void)w;
    buf_clear(chain);
    make_gpu_chain(chain, fake_gpu_keys(), 0);
}

static void another_root(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "gpu-root ");
}

static void a_chain_cut_off(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->len--;
}

static void another_nonce(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct gpu_report_shape *)thing)->nonce[31] ^= 1;
}

static void another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct gpu_report_shape *)thing)->key = fake_gpu_keys()->gpus[0];
}

static void a_driver_of_its_own(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct gpu_report_shape *)thing)->driver = "550.90.07";
}

static void a_vbios_of_its_own(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct gpu_report_shape *)thing)->vbios[4] = 9;
}

static void one_report_less(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.n_gpu_reports--;
}

static void reports_in_another_order(struct fake_world *w, void *thing)
{
    (void)w;
    struct statement_quote *q = &((struct statement *)thing)->quote;
    struct blob_ref first = q->gpu_reports[0];
    q->gpu_reports[0] = q->gpu_reports[1];
    q->gpu_reports[1] = first;
}

/* The last blob is the last report. */
static void without_a_report(struct fake_world *w, void *thing)
{
    (void)w;
    struct evidence *e = thing;
    without_blob(e, e->n_blobs - 1);
}

static void with_a_report_that_nobody_names(struct fake_world *w, void *thing)
{
    (void)w;
    evidence_add_blob(thing, bytes_of_str("a report"));
}

#define ON_GPUS(n, r, s, st, wh, function)                                                         \
    {                                                                                              \
        .name = n, .rule = r, .says = s, .stage = st, .what = wh, .spoil = function,               \
        .setup = computes_on_gpus                                                                  \
    }
#define BOOT(n, s, function) ON_GPUS(n, 8, s, FAKE_STATEMENT, FAKE_BOOT, function)
#define LIVE(n, s, st, function) ON_GPUS(n, 8, s, st, FAKE_DEMAND, function)

static const struct flaw flaws[] = {
    SETUP("no GPU named", 8, "GPU memory not protected: a GPU computes", says_nothing_of_them),
    BOOT("open memory",
         "GPU-00000001-0000-0000-0000-000000000000: GPU memory not protected: it is "
         "'open'",
         open_memory),
    BOOT("debuggers", "GPU memory not protected: it is 'devtools'", let_debuggers_in),
    BOOT("another driver", "driver is of version 550.90.07, which the policy", another_driver),
    BOOT("another VBIOS", "VBIOS is of version 96.00.9F.00.02, which the policy", another_vbios),
    ON_GPUS("one GPU for two", 8, "two GPUs have one key", FAKE_GPU_CHAIN, FAKE_BOOT,
            a_chain_twice),
    ON_GPUS("a chain cut off", 8, "GPU certificates: not X.509", FAKE_GPU_CHAIN, FAKE_BOOT,
            a_chain_cut_off),
    ON_GPUS("another root", 8, "leads to the root", FAKE_POLICY, FAKE_HOST, another_root),
    LIVE("another nonce", "GPU report: it answers another nonce", FAKE_GPU_SHAPE, another_nonce),
    LIVE("another GPU's key", "GPU's key has not signed it", FAKE_GPU_SHAPE, another_key),
    LIVE("another driver in the report", "it is of driver 550.90.07, the boot statement of 580",
         FAKE_GPU_SHAPE, a_driver_of_its_own),
    LIVE("another VBIOS in the report", "it is of VBIOS 96.00.9F.00.09, the boot statement of 96",
         FAKE_GPU_SHAPE, a_vbios_of_its_own),
    {.name = "a signed byte",
     .rule = 8,
     .says = "GPU's key has not signed it",
     .stage = FAKE_GPU_REPORT,
     .what = FAKE_DEMAND,
     .at = 60,
     .flip = 1,
     .setup = computes_on_gpus},
    LIVE("one report less", "the quote has 1 reports, the boot statement 2 GPUs", FAKE_STATEMENT,
         one_report_less),
    LIVE("another order", "GPU's key has not signed it", FAKE_STATEMENT, reports_in_another_order),
    LIVE("no blob", "the report of GPU-00000001", FAKE_EVIDENCE, without_a_report),
    ON_GPUS("a blob more", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND,
            with_a_report_that_nobody_names),
};

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    refuse_each(flaws, sizeof flaws / sizeof *flaws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proves_gpus_whose_reports_answer_the_quote),
        cmocka_unit_test(says_where_gpu_memory_is_not_protected),
        cmocka_unit_test(a_cpu_has_no_gpu_to_protect),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
