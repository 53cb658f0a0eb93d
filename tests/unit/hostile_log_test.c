/*
 * A hostile operator's log: who owns host, network and disk builds one attack at a time, with keys
 * and certificates that are otherwise perfect. Each is refused at its entry, or reported with its
 * finding (tests/README.md has the table).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

/* Each quote needs the head that covers the one before it. */
static struct quote_context harvested;

static void on_the_harvested_head(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->head_size = harvested.head_size;
    c->head_root = harvested.head_root;
    memcpy(c->head_note, harvested.head_note, SHA256_LEN);
}

static void remember_head(struct fake_world *w)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    fake_add_blob(w, buf_bytes(&note));
    harvested.head_size = w->n_entries;
    harvested.head_root = merkle_root(w->leaves, w->n_entries);
    sha256(harvested.head_note, buf_bytes(&note));
}

/* One evening's quotes over one head, one published each minute while the TPM does other things. */
static void harvest(struct fake_world *w)
{
    fake_start(w, 0);
    remember_head(w);
    for (int i = 0; i < 3; i++)
        fake_log_quote(w, 0);
}

/* The log was not reachable; what was quoted meanwhile is sent when it is again. */
static struct buf queue[3];

static void quote_into_the_queue(struct fake_world *w, size_t i)
{
    struct fake_host before = w->hosts[0];
    uint64_t index = fake_log_quote(w, 0);
    buf_clear(&queue[i]);
    buf_append_bytes(&queue[i], buf_bytes(&w->entries[index]));
    buf_cleanup(&w->entries[index]);
    w->n_entries--; /* it never arrived */
    uint64_t clock_ms = w->hosts[0].clock_ms;
    w->hosts[0] = before;
    w->hosts[0].clock_ms = clock_ms;
}

static void a_queue_sent_late(struct fake_world *w)
{
    fake_start(w, 0);
    for (size_t i = 0; i < 3; i++)
        quote_into_the_queue(w, i);
    for (size_t i = 0; i < 3; i++) {
        fake_append(w, buf_bytes(&queue[i]));
        buf_cleanup(&queue[i]);
    }
}

/* Another system was booted and the TPM cleared, so that reset count and clock begin anew. */
static void a_boot_hidden_by_a_clear(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].counter++; /* the hidden boot's */
    w->hosts[0].reset_count = 0;
    w->hosts[0].clock_ms = 0;
    reboot(w);
}

/* A program beside the server extends an identity of its own. Nothing is logged of it. */
static void an_identity_by_another_program(struct fake_world *w)
{
    fake_start(w, 0);
    struct fake_host *h = &w->hosts[0];
    uint8_t digest[SHA256_LEN];
    runtime_event_digest(digest, EVP_sha256(), "identity", bytes_of_str("another program's key"));
    sha256_3(h->pcrs.values[PCR_IDENTITY], bytes_of(h->pcrs.values[PCR_IDENTITY], SHA256_LEN),
             bytes_of(digest, SHA256_LEN), bytes_of(NULL, 0));
    fake_log_quote(w, 0);
}

/* The key of before is said to be the last, though another was measured since. */
static uint8_t dead_spki[SHA256_LEN];

static void name_the_dead_key(struct fake_world *w, void *thing)
{
    (void)w;
    memcpy(((struct quote_context *)thing)->spki_sha256, dead_spki, SHA256_LEN);
}

static void a_dead_identity(struct fake_world *w)
{
    fake_start(w, 0);
    memcpy(dead_spki, w->hosts[0].spki_sha256, SHA256_LEN);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

/* The new identity is kept from the log, and the quotes go on. */
static void a_new_identity_kept_back(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
    memcpy(w->hosts[0].spki_sha256, dead_spki, SHA256_LEN);
    fake_log_quote(w, 0);
}

/* Host 1's key stops for host 0, whose name and history the statement gives. */
static void in_host_0s_name(struct fake_world *w, void *thing)
{
    struct statement *s = thing;
    s->ak_name = w->hosts[0].ak_name;
}

static void context_in_host_0s_name(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    c->ak_name = w->hosts[0].ak_name;
    c->has_previous = w->hosts[0].has_previous;
    c->previous_index = w->hosts[0].previous_index;
    c->previous_leaf = w->hosts[0].previous_leaf;
    c->period = w->hosts[0].period;
    memcpy(c->boot_id, w->hosts[0].boot_id, BOOT_ID_LEN);
    memcpy(c->spki_sha256, w->hosts[0].spki_sha256, SHA256_LEN);
}

static void a_stop_by_another_host(struct fake_world *w)
{
    fake_start(w, 0);
    fake_start(w, 1);
    fake_log_stop(w, 1, 86400);
}

static void stop_by_key_1(struct fake_world *w, enum fake_stage stage, enum fake_what what,
                          void *thing)
{
    if (what != FAKE_STOP)
        return;
    if (stage == FAKE_CONTEXT)
        context_in_host_0s_name(w, thing);
    if (stage == FAKE_STATEMENT)
        in_host_0s_name(w, thing);
}

/* What is logged after a gap cannot have announced it: the gap lies between it and the quote
 * before, by the TPM's clock. */
static void a_stop_after_the_fact(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].clock_ms += 7200 * 1000;
    fake_log_stop(w, 0, 86400);
    fake_log_quote(w, 0);
}

