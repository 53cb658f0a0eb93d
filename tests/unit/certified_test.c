/* Hosts whose attestation key a cloud has certified: what an `ak-certificate` carries in rule 2,
 * live and in a replay, and what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

#include "attest/replay.h"
#include "attest/rules.h"

static void certified_history(struct fake_world *w, const char *type)
{
    fake_certify(w, 0, type);
    fake_certify(w, 1, "EC");
    usual_history(w);
}

static void rsa_history(struct fake_world *w)
{
    certified_history(w, "RSA");
}

static void p256_history(struct fake_world *w)
{
    certified_history(w, "EC");
}

static void accepts(void (*setup)(struct fake_world *w))
{
    const struct flaw none = {.setup = setup, .stage = FAKE_POLICY, .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &none);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    if (v.outcome != OUTCOME_TRUE)
        print_verdict(&v);
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(v.test);
    assert_non_null(strstr(v.rules[1].text, "by its own certificate"));
    assert_non_null(strstr(v.proven[0], "218557372616137117"));
    assert_true(says(&v, "Whether the host was suspended"));
    scene_cleanup(&s);
}

static void accepts_certified_keys_of_both_kinds(void **state)
{
    (void)state;
    accepts(rsa_history);
    accepts(p256_history);
}

static void there_is_nothing_to_activate(void **state)
{
    (void)state;
    const struct flaw none = {.setup = rsa_history, .stage = FAKE_POLICY, .what = FAKE_STOP};
    struct scene s;
    scene_init(&s, &none);
    struct activation_target target;
    assert_false(is_err(verify_activation_target(&target, &s.evidence, &s.policy)));
    assert_null(target.ek);
    assert_true(tpm_name_equal(&target.ak_name, &s.w.hosts[0].ak_name));
    scene_cleanup(&s);
}

static void no_ak_root(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "test-ak-root gcp", "# gcp");
}

static void another_profile(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "test-ak-root gcp", "test-ak-root azure");
}

static void certificate_of_another_ak(struct fake_world *w, void *thing)
{
    fake_add_blob(w, buf_bytes(&w->hosts[1].ak_certificate));
    blob_ref_of(&((struct statement *)thing)->host.ak_certificate,
                buf_bytes(&w->hosts[1].ak_certificate));
}

static void certificate_of_an_ek(struct fake_world *w, void *thing)
{
    fake_add_blob(w, buf_bytes(&w->hosts[0].ek_certificate));
    blob_ref_of(&((struct statement *)thing)->host.ak_certificate,
                buf_bytes(&w->hosts[0].ek_certificate));
}

/* The same certificate, said to be the endorsement key's. */
static void own_certificate_as_the_eks(struct fake_world *w, void *thing)
{
    (void)w;
    struct statement_host *h = &((struct statement *)thing)->host;
    h->ak_certified = false;
    h->ek_certificate = h->ak_certificate;
}

static void no_chain(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->host.n_chain = 0;
}

static struct activation_target activated;

static void activated_although_certified(struct fake_world *w, struct verify_input *in)
{
    activated = (struct activation_target){.ak_name = w->hosts[0].ak_name};
    in->activated = &activated;
}

static void both_certificates(struct fake_world *w)
{
    fake_certify(w, 0, "EC");
    fake_start(w, 0);
    buf_clear(&w->hosts[0].ak_certificate);
    fake_log_host(w, 0, true);
    fake_log_quote(w, 0);
}

#define CERTIFIED(n, s, st, function)                                                              \
    {                                                                                              \
        .name = n, .rule = 2, .says = s, .stage = st, .what = FAKE_HOST, .spoil = function,        \
        .setup = p256_history                                                                      \
    }

static const struct flaw flaws[] = {
    CERTIFIED("a policy without such a root", "which the policy does not name", FAKE_POLICY,
              no_ak_root),
    CERTIFIED("a root of another vendor", "profile azure", FAKE_POLICY, another_profile),
    CERTIFIED("a certificate for another key", "another key than ak-public", FAKE_STATEMENT,
              certificate_of_another_ak),
    CERTIFIED("an endorsement key's certificate", "digitalSignature alone", FAKE_STATEMENT,
              certificate_of_an_ek),
    CERTIFIED("its certificate as an endorsement key's", "keyAgreement", FAKE_STATEMENT,
              own_certificate_as_the_eks),
    CERTIFIED("no chain", "0 issuers", FAKE_STATEMENT, no_chain),
    {.name = "an activation",
     .rule = 2,
     .says = "certificate of its own",
     .setup = p256_history,
     .input = activated_although_certified,
     .stage = FAKE_POLICY,
     .what = FAKE_STOP},
    SETUP("both kinds of certificate", 2, "both with an endorsement", both_certificates),
};

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    refuse_each(flaws, sizeof flaws / sizeof *flaws);
}

