/* Rule 8 by events: PCRs that the boot's event log explains, and each way in which it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/eventlog_make.h"
#include "verify_scene.h"

static void boots_by_events(struct fake_world *w)
{
    w->has_event_log = true;
    usual_history(w);
}

/* The policy goes by events, but the host has booted without a log. */
static void boots_without_a_log(struct fake_world *w)
{
    usual_history(w);
    w->has_event_log = true;
}

static void verdict_of(struct verdict *v, const struct flaw *f)
{
    struct scene s;
    scene_init(&s, f);
    if (is_err(verify_evidence(v, &s.input)))
        fail_msg("%s", err_message());
    scene_cleanup(&s);
}

static void accepts(const struct flaw *f, const char *fact)
{
    struct verdict v;
    verdict_of(&v, f);
    if (v.outcome != OUTCOME_TRUE || strstr(v.rules[7].text, fact) == NULL) {
        print_verdict(&v);
        fail_msg("%s: not true with '%s'", f->name, fact);
    }
}

static void accepts_pcrs_that_allowed_events_explain(void **state)
{
    (void)state;
    const struct flaw none = SETUP("events", 0, "", boots_by_events);
    accepts(&none, "that allowed events explain: 0, 1, 2, 3, 4, 5, 6, 7");
    struct verdict v;
    verdict_of(&v, &none);
    assert_true(says(&v, "order and number of events in PCRs 0, 1, 2, 3, 4, 5, 6, 7"));
    verdict_of(&v, NULL);
    assert_false(says(&v, "order and number of events"));
}

static void set_type(struct buf *log, size_t event, uint32_t type)
{
    struct eventlog parsed;
    assert_false(is_err(eventlog_parse(&parsed, buf_bytes(log))));
    for (unsigned i = 0; i < 4; i++)
        log->data[parsed.events[event].offset + 4 + i] = (uint8_t)(type >> 8 * i);
    eventlog_cleanup(&parsed);
}

static void relabelled(struct fake_world *w, void *thing)
{
    (void)w;
    set_type(thing, 5, 4);
}

static void other_data(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *log = thing;
    log->data[log->len - 1] ^= 1;
}

/* Neither types nor data are measured, so neither changes the verdict. */
static void judges_a_relabelled_log_the_same(void **state)
{
    (void)state;
    struct flaw f = {.name = "relabelled",
                     .stage = FAKE_EVENT_LOG,
                     .what = FAKE_BOOT,
                     .setup = boots_by_events,
                     .spoil = relabelled};
    accepts(&f, "that allowed events explain: 0,");
    f.spoil = other_data;
    accepts(&f, "that allowed events explain: 0,");
}

static void value_of_pcr_4_too(struct fake_world *w, void *thing)
{
    buf_append_str(thing, "boot-pcr 4 ");
    buf_append_hex(thing, bytes_of(w->hosts[0].pcrs.values[4], SHA256_LEN));
    buf_append_str(thing, "\n");
}

static void a_golden_value_needs_no_event(void **state)
{
    (void)state;
    const struct flaw f = {.name = "both",
                           .stage = FAKE_POLICY,
                           .what = FAKE_HOST,
                           .setup = boots_by_events,
                           .spoil = value_of_pcr_4_too};
    accepts(&f, "that allowed events explain: 0, 1, 2, 3, 5, 6, 7");
}

static void only_golden_values(struct fake_world *w, void *thing)
{
    struct buf *text = thing;
    BUF_AUTO kept = BUF_INIT;
    struct reader r = reader_of(buf_bytes(text));
    while (reader_left(&r) > 0) {
        struct bytes line = read_line(&r);
        if (line.len > 10 && memcmp(line.data, "boot-event", 10) == 0)
            continue;
        buf_append_bytes(&kept, line);
        buf_append_str(&kept, "\n");
    }
    for (unsigned i = 0; i < FAKE_EVENT_PCRS; i++) {
        buf_printf(&kept, "boot-pcr %u ", i);
        buf_append_hex(&kept, bytes_of(w->hosts[0].pcrs.values[i], SHA256_LEN));
        buf_append_str(&kept, "\n");
    }
    buf_clear(text);
    buf_append_bytes(text, buf_bytes(&kept));
}

