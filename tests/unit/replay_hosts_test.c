/*
 * One host of a shared log, or whoever it lets in, does what it can: nothing of it makes another
 * host false, nor the log. And what only the log's operator can do makes the log false.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/replay_state.h"
#include "replay_scene.h"
#include "tests/unit/tpm_make.h"

enum { GOOD = 1, BAD = 0 };

static const struct replay_verdict *verdict(const struct result *r, const struct tpm_name *name)
{
    for (size_t i = 0; i < r->summary.n_verdicts; i++)
        if (r->summary.hosts[i].ak_name.len == name->len &&
            memcmp(r->summary.hosts[i].ak_name.bytes, name->bytes, name->len) == 0)
            return &r->summary.hosts[i];
    return NULL;
}

static struct tpm_name good_name, bad_name;

static void remember(const struct fake_world *w)
{
    good_name = w->hosts[GOOD].ak_name;
    bad_name = w->hosts[BAD].ak_name;
}

/* The good one, beside and after whatever the other has done. */
static void good_goes_on(struct fake_world *w)
{
    fake_log_quote(w, GOOD);
    fake_log_stop(w, GOOD, 600);
    fake_start(w, GOOD);
    fake_log_quote(w, GOOD);
}

static void both_start(struct fake_world *w)
{
    remember(w);
    fake_start(w, GOOD); /* 0 to 3 */
    fake_start(w, BAD);  /* 4 to 7 */
}

static void usual(struct fake_world *w)
{
    both_start(w);
    fake_log_quote(w, BAD); /* 8 */
    good_goes_on(w);
}

static void other_code(struct fake_world *w)
{
    both_start(w);
    w->hosts[BAD].pcrs.values[PCR_CODE][0] ^= 1;
    fake_log_quote(w, BAD);
    good_goes_on(w);
}

static void hides_boots(struct fake_world *w)
{
    both_start(w);
    w->hosts[BAD].counter += 2;
    reboot(w);
    good_goes_on(w);
}

static void another_counter(struct fake_world *w)
{
    both_start(w);
    w->hosts[BAD].counter_index++;
    reboot(w);
    good_goes_on(w);
}

static void the_goods_certificate_for_its_key(struct fake_world *w)
{
    both_start(w);
    struct buf *own = &w->hosts[BAD].ek_certificate;
    BUF_AUTO kept = BUF_INIT;
    buf_append_bytes(&kept, buf_bytes(own));
    buf_clear(own);
    buf_append_bytes(own, buf_bytes(&w->hosts[GOOD].ek_certificate));
    w->hosts[BAD].host_logged = false;
    fake_log_host(w, BAD, true); /* 8 */
    buf_clear(own);
    buf_append_bytes(own, buf_bytes(&kept));
    good_goes_on(w);
}

static void never_introduced(struct fake_world *w)
{
    remember(w);
    fake_start(w, GOOD);
    prepare(w, BAD);
    fake_log_boot(w, BAD); /* 4 */
    good_goes_on(w);
}

static void break_signature(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->data[30] ^= 1;
}

static void no_such_blob(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.runtime_log.sha256[0] ^= 1;
}

#define SAYS(i, c, s) .entry = i, .code = c, .says = s

static const struct trick tricks[] = {
    {.name = "a forged quote",
     .setup = usual,
     HOOK(FAKE_SIGNATURE, FAKE_PERIODIC, 3),
     .spoil = break_signature,
     SAYS(8, "SIGNATURE", "")},
    {.name = "a boot that its key has not signed",
     .setup = usual,
     HOOK(FAKE_SIGNATURE, FAKE_BOOT, 2),
     .spoil = break_signature,
     SAYS(5, "SIGNATURE", "")},
    {.name = "an identity without its runtime log",
     .setup = usual,
     HOOK(FAKE_STATEMENT, FAKE_IDENTITY, 2),
     .spoil = no_such_blob,
     SAYS(6, "LANES", "blob")},
    {.name = "other code", .setup = other_code, SAYS(8, "LANES", "")},
    {.name = "boots that are not in the log",
     .setup = hides_boots,
     SAYS(NO_ENTRY, "COUNTER-GAP", "")},
    {.name = "another boot counter", .setup = another_counter, SAYS(NO_ENTRY, "TPM-CLEARED", "")},
    {.name = "another's certificate",
     .setup = the_goods_certificate_for_its_key,
     SAYS(8, "AK", "")},
    {.name = "statements without a host's", .setup = never_introduced, SAYS(4, "AK", "")},
};

