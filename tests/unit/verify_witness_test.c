/* Rule 10 with witnesses: the evidence's checkpoint, and the newest of a replayed log, must have
 * the quorum of the policy; the verdict says who cosigned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/replay.h"
#include "fake_host.h"

enum { N_WITNESSES = 3 };

struct scene {
    struct fake_world w;
    struct note_signer witnesses[N_WITNESSES];
    struct policy policy;
    struct verdict v;
};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

/* The world's policy with these lines in place of "quorum none". */
static struct err read_policy(struct scene *s, const char *lines)
{
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO changed = BUF_INIT;
    fake_policy_text(&s->w, &text);
    const char *all = buf_str(&text), *at = strstr(all, "quorum none\n");
    assert_non_null(at);
    buf_append(&changed, all, (size_t)(at - all));
    for (unsigned i = 0; i < N_WITNESSES; i++) {
        buf_printf(&changed, "witness w%u ", i);
        note_vkey_format(&changed, &s->witnesses[i].key);
        buf_append_str(&changed, " https://w.example/\n");
    }
    buf_append_str(&changed, lines);
    buf_append_str(&changed, at + strlen("quorum none\n"));
    return policy_parse(&s->policy, buf_bytes(&changed));
}

static void begin(struct scene *s, const char *lines)
{
    memset(s, 0, sizeof *s);
    for (uint8_t i = 0; i < N_WITNESSES; i++) {
        uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)(i + 1), 3};
        must(note_signer_init(&s->witnesses[i], "witness.example", NOTE_COSIGNATURE, seed));
    }
    fake_world_init(&s->w, NULL);
    fake_start(&s->w, 0);
    must(read_policy(s, lines));
}

static void end(struct scene *s)
{
    policy_cleanup(&s->policy);
    fake_world_cleanup(&s->w);
}

/* Cosignatures of the witnesses in `set` behind the note. */
static void cosign(struct buf *note, struct scene *s, unsigned set)
{
    const uint8_t *blank = memmem(note->data, note->len, "\n\n", 2);
    BUF_AUTO text = BUF_INIT;
    buf_append(&text, note->data, (size_t)(blank - note->data) + 1);
    for (unsigned i = 0; i < N_WITNESSES; i++)
        if ((set >> i & 1) != 0)
            must(note_cosign(note, buf_bytes(&text), &s->witnesses[i], 1700000000));
}

static const struct rule_result *verify_with(struct scene *s, unsigned set, size_t flip)
{
    static const uint8_t nonce[NONCE_LEN] = {1, 2, 3};
    struct evidence e = EVIDENCE_INIT;
    BUF_AUTO json = BUF_INIT;
    fake_evidence(&s->w, 0, &e, nonce);
    cosign(&e.checkpoint, s, set);
    if (flip > 0) /* in the last signature */
        e.checkpoint.data[e.checkpoint.len - flip] ^= 1;
    evidence_format(&json, &e);
    evidence_cleanup(&e);
    struct verify_input in = {.evidence_json = buf_bytes(&json), .policy = &s->policy};
    memcpy(in.nonce, nonce, NONCE_LEN);
    memcpy(in.peer_spki_sha256, s->w.hosts[0].spki_sha256, SHA256_LEN);
    must(verify_evidence(&s->v, &in));
    return &s->v.rules[9];
}

static bool says(char list[][256], size_t n, const char *part)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(list[i], part) != NULL)
            return true;
    return false;
}

static void a_quorum_makes_the_log_true_and_the_verdict_names_it(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, "group two 2 w0 w1 w2\nquorum two\n");
    const struct rule_result *log = verify_with(&s, 5, 0);
    assert_int_equal(s.v.outcome, OUTCOME_TRUE);
    assert_non_null(strstr(log->text, "cosigned by 2 of 3 witnesses (w0, w2)"));
    assert_true(says(s.v.proven, s.v.n_proven, "2 of 3 witnesses (w0, w2)"));
    assert_false(says(s.v.not_proven, s.v.n_not_proven, "operator's word"));
    assert_true(says(s.v.not_proven, s.v.n_not_proven, "colludes"));
    end(&s);
}

