/* What makes no entry untrue and is still worth a look: gaps, reboots, counters, what nothing
 * covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

static void boots_elsewhere(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].counter += 2;
    reboot(w);
}

static void another_counter(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].counter_index++;
    reboot(w);
}

static void cleared(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].reset_count = 0;
    w->hosts[0].clock_ms = 0;
    reboot(w);
}

static void reset_in_between(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].reset_count += 2;
    reboot(w);
}

static void suspended(struct fake_world *w)
{
    fake_start(w, 0);
    resume(w, 0);
    fake_log_boot(w, 0);
    fake_log_quote(w, 0);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void suspended_without_quote(struct fake_world *w)
{
    fake_start(w, 0);
    resume(w, 0);
    fake_log_boot(w, 0);
    reboot(w);
}

static void unannounced_reboot(struct fake_world *w)
{
    fake_start(w, 0);
    reboot(w);
}

static void lost_power(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].safe = 0;
    reboot(w);
}

static void allow_both(struct fake_world *w, void *thing)
{
    (void)w;
    buf_append_str(thing, "boot-pcr 11 aa");
    for (int i = 1; i < SHA256_LEN; i++)
        buf_append_str(thing, "ab");
    buf_append_str(thing, "\n");
}

static void a_gap(struct fake_world *w)
{
    fake_start(w, 0);
    gap_after(w, 61);
}

static void an_announced_gap(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_stop(w, 0, 600);
    gap_after(w, 500);
}

static void a_longer_gap_than_announced(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_stop(w, 0, 600);
    gap_after(w, 600);
}

static void boot_without_quote(struct fake_world *w)
{
    fake_start(w, 0);
    prepare(w, 0);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    reboot(w);
}

static void host_without_quote(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_host(w, 1, true);
}

/* Host 1's key under host 0's certificate, as a TPM with a second attestation key would have. */
static void two_keys_of_one_tpm(struct fake_world *w)
{
    buf_clear(&w->hosts[1].ek_certificate);
    buf_append_bytes(&w->hosts[1].ek_certificate, buf_bytes(&w->hosts[0].ek_certificate));
    fake_start(w, 0);
    w->hosts[1].counter = w->hosts[0].counter;
    w->hosts[1].reset_count = w->hosts[0].reset_count;
    w->hosts[1].clock_ms = w->hosts[0].clock_ms;
    fake_start(w, 1);
}

/* The same, under that certificate in other bytes, with boots in between that are in no log. */
static void one_certificate_in_other_bytes(struct fake_world *w)
{
    buf_clear(&w->hosts[1].ek_certificate);
    buf_append_bytes(&w->hosts[1].ek_certificate, buf_bytes(&w->hosts[0].ek_certificate));
    fake_write_differently(&w->hosts[1].ek_certificate);
    fake_start(w, 0);
    w->hosts[1].counter = w->hosts[0].counter + 2;
    w->hosts[1].reset_count = w->hosts[0].reset_count + 2;
    w->hosts[1].clock_ms = w->hosts[0].clock_ms;
    fake_start(w, 1);
}

static void no_quote_at_all(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
}

/* The host counts what it makes; what the log refused is missing, and no more than that. */
static void a_refused_quote(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].period += 2;
    fake_log_quote(w, 0);
    fake_log_quote(w, 0);
}

static void a_refused_first_quote(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    w->hosts[0].period = 1;
    fake_log_quote(w, 0);
}

static void a_refused_identity(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void a_refused_first_identity(struct fake_world *w)
{
    prepare(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static const struct trick tricks[] = {
    {"a quote that the log refused", a_refused_quote,
     FINDS("SKIPPED", FINDING_WARNING, OUTCOME_TRUE)},
    {"a first quote that the log refused", a_refused_first_quote,
     FINDS("SKIPPED", FINDING_WARNING, OUTCOME_TRUE)},
    {"an identity that the log refused", a_refused_identity,
     FINDS("SKIPPED", FINDING_WARNING, OUTCOME_TRUE)},
    {"a first identity that the log refused", a_refused_first_identity,
     FINDS("SKIPPED", FINDING_WARNING, OUTCOME_TRUE)},
    {"boots elsewhere", boots_elsewhere, FINDS("COUNTER-GAP", FINDING_ERROR, OUTCOME_FALSE)},
    {"another counter", another_counter, FINDS("TPM-CLEARED", FINDING_ERROR, OUTCOME_FALSE)},
    {"a TPM that was cleared", cleared, FINDS("TPM-CLEARED", FINDING_WARNING, OUTCOME_TRUE)},
    {"resets in between", reset_in_between, FINDS("RESETS", FINDING_NOTE, OUTCOME_TRUE)},
    {"a suspended host", suspended, FINDS("RESUMED", FINDING_WARNING, OUTCOME_TRUE)},
    {"a suspended host without a quote", suspended_without_quote,
     FINDS("UNCOVERED", FINDING_WARNING, OUTCOME_TRUE)},
    {"an unannounced reboot", unannounced_reboot, FINDS("REBOOT", FINDING_NOTE, OUTCOME_TRUE)},
    {"a power cut", lost_power, FINDS("UNSAFE-CLOCK", FINDING_WARNING, OUTCOME_TRUE)},
    {"a gap", a_gap, FINDS("GAP", FINDING_WARNING, OUTCOME_TRUE)},
    {"an announced gap", an_announced_gap, FINDS("GAP", FINDING_NOTE, OUTCOME_TRUE)},
    {"a longer gap than announced", a_longer_gap_than_announced,
     FINDS("GAP", FINDING_WARNING, OUTCOME_TRUE)},
    {"a boot without a quote", boot_without_quote,
     FINDS("UNCOVERED", FINDING_WARNING, OUTCOME_TRUE)},
    {"a host without a quote", host_without_quote,
     FINDS("UNCOVERED", FINDING_WARNING, OUTCOME_TRUE)},
    {"two keys of one TPM", two_keys_of_one_tpm,
     FINDS("EK-TWO-AKS", FINDING_WARNING, OUTCOME_TRUE)},
    {"boots hidden behind a certificate in other bytes", one_certificate_in_other_bytes,
     FINDS("COUNTER-GAP", FINDING_ERROR, OUTCOME_FALSE)},
    {"a boot PCR that changes as allowed", boot_pcr_at_run_time, HOOK(FAKE_POLICY, FAKE_HOST, 1),
     .spoil = allow_both, FINDS("PCR-CHANGED", FINDING_WARNING, OUTCOME_TRUE)},
    {"no quote at all", no_quote_at_all, FINDS("UNCOVERED", FINDING_WARNING, OUTCOME_FALSE)},
    {"activated later", activated_later, FINDS("UNCOVERED", FINDING_NOTE, OUTCOME_TRUE)},
};

static void finds_each_manipulation(void **state)
{
    (void)state;
    find_out_each(tricks, sizeof tricks / sizeof *tricks);
}

/* One of two quotes is told of once, with how many lack. */
static void what_was_refused_is_counted_once(void **state)
{
    (void)state;
    static const struct trick t = {.setup = a_refused_quote};
    struct result r;
    size_t n = 0;
    replay(&r, &t);
    for (size_t i = 0; i < r.summary.n_findings; i++)
        if (strcmp(r.summary.findings[i].code, "SKIPPED") == 0) {
            assert_non_null(strstr(r.summary.findings[i].text, "2 quotes"));
            assert_int_equal(r.summary.findings[i].index, 4);
            n++;
        }
    assert_int_equal(n, 1);
    result_cleanup(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_refused_is_counted_once),
        cmocka_unit_test(finds_each_manipulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