static bool is_his_alone(const struct trick *t)
{
    struct result r;
    replay(&r, t);
    const struct replay_verdict *good = verdict(&r, &good_name), *bad = verdict(&r, &bad_name);
    bool right = good != NULL && bad != NULL && good->outcome == OUTCOME_TRUE && good->counted &&
                 good->reason[0] == '\0' && good->n_quotes >= 4 && bad->outcome == OUTCOME_FALSE &&
                 bad->counted && strstr(bad->reason, t->code) != NULL &&
                 strstr(bad->reason, t->says) != NULL && first_false(&r) == t->entry &&
                 r.summary.log == OUTCOME_TRUE && r.summary.log_reason[0] == '\0' &&
                 r.summary.outcome == OUTCOME_FALSE && replay_is_partly_true(&r.summary) &&
                 r.summary.n_hosts_true == 1 && r.summary.n_proven > 0;
    for (size_t i = 0; i < r.summary.n_findings; i++)
        right &= r.summary.findings[i].severity != FINDING_ERROR ||
                 strcmp(r.summary.findings[i].host, bad->host) == 0;
    if (!right) {
        print_result(&r);
        print_error("%s: %s / %s / %s\n", t->name, good != NULL ? good->reason : "none",
                    bad != NULL ? bad->reason : "none", r.summary.log_reason);
    }
    result_cleanup(&r);
    return right;
}

static void a_bad_host_is_false_alone(void **state)
{
    (void)state;
    size_t n_wrong = 0;
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++)
        n_wrong += !is_his_alone(&tricks[i]);
    assert_int_equal(n_wrong, 0);
}

/* A TPM makes attestation keys without an end, and each is activated. */
static void many_keys_of_one_tpm(struct fake_world *w)
{
    both_start(w);
    struct fake_host *h = &w->hosts[BAD];
    EVP_PKEY *own = h->ak;
    for (unsigned i = 0; i < 2 * REPLAY_AKS_MAX; i++) {
        h->ak = EVP_EC_gen("P-256");
        buf_clear(&h->ak_public);
        make_public(&h->ak_public, h->ak, &ecdsa_ak);
        sha256(h->ak_name.bytes + 2, buf_bytes(&h->ak_public));
        fake_log_host(w, BAD, true);
        EVP_PKEY_free(h->ak);
    }
    h->ak = own;
    good_goes_on(w);
}

static void many_keys_of_one_tpm_take_nobodys_place(void **state)
{
    (void)state;
    for (int no_survey = 0; no_survey < 2; no_survey++) {
        const struct trick t = {.setup = many_keys_of_one_tpm, .no_survey = no_survey};
        struct result r;
        replay(&r, &t);
        assert_int_equal(verdict(&r, &good_name)->outcome, OUTCOME_TRUE);
        assert_int_equal(verdict(&r, &bad_name)->outcome, OUTCOME_TRUE); /* its first key */
        assert_int_equal(r.summary.log, OUTCOME_TRUE);
        int first = first_false(&r);
        assert_int_equal(first, 8 + REPLAY_AKS_MAX - 1);
        assert_non_null(strstr(r.lines[first].text, "attestation keys of one TPM"));
        result_cleanup(&r);
    }
}

/* More findings than are listed of a host; none of another is lost, and no error of its own. */
static void a_host_with_findings_without_end_hides_none_of_others(void **state)
{
    (void)state;
    struct result r;
    memset(&r, 0, sizeof r);
    fake_world_init(&r.w, NULL);
    remember(&r.w);
    fake_start(&r.w, GOOD);
    fake_start(&r.w, BAD);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&r.w, &text);
    assert_false(is_err(policy_parse(&r.policy, buf_bytes(&text))));
    for (int i = 0; i < REPLAY_HOST_FINDINGS_MAX + 10; i++)
        gap_after(&r.w, 3600);
    r.w.hosts[BAD].counter += 2;
    reboot(&r.w);
    fake_log_quote(&r.w, GOOD);
    fake_log_stop(&r.w, GOOD, 60);
    r.w.hosts[GOOD].clock_ms += 3600 * 1000;
    fake_log_quote(&r.w, GOOD);
    assert_false(is_err(replay_new(&r.replay, &r.policy, fake_blob, &r.w)));
    survey(&r);
    for (size_t i = 0; i < r.w.n_entries; i++)
        assert_false(is_err(replay_entry(r.replay, &r.lines[0], i, buf_bytes(&r.w.entries[i]))));
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(&r.w, &note, r.w.n_entries);
    assert_false(is_err(replay_finish(r.replay, &r.summary, buf_bytes(&note))));
    const struct replay_verdict *good = verdict(&r, &good_name), *bad = verdict(&r, &bad_name);
    assert_int_equal(good->outcome, OUTCOME_TRUE);
    assert_int_equal(bad->outcome, OUTCOME_FALSE); /* by an error that is not listed */
    assert_non_null(strstr(bad->reason, "COUNTER-GAP"));
    assert_int_equal(r.summary.log, OUTCOME_TRUE);
    size_t n_bad = 0, n_good = 0, n_more = 0;
    for (size_t i = 0; i < r.summary.n_findings; i++) {
        n_bad += strcmp(r.summary.findings[i].host, bad->host) == 0;
        n_good += strcmp(r.summary.findings[i].host, good->host) == 0;
        n_more += strcmp(r.summary.findings[i].code, "MORE") == 0;
    }
    assert_int_equal(n_bad, REPLAY_HOST_FINDINGS_MAX);
    assert_int_equal(n_more, 1);
    assert_true(n_good >= 1); /* its gap */
    result_cleanup(&r);
}

