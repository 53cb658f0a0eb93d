/* A whole log is true or not, as one: order, checkpoint, severity, what cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

static void a_log_of_twenty_entries_is_true(void **state)
{
    (void)state;
    struct result r;
    replay(&r, NULL);
    if (r.summary.outcome != OUTCOME_TRUE)
        print_result(&r);
    assert_int_equal(r.summary.outcome, OUTCOME_TRUE);
    assert_true(r.summary.test);
    assert_int_equal(r.summary.n_entries, 20);
    assert_int_equal(r.summary.n_true, 20);
    assert_int_equal(r.summary.n_hosts, 2);
    assert_int_equal(r.summary.n_boots, 3);
    assert_int_equal(r.summary.n_quotes, 11);
    assert_string_equal(r.summary.reason, "");
    assert_true(r.summary.n_proven > 0);
    for (size_t i = 0; i < r.summary.n_findings; i++) /* the tails of both hosts, and no more */
        assert_true(r.summary.findings[i].severity == FINDING_NOTE &&
                    strcmp(r.summary.findings[i].code, "UNCOVERED") == 0);
    assert_int_equal(r.summary.n_findings, 2);
    result_cleanup(&r);
}

static void a_small_delay(struct fake_world *w)
{
    fake_start(w, 0);
    gap_after(w, 60);
}

static void a_delay_within_twice_the_interval_is_no_gap(void **state)
{
    (void)state;
    const struct trick delay = {.setup = a_small_delay};
    struct result r;
    replay(&r, &delay);
    assert_int_equal(r.summary.outcome, OUTCOME_TRUE);
    assert_false(finds(&r, "GAP", FINDING_WARNING) || finds(&r, "GAP", FINDING_NOTE));
    result_cleanup(&r);
}

static void a_stranger_in_the_log(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_host(w, 1, false);
}

/* Its host statement is true as far as it goes; nothing is said to be proven of it. */
static void a_host_without_activation_is_not_counted(void **state)
{
    (void)state;
    const struct trick stranger = {.setup = a_stranger_in_the_log};
    struct result r;
    replay(&r, &stranger);
    assert_int_equal(r.summary.outcome, OUTCOME_TRUE);
    assert_int_equal(r.summary.n_hosts, 1);
    assert_true(finds(&r, "UNCOVERED", FINDING_WARNING));
    result_cleanup(&r);
}

static void one_untrue_quote_makes_one_untrue_entry(void **state)
{
    (void)state;
    const struct trick bad = {.setup = boot_pcr_at_run_time};
    struct result r;
    replay(&r, &bad);
    assert_int_equal(first_false(&r), 4);
    memset(r.w.hosts[0].pcrs.values[11], 0xab, SHA256_LEN);
    uint64_t next = fake_log_quote(&r.w, 0);
    struct replay_line line;
    assert_false(is_err(replay_entry(r.replay, &line, next, buf_bytes(&r.w.entries[next]))));
    assert_int_equal(line.status, RULE_TRUE);
    result_cleanup(&r);
}

static void the_checkpoint_must_be_of_these_entries(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct result r;
        replay(&r, NULL);
        struct note_signer honest = r.w.log;
        uint8_t seed[ED25519_SEED_LEN] = {55};
        BUF_AUTO note = BUF_INIT;
        if (i == 0)
            r.w.leaves[19].bytes[0] ^= 1; /* another root */
        if (i == 1)
            assert_false(is_err(note_signer_init(&r.w.log, honest.key.name, NOTE_ED25519, seed)));
        fake_checkpoint(&r.w, &note, i == 2 ? 19 : 20);
        assert_false(is_err(replay_finish(r.replay, &r.summary, buf_bytes(&note))));
        assert_int_equal(r.summary.outcome, OUTCOME_FALSE);
        assert_non_null(strstr(r.summary.reason, "checkpoint"));
        assert_int_equal(r.summary.n_proven, 0);
        result_cleanup(&r);
    }
}

static void an_ignored_pcr_makes_no_proof(void **state)
{
    (void)state;
    struct result r;
    memset(&r, 0, sizeof r);
    build(&r, NULL);
    r.policy.boot[7].ignored = true;
    assert_false(is_err(replay_new(&r.replay, &r.policy, fake_blob, &r.w)));
    survey(&r);
    for (size_t i = 0; i < r.w.n_entries; i++)
        assert_false(is_err(replay_entry(r.replay, &r.lines[i], i, buf_bytes(&r.w.entries[i]))));
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(&r.w, &note, r.w.n_entries);
    assert_false(is_err(replay_finish(r.replay, &r.summary, buf_bytes(&note))));
    assert_int_equal(r.summary.outcome, OUTCOME_NOT_A_PROOF);
    result_cleanup(&r);
}