static void without_the_quorum_the_log_is_false(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, "group two 2 w0 w1 w2\nquorum two\n");
    for (unsigned set = 0; set < 1u << N_WITNESSES; set++) {
        const struct rule_result *log = verify_with(&s, set, 0);
        bool enough = __builtin_popcount(set) >= 2;
        assert_int_equal(s.v.outcome, enough ? OUTCOME_TRUE : OUTCOME_FALSE);
        assert_int_equal(log->status, enough ? RULE_TRUE : RULE_FALSE);
        if (!enough)
            assert_non_null(strstr(log->text, "lacks the quorum 'two'"));
    }
    end(&s);
}

static void a_spoilt_cosignature_is_false_even_beside_a_quorum(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, "quorum w0\n");
    verify_with(&s, 1, 0);
    assert_int_equal(s.v.outcome, OUTCOME_TRUE);
    for (size_t flip = 10; flip < 90; flip += 7) {
        const struct rule_result *log = verify_with(&s, 5, flip); /* w2's is spoilt */
        assert_int_equal(log->status, RULE_FALSE);
    }
    end(&s);
}

static void with_quorum_none_cosignatures_are_told_nothing_of(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, "quorum none\n");
    verify_with(&s, 0, 0);
    assert_int_equal(s.v.outcome, OUTCOME_TRUE);
    assert_true(says(s.v.not_proven, s.v.n_not_proven, "operator's word"));
    end(&s);
}

static enum outcome replay_with(struct scene *s, unsigned set, struct replay_summary *out,
                                struct replay **r)
{
    BUF_AUTO note = BUF_INIT;
    must(replay_new(r, &s->policy, fake_blob, &s->w));
    for (uint64_t i = 0; i < s->w.n_entries; i++) {
        struct replay_line line;
        must(replay_entry(*r, &line, i, buf_bytes(&s->w.entries[i])));
    }
    fake_checkpoint(&s->w, &note, s->w.n_entries);
    cosign(&note, s, set);
    must(replay_finish(*r, out, buf_bytes(&note)));
    return out->outcome;
}

static void a_replay_needs_the_quorum_on_the_newest_checkpoint(void **state)
{
    (void)state;
    struct scene s;
    struct replay_summary sum;
    struct replay *r;
    begin(&s, "group two 2 w0 w1 w2\nquorum two\n");
    assert_int_equal(replay_with(&s, 6, &sum, &r), OUTCOME_TRUE);
    assert_true(says(sum.proven, sum.n_proven, "2 of 3 witnesses (w1, w2)"));
    replay_free(r);
    assert_int_equal(replay_with(&s, 4, &sum, &r), OUTCOME_FALSE);
    assert_non_null(strstr(sum.reason, "lacks the quorum"));
    replay_free(r);
    end(&s);
}

static void refuses_a_witness_that_has_the_key_of_the_log_or_of_an_activator(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, "quorum none\n");
    policy_cleanup(&s.policy);
    const struct note_signer *others[] = {&s.w.log, &s.w.activator};
    for (size_t i = 0; i < 2; i++) {
        must(note_signer_init(&s.witnesses[0], "w.example", NOTE_COSIGNATURE, others[i]->seed));
        assert_int_equal(read_policy(&s, "quorum w0\n").code, ERR_MALFORMED);
        assert_non_null(strstr(err_message(), "each needs one of its own"));
    }
    end(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quorum_makes_the_log_true_and_the_verdict_names_it),
        cmocka_unit_test(without_the_quorum_the_log_is_false),
        cmocka_unit_test(a_spoilt_cosignature_is_false_even_beside_a_quorum),
        cmocka_unit_test(with_quorum_none_cosignatures_are_told_nothing_of),
        cmocka_unit_test(a_replay_needs_the_quorum_on_the_newest_checkpoint),
        cmocka_unit_test(refuses_a_witness_that_has_the_key_of_the_log_or_of_an_activator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