/* Only the operator can: a head that the log's key has signed, of another history. */
static void another_root(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    BUF_AUTO note = BUF_INIT;
    struct merkle_hash kept = w->leaves[0];
    w->leaves[0].bytes[0] ^= 1;
    fake_checkpoint(w, &note, c->head_size);
    c->head_root = merkle_root(w->leaves, c->head_size);
    w->leaves[0] = kept;
    fake_add_blob(w, buf_bytes(&note));
    sha256(c->head_note, buf_bytes(&note));
}

static void future_head(struct fake_world *w, void *thing)
{
    another_root(w, thing);
    struct quote_context *c = thing;
    struct merkle_hash leaves[64];
    memcpy(leaves, w->leaves, w->n_entries * sizeof *leaves);
    for (size_t i = w->n_entries; i < 64; i++)
        leaves[i] = w->leaves[0];
    struct merkle_hash *kept = w->leaves;
    BUF_AUTO note = BUF_INIT;
    w->leaves = leaves;
    c->head_size = 64;
    c->head_root = merkle_root(leaves, 64);
    fake_checkpoint(w, &note, 64);
    w->leaves = kept;
    fake_add_blob(w, buf_bytes(&note));
    sha256(c->head_note, buf_bytes(&note));
}

static void a_head_of_another_history_with_the_logs_signature_makes_the_log_false(void **state)
{
    (void)state;
    const struct trick forks[] = {
        {.setup = usual, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 3), .spoil = another_root},
        {.setup = usual, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 3), .spoil = future_head},
    };
    for (size_t i = 0; i < sizeof forks / sizeof *forks; i++) {
        struct result r;
        replay(&r, &forks[i]);
        if (r.summary.log != OUTCOME_FALSE || !finds(&r, "FORK", FINDING_ERROR)) {
            print_result(&r);
            fail();
        }
        assert_non_null(strstr(r.summary.log_reason, "FORK"));
        assert_false(replay_is_partly_true(&r.summary));
        assert_int_equal(r.summary.n_proven, 0);
        assert_int_equal(verdict(&r, &good_name)->outcome, OUTCOME_TRUE);
        result_cleanup(&r);
    }
}

/* The same head, which the log's key has not signed, is the host's own invention. */
static void other_root_unsigned(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_root.bytes[0] ^= 1;
}

static void a_head_that_the_log_did_not_sign_says_nothing_against_it(void **state)
{
    (void)state;
    const struct trick t = {
        .setup = usual, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 3), .spoil = other_root_unsigned};
    struct result r;
    replay(&r, &t);
    assert_false(finds(&r, "FORK", FINDING_ERROR));
    assert_int_equal(r.summary.log, OUTCOME_TRUE);
    assert_int_equal(verdict(&r, &bad_name)->outcome, OUTCOME_FALSE);
    result_cleanup(&r);
}

static void no_statement(struct fake_world *w)
{
    both_start(w);
    fake_append(w, bytes_of_str("blindllama-quote/v1\nnot one\n"));
    good_goes_on(w);
}

static void an_entry_that_is_no_statement_makes_the_log_false_and_no_host(void **state)
{
    (void)state;
    const struct trick t = {.setup = no_statement};
    struct result r;
    replay(&r, &t);
    assert_int_equal(r.summary.log, OUTCOME_FALSE);
    assert_non_null(strstr(r.summary.log_reason, "entry 8, rule PARSE"));
    assert_int_equal(verdict(&r, &good_name)->outcome, OUTCOME_TRUE);
    assert_int_equal(verdict(&r, &bad_name)->outcome, OUTCOME_TRUE);
    assert_false(replay_is_partly_true(&r.summary));
    result_cleanup(&r);
}

static void no_true_host(struct fake_world *w)
{
    remember(w);
    never_activated(w);
}

static void a_log_without_a_true_host_is_not_partly_true(void **state)
{
    (void)state;
    const struct trick t = {.setup = no_true_host};
    struct result r;
    replay(&r, &t);
    assert_int_equal(r.summary.log, OUTCOME_TRUE);
    assert_int_equal(r.summary.outcome, OUTCOME_FALSE);
    assert_false(replay_is_partly_true(&r.summary));
    result_cleanup(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_host_is_false_alone),
        cmocka_unit_test(many_keys_of_one_tpm_take_nobodys_place),
        cmocka_unit_test(a_host_with_findings_without_end_hides_none_of_others),
        cmocka_unit_test(a_head_of_another_history_with_the_logs_signature_makes_the_log_false),
        cmocka_unit_test(a_head_that_the_log_did_not_sign_says_nothing_against_it),
        cmocka_unit_test(an_entry_that_is_no_statement_makes_the_log_false_and_no_host),
        cmocka_unit_test(a_log_without_a_true_host_is_not_partly_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
