/* Rule 8 by events in a replay: each boot has the log of its own statement, in all its quotes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"
#include "tests/unit/eventlog_make.h"

static void boots_by_events(struct fake_world *w)
{
    w->has_event_log = true;
    usual_history(w);
}

static void resumes_by_events(struct fake_world *w)
{
    w->has_event_log = true;
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

static void replays_boots_by_their_events(void **state)
{
    (void)state;
    const struct trick tricks[] = {{.setup = boots_by_events}, {.setup = resumes_by_events}};
    for (size_t i = 0; i < 2; i++) {
        struct result r;
        replay(&r, &tricks[i]);
        if (r.summary.outcome != OUTCOME_TRUE)
            print_result(&r);
        assert_int_equal(r.summary.outcome, OUTCOME_TRUE);
        assert_true(says(&r, "order and number of events in PCRs 0, 1"));
        result_cleanup(&r);
    }
}

static void another_event(struct fake_world *w, void *thing)
{
    (void)w;
    make_sha256_event(thing, 7, 1, bytes_of_str("Secure Boot off"));
}

static void cut(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->len--;
}

static void without_blob(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.event_log.sha256[0] ^= 1;
}

/* The boot statement stays true: what its log does not explain is the quotes' affair. */
static const struct trick tricks[] = {
    {"a log with another event", boots_by_events, HOOK(FAKE_EVENT_LOG, FAKE_BOOT, 1),
     .spoil = another_event, FALSE_AT(3, "BOOT", "PCR 7: event 18")},
    {"a log that is no log", boots_by_events, HOOK(FAKE_EVENT_LOG, FAKE_BOOT, 1), .spoil = cut,
     FALSE_AT(3, "BOOT", "explains nothing")},
    {"the second boot's log", boots_by_events, HOOK(FAKE_EVENT_LOG, FAKE_BOOT, 3), .spoil = cut,
     FALSE_AT(16, "BOOT", "explains nothing")},
    {"a log that is not there", boots_by_events, HOOK(FAKE_STATEMENT, FAKE_BOOT, 1),
     .spoil = without_blob, FALSE_AT(1, "BOOT", "the boot's event log")},
};

static void finds_each_manipulation(void **state)
{
    (void)state;
    find_out_each(tricks, sizeof tricks / sizeof *tricks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_boots_by_their_events),
        cmocka_unit_test(finds_each_manipulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