/* The constant of the key lets its reset count run over at the next boot. */
static void counts_run_over(struct fake_world *w)
{
    fake_certify(w, 0, "EC");
    w->hosts[0].reset_count = UINT32_MAX - 1;
    w->hosts[0].restart_count = 3597763195;
    fake_start(w, 0);
    fake_log_stop(w, 0, 600);
    fake_start(w, 0);
}

static void replays(struct replay_summary *out, struct replay **r, struct scene *s)
{
    assert_false(is_err(replay_new(r, &s->policy, fake_blob, &s->w)));
    for (size_t i = 0; i < s->w.n_entries; i++) {
        struct replay_line line;
        assert_false(is_err(replay_entry(*r, &line, i, buf_bytes(&s->w.entries[i]))));
        if (line.status != RULE_TRUE)
            print_error("%zu: %s %s\n", i, line.code, line.text);
    }
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(&s->w, &note, s->w.n_entries);
    assert_false(is_err(replay_finish(*r, out, buf_bytes(&note))));
}

static bool found(const struct replay_summary *s, const char *code)
{
    for (size_t i = 0; i < s->n_findings; i++)
        if (strcmp(s->findings[i].code, code) == 0)
            return true;
    return false;
}

static void reboot_renewed(struct fake_world *w)
{
    fake_certify(w, 0, "RSA");
    fake_start(w, 0);
    fake_log_stop(w, 0, 600);
    fake_renew(w, 0);
    fake_start(w, 0);
}

static void a_renewed_certificate_goes_on_with_the_history(void **state)
{
    (void)state;
    const struct flaw none = {.setup = reboot_renewed, .stage = FAKE_POLICY, .what = FAKE_STOP};
    struct scene s;
    struct replay *r;
    struct replay_summary summary;
    scene_init(&s, &none);
    replays(&summary, &r, &s);
    assert_int_equal(summary.outcome, OUTCOME_TRUE);
    assert_int_equal(summary.n_boots, 2);
    assert_false(found(&summary, "EK-TWO-AKS"));
    replay_free(r);
    scene_cleanup(&s);
}

static void counts_with_a_constant_added_may_run_over(void **state)
{
    (void)state;
    const struct flaw none = {.setup = counts_run_over, .stage = FAKE_POLICY, .what = FAKE_STOP};
    struct scene s;
    struct replay *r;
    struct replay_summary summary;
    scene_init(&s, &none);
    replays(&summary, &r, &s);
    assert_int_equal(summary.outcome, OUTCOME_TRUE);
    assert_false(found(&summary, "TPM-CLEARED"));
    assert_false(found(&summary, "RESETS"));
    replay_free(r);
    scene_cleanup(&s);
}

/* A certificate holds the key, not its attributes: with another harmless bit the same key has
 * another name. Its boots are counted on all the same. */
static void renamed(struct fake_world *w)
{
    fake_certify(w, 0, "EC");
    fake_start(w, 0);
    struct fake_host *h = &w->hosts[0];
    h->ak_public.data[6] ^= 0x04; /* noDA */
    sha256(h->ak_name.bytes + 2, buf_bytes(&h->ak_public));
    h->has_previous = false;
    h->counter += 3;
    fake_start(w, 0);
}

static void a_key_under_a_second_name_hides_no_boot(void **state)
{
    (void)state;
    const struct flaw none = {.setup = renamed, .stage = FAKE_POLICY, .what = FAKE_STOP};
    struct scene s;
    struct replay *r;
    struct replay_summary summary;
    scene_init(&s, &none);
    replays(&summary, &r, &s);
    assert_int_equal(summary.outcome, OUTCOME_FALSE);
    assert_true(found(&summary, "EK-TWO-AKS"));
    assert_true(found(&summary, "COUNTER-GAP"));
    replay_free(r);
    scene_cleanup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_certified_keys_of_both_kinds),
        cmocka_unit_test(there_is_nothing_to_activate),
        cmocka_unit_test(refuses_each_single_flaw),
        cmocka_unit_test(a_renewed_certificate_goes_on_with_the_history),
        cmocka_unit_test(counts_with_a_constant_added_may_run_over),
        cmocka_unit_test(a_key_under_a_second_name_hides_no_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