/* The duration that a stop announces is outside the quote: an operator may write what it likes, and
 * only changes how severe the gap is. */
static void announce_a_year(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.max_duration_s = 31536000;
}

static void a_gap_behind_a_stop(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_stop(w, 0, 60);
    gap_after(w, 7200);
}

/* A longer interval is extended in the middle of a boot, and the lane logged with it. */
static void a_period_redeclared(struct fake_world *w)
{
    fake_start(w, 0);
    fake_extend(&w->hosts[0], PCR_IDENTITY, "config",
                bytes_of_str("quote-interval 300\nmax-context 4096\nmax-requests 8\n"));
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

/* Or the log's copy of the lane says what the TPM was never told. */
static void longer_interval(struct fake_world *w)
{
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    struct pcr_values measured = w->hosts[0].pcrs;
    uint8_t spki[SHA256_LEN];
    memcpy(spki, w->hosts[0].spki_sha256, SHA256_LEN);
    runtime_log_cleanup(&w->hosts[0].runtime_log);
    w->quote_interval_s = 300;
    fake_measure(w, 0);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(spki, SHA256_LEN));
    fake_extend(&w->hosts[0], PCR_IDENTITY, "identity", buf_bytes(&text));
    w->hosts[0].pcrs = measured;
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    w->quote_interval_s = 60;
    fake_log_quote(w, 0);
}

/* Perfect lanes 13 to 15, extended by an ordinary system: its loader is not the image's. */
static void a_look_alike(struct fake_world *w)
{
    fake_reset(w, 0);
    w->hosts[0].pcrs.values[4][0] ^= 1;
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

/* A quote that nobody signed claims a clock far ahead, so that the honest one after it seems old.
 */
static void forged_quote_first(struct fake_world *w)
{
    fake_start(w, 0);
    struct fake_host honest = w->hosts[0];
    w->hosts[0].clock_ms += 86400 * 1000;
    fake_log_quote(w, 0);
    w->hosts[0] = honest;
    fake_log_quote(w, 0);
}

/* The boot was long before its first quote. */
static void a_late_first_quote(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    gap_after(w, 7200);
}

static const struct trick tricks[] = {
    {"a software key with perfect attributes beside a genuine EK certificate", never_activated,
     FALSE_AT(1, "AK", "no activation by 1 activators")},
    {"quotes harvested over one head", harvest, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 3),
     .spoil = on_the_harvested_head, FALSE_AT(5, "CONTEXT", "does not cover the previous quote")},
    {"a queue of old quotes sent late", a_queue_sent_late,
     FALSE_AT(5, "CONTEXT", "`previous` is not the host's last quote")},
    {"a boot hidden by TPM2_Clear", a_boot_hidden_by_a_clear,
     FINDS("COUNTER-GAP", FINDING_ERROR, OUTCOME_FALSE)},
    {"the clear itself", a_boot_hidden_by_a_clear,
     FINDS("TPM-CLEARED", FINDING_WARNING, OUTCOME_FALSE)},
    {"an identity event by another program", an_identity_by_another_program,
     FALSE_AT(4, "LANES", "PCR 15")},
    {"a dead identity offered as live", a_dead_identity, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2),
     .spoil = name_the_dead_key, FALSE_AT(5, "LANES", "another TLS key than the last identity")},
    {"a new identity kept back", a_new_identity_kept_back, FALSE_AT(4, "LANES", "PCR 15")},
    {"a stop after the fact", a_stop_after_the_fact, FINDS("GAP", FINDING_WARNING, OUTCOME_TRUE)},
    {"a stop of any length", a_gap_behind_a_stop, HOOK(FAKE_STATEMENT, FAKE_STOP, 1),
     .spoil = announce_a_year, FINDS("GAP", FINDING_NOTE, OUTCOME_TRUE)},
    {"a period redeclared", a_period_redeclared, FALSE_AT(4, "LANES", "config")},
    {"a period redeclared on paper", longer_interval, FALSE_AT(3, "LANES", "PCR 15")},
    {"a look-alike on an ordinary system", a_look_alike, FALSE_AT(3, "BOOT", "PCR 4")},
    {"a late first quote", a_late_first_quote, FINDS("GAP", FINDING_WARNING, OUTCOME_TRUE)},
};