/* A policy without events does not read the log, whatever it is. */
static void a_policy_of_values_does_not_look_at_the_log(void **state)
{
    (void)state;
    const struct flaw f = {.name = "golden",
                           .stage = FAKE_POLICY,
                           .what = FAKE_HOST,
                           .setup = boots_by_events,
                           .spoil = only_golden_values};
    struct verdict v;
    verdict_of(&v, &f);
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_null(strstr(v.rules[7].text, "events"));
}

static void truncated(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->len--;
}

static void another_event(struct fake_world *w, void *thing)
{
    (void)w;
    make_sha256_event(thing, 4, 1, bytes_of_str("a boot kit"));
}

/* Allowed, but not extended: the replay differs. */
static void an_event_twice(struct fake_world *w, void *thing)
{
    char text[32];
    (void)w;
    make_sha256_event(thing, 4, 1, fake_event(text, 4, 0));
}

static void an_event_hidden(struct fake_world *w, void *thing)
{
    (void)w;
    set_type(thing, 5, EV_NO_ACTION);
}

static void without_events_of_pcr_3(struct fake_world *w, void *thing)
{
    (void)w;
    set_type(thing, 4, EV_NO_ACTION);
    set_type(thing, 12, EV_NO_ACTION);
}

static void another_locality(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *log = thing;
    uint8_t *at = memmem(log->data, log->len, "StartupLocality", 16);
    assert_non_null(at);
    at[16] = 0;
}

/* One event of a PCR that no policy speaks of, without a SHA-256 digest. */
static void without_a_digest(struct fake_world *w, void *thing)
{
    (void)w;
    make_agile_head(thing, 14, 1, 0);
    append_u32le(thing, 0);
}

static void of_sha1(struct fake_world *w, void *thing)
{
    (void)w;
    buf_clear(thing);
    make_legacy_event(thing, 4, 1, bytes_of_str("kernel"));
}

static void without_the_blob(struct fake_world *w, void *thing)
{
    struct evidence *e = thing;
    uint8_t hash[SHA256_LEN];
    sha256(hash, buf_bytes(&w->hosts[0].event_log));
    for (size_t i = 0; i < e->n_blobs; i++)
        if (memcmp(e->blob_hashes[i], hash, SHA256_LEN) == 0) {
            without_blob(e, i);
            return;
        }
    fail_msg("no event log in the evidence");
}

static void another_size(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.event_log.size++;
}

static void event_not_in_the_policy(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "boot-event 7 ");
}

#define BY_EVENTS(n, s, st, wh, function)                                                          \
    {                                                                                              \
        .name = n, .rule = 8, .says = s, .stage = st, .what = wh, .spoil = function,               \
        .setup = boots_by_events                                                                   \
    }
#define LOG(n, s, function) BY_EVENTS(n, s, FAKE_EVENT_LOG, FAKE_BOOT, function)

static const struct flaw flaws[] = {
    SETUP("no log", 8, "names no event log", boots_without_a_log),
    LOG("a truncated log", "explains nothing: event log: event 17", truncated),
    LOG("an event that is not allowed", "event 18 of the boot's log extends", another_event),
    LOG("an allowed event twice", "does not replay to it", an_event_twice),
    LOG("an event that is hidden", "PCR 4: the value is", an_event_hidden),
    LOG("no event of a PCR", "no event of the log extends it", without_events_of_pcr_3),
    LOG("another locality", "PCR 0: the value is", another_locality),
    LOG("an event without the digest", "event 18 (at byte", without_a_digest),
    LOG("a log of SHA-1", "no sha256 digests", of_sha1),
    BY_EVENTS("no blob", "the boot's event log", FAKE_EVIDENCE, FAKE_DEMAND, without_the_blob),
    BY_EVENTS("a policy without the event", "PCR 7: event", FAKE_POLICY, FAKE_HOST,
              event_not_in_the_policy),
    BY_EVENTS("another size", "the boot's event log", FAKE_STATEMENT, FAKE_BOOT, another_size),
};

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    refuse_each(flaws, sizeof flaws / sizeof *flaws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_pcrs_that_allowed_events_explain),
        cmocka_unit_test(judges_a_relabelled_log_the_same),
        cmocka_unit_test(a_golden_value_needs_no_event),
        cmocka_unit_test(a_policy_of_values_does_not_look_at_the_log),
        cmocka_unit_test(refuses_each_single_flaw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