/* The note of a quote's head, by a key that is not the log's. */
static struct replay_told {
    uint64_t size;
    uint8_t note[SHA256_LEN];
} told;

static void foreign_note(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    const struct note_signer honest = w->log;
    uint8_t seed[ED25519_SEED_LEN] = {56};
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(note_signer_init(&w->log, honest.key.name, NOTE_ED25519, seed)));
    fake_checkpoint(w, &note, c->head_size);
    w->log = honest;
    fake_add_blob(w, buf_bytes(&note));
    sha256(c->head_note, buf_bytes(&note));
    told.size = c->head_size;
    memcpy(told.note, c->head_note, SHA256_LEN);
}

/* The verdict on entry 4, whose head has that note, once the caller has said that it verified a
 * note of `hash` over a head of `size`. */
static enum rule_status judge_told(uint64_t size_more, uint8_t flip)
{
    static const struct trick t = {HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = foreign_note};
    struct result r;
    memset(&r, 0, sizeof r);
    build(&r, &t);
    assert_false(is_err(replay_new(&r.replay, &r.policy, fake_blob, &r.w)));
    survey(&r);
    told.note[0] ^= flip;
    assert_false(is_err(replay_verified_head(r.replay, 1, told.note)));
    assert_false(is_err(replay_verified_head(r.replay, told.size + size_more, told.note)));
    assert_int_equal(replay_verified_head(r.replay, told.size, told.note).code, ERR_USAGE);
    for (size_t i = 0; i <= 4; i++)
        assert_false(is_err(replay_entry(r.replay, &r.lines[i], i, buf_bytes(&r.w.entries[i]))));
    enum rule_status status = r.lines[4].status;
    result_cleanup(&r);
    return status;
}

static void only_the_very_note_that_the_caller_verified_is_not_verified_again(void **state)
{
    (void)state;
    assert_int_equal(judge_told(0, 0), RULE_TRUE);
    assert_int_equal(judge_told(1, 0), RULE_FALSE);
    assert_int_equal(judge_told(0, 1), RULE_FALSE);
}

static void entries_come_in_order(void **state)
{
    (void)state;
    struct result r;
    memset(&r, 0, sizeof r);
    build(&r, NULL);
    struct replay_line line;
    assert_false(is_err(replay_new(&r.replay, &r.policy, fake_blob, &r.w)));
    assert_int_equal(replay_entry(r.replay, &line, 1, buf_bytes(&r.w.entries[1])).code, ERR_USAGE);
    result_cleanup(&r);
}

static struct err broken_disk(void *context, const uint8_t sha256_of[SHA256_LEN], struct buf *out)
{
    (void)context;
    (void)sha256_of;
    (void)out;
    return err_set(ERR_IO, "the disk is gone");
}

/* What could not be read is not the same as what is untrue. */
static void a_disk_that_fails_ends_the_replay(void **state)
{
    (void)state;
    struct result r;
    memset(&r, 0, sizeof r);
    build(&r, NULL);
    struct replay_line line;
    assert_false(is_err(replay_new(&r.replay, &r.policy, broken_disk, NULL)));
    assert_int_equal(replay_survey(r.replay, buf_bytes(&r.w.entries[0])).code, ERR_IO);
    assert_int_equal(replay_entry(r.replay, &line, 0, buf_bytes(&r.w.entries[0])).code, ERR_IO);
    result_cleanup(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_of_twenty_entries_is_true),
        cmocka_unit_test(a_delay_within_twice_the_interval_is_no_gap),
        cmocka_unit_test(a_host_without_activation_is_not_counted),
        cmocka_unit_test(one_untrue_quote_makes_one_untrue_entry),
        cmocka_unit_test(the_checkpoint_must_be_of_these_entries),
        cmocka_unit_test(an_ignored_pcr_makes_no_proof),
        cmocka_unit_test(only_the_very_note_that_the_caller_verified_is_not_verified_again),
        cmocka_unit_test(entries_come_in_order),
        cmocka_unit_test(a_disk_that_fails_ends_the_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