static void finds_each_attack(void **state)
{
    (void)state;
    find_out_each(tricks, sizeof tricks / sizeof *tricks);
}

/* What a hook of one stage cannot make: replays it, and gives the lines and the summary. */
static void replay_with(struct result *r, void (*setup)(struct fake_world *w), fake_hook *hook)
{
    const struct trick t = {.setup = setup};
    memset(r, 0, sizeof *r);
    fake_world_init(&r->w, hook);
    t.setup(&r->w);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&r->w, &text);
    assert_false(is_err(policy_parse(&r->policy, buf_bytes(&text))));
    assert_false(is_err(replay_new(&r->replay, &r->policy, fake_blob, &r->w)));
    survey(r);
    for (size_t i = 0; i < r->w.n_entries; i++)
        assert_false(is_err(replay_entry(r->replay, &r->lines[i], i, buf_bytes(&r->w.entries[i]))));
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(&r->w, &note, r->w.n_entries);
    assert_false(is_err(replay_finish(r->replay, &r->summary, buf_bytes(&note))));
}

static void a_stop_for_somebody_elses_host_is_not_signed_by_it(void **state)
{
    (void)state;
    struct result r;
    replay_with(&r, a_stop_by_another_host, stop_by_key_1);
    assert_int_equal(first_false(&r), 8);
    assert_string_equal(r.lines[8].code, "SIGNATURE");
    result_cleanup(&r);
}

static void spoil_second_quotes_signature(struct fake_world *w, enum fake_stage stage,
                                          enum fake_what what, void *thing)
{
    if (stage == FAKE_SIGNATURE && what == FAKE_PERIODIC && w->n_entries == 4)
        ((struct buf *)thing)->data[30] ^= 1;
}

/* Pitfall 15: nothing in a quote moves a clock before its signature is good. */
static void a_forged_quote_moves_no_clock(void **state)
{
    (void)state;
    struct result r;
    replay_with(&r, forged_quote_first, spoil_second_quotes_signature);
    assert_int_equal(r.lines[4].status, RULE_FALSE);
    assert_string_equal(r.lines[4].code, "SIGNATURE");
    if (r.lines[5].status != RULE_TRUE)
        print_result(&r);
    assert_int_equal(r.lines[5].status, RULE_TRUE);
    result_cleanup(&r);
}

/* The operator signs two histories. The measured server quotes on one of them: the other gets no
 * further true quote, and each quote shows to which it belongs. */
static void the_branch_that_the_host_does_not_quote_on_gets_no_true_quote(void **state)
{
    (void)state;
    struct result r;
    static const struct trick fork = {.setup = NULL};
    build(&r, &fork);
    struct fake_world *w = &r.w;
    uint64_t at = w->hosts[0].quote_index;
    fake_log_quote(w, 0);
    BUF_AUTO honest = BUF_INIT;
    buf_append_bytes(&honest, buf_bytes(&w->entries[w->n_entries - 1]));
    /* The client's branch: an entry of host 1 is replaced before the quote. */
    size_t replaced = (size_t)at - 1;
    w->leaves[replaced] = merkle_leaf(bytes_of_str("another entry"));
    buf_clear(&w->entries[replaced]);
    buf_append_str(&w->entries[replaced], "another entry");
    assert_false(is_err(replay_new(&r.replay, &r.policy, fake_blob, w)));
    survey(&r);
    struct replay_line line;
    for (size_t i = 0; i < w->n_entries; i++)
        assert_false(is_err(replay_entry(r.replay, &line, i, buf_bytes(&w->entries[i]))));
    assert_int_equal(line.status, RULE_FALSE);
    assert_string_equal(line.code, "LOG");
    assert_non_null(strstr(line.text, "another history"));
    result_cleanup(&r);
}

/* A gap names its place and length. */
static void a_missing_quote_has_a_code_a_place_and_a_length(void **state)
{
    (void)state;
    static const struct trick t = {.setup = a_late_first_quote};
    struct result r;
    replay(&r, &t);
    const struct finding *gap = NULL;
    for (size_t i = 0; i < r.summary.n_findings; i++)
        if (strcmp(r.summary.findings[i].code, "GAP") == 0)
            gap = &r.summary.findings[i];
    assert_non_null(gap);
    assert_int_equal(gap->index, 3);
    if (strstr(gap->text, "2 h 01 min") == NULL || strstr(gap->text, "interval is 60 s") == NULL)
        fail_msg("%s", gap->text);
    result_cleanup(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_attack),
        cmocka_unit_test(a_stop_for_somebody_elses_host_is_not_signed_by_it),
        cmocka_unit_test(a_forged_quote_moves_no_clock),
        cmocka_unit_test(the_branch_that_the_host_does_not_quote_on_gets_no_true_quote),
        cmocka_unit_test(a_missing_quote_has_a_code_a_place_and_a_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
