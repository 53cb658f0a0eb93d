/* The live verifier accepts true evidence, says what it proves and what not, and refuses what is
 * changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

static void accepts_true_evidence(void **state)
{
    (void)state;
    struct scene s;
    struct verdict v;
    scene_init(&s, NULL);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    if (v.outcome != OUTCOME_TRUE)
        print_verdict(&v);
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(v.test);
    for (int i = 0; i < N_RULES; i++)
        assert_int_equal(v.rules[i].status, i == 8 ? RULE_NOT_CHECKED : RULE_TRUE);
    assert_true(v.n_proven >= 6);
    scene_cleanup(&s);
}

static void says_what_is_not_proven(void **state)
{
    (void)state;
    struct scene s;
    struct verdict v;
    scene_init(&s, NULL);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_true(says(&v, "interposer"));
    assert_true(says(&v, "quorum none"));
    assert_true(says(&v, "releases are not checked"));
    assert_true(says(&v, "What the values and events of PCRs 0 to 12 mean"));
    assert_true(says(&v, "test root"));
    assert_false(says(&v, "GPU"));
    assert_false(says(&v, "suspended"));
    scene_cleanup(&s);
}

static void on_gpu(struct fake_world *w)
{
    w->kernels = "sm90-1 5555555555555555555555555555555555555555555555555555555555555555";
    usual_history(w);
}

static void says_that_gpu_memory_is_not_attested(void **state)
{
    (void)state;
    const struct flaw gpu = {
        .name = "gpu", .setup = on_gpu, .stage = FAKE_AK_PUBLIC, .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &gpu);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(says(&v, "GPU"));
    scene_cleanup(&s);
}

static void suspended_once(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].restart_count++;
    w->hosts[0].counter++;
    fake_log_boot(w, 0);
    fake_log_quote(w, 0);
}

static void says_that_a_suspended_host_may_have_been_another(void **state)
{
    (void)state;
    const struct flaw resume = {
        .name = "resume", .setup = suspended_once, .stage = FAKE_AK_PUBLIC, .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &resume);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(says(&v, "woken 1 times"));
    scene_cleanup(&s);
}

static struct activation_target activated;

static void target(struct fake_world *w, struct verify_input *in, unsigned ak, unsigned ek)
{
    activated = (struct activation_target){.ak_name = w->hosts[ak].ak_name};
    sha256(activated.ek_certificate, buf_bytes(&w->hosts[ek].ek_certificate));
    in->activated = &activated;
}

static void activated_live(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 0, 0);
}

static void a_live_activation_replaces_activators(void **state)
{
    (void)state;
    const struct flaw live = {.name = "live",
                              .setup = not_activated,
                              .input = activated_live,
                              .stage = FAKE_AK_PUBLIC,
                              .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &live);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    scene_cleanup(&s);
}

static struct note_signer second_activator;

/* Each activator's note came with a host statement of its own. */
static void activated_twice(struct fake_world *w)
{
    uint8_t seed[ED25519_SEED_LEN] = {3};
    struct note_signer first = w->activator;
    assert_false(is_err(note_signer_init(&second_activator, "second.example", NOTE_ED25519, seed)));
    fake_start(w, 0);
    w->activator = second_activator;
    fake_log_host(w, 0, true);
    w->activator = first;
    fake_log_quote(w, 0);
}

static void ask_for_two(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "activators 1", "activators 2");
    buf_append_str(thing, "activator ");
    note_vkey_format(thing, &second_activator.key);
    buf_append_str(thing, "\n");
}

static void activations_of_several_host_statements_add_up(void **state)
{
    (void)state;
    const struct flaw two = {.name = "two activators",
                             .stage = FAKE_POLICY,
                             .spoil = ask_for_two,
                             .setup = activated_twice};
    struct scene s;
    struct verdict v;
    scene_init(&s, &two);
    assert_int_equal(s.policy.k_activators, 2);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    scene_cleanup(&s);
}

static void the_activation_target_is_the_evidences(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s, NULL);
    struct activation_target t;
    assert_false(is_err(verify_activation_target(&t, &s.evidence, &s.policy)));
    uint8_t ek[SHA256_LEN];
    sha256(ek, buf_bytes(&s.w.hosts[0].ek_certificate));
    assert_memory_equal(t.ek_certificate, ek, SHA256_LEN);
    assert_memory_equal(t.ak_name.bytes, s.w.hosts[0].ak_name.bytes, t.ak_name.len);
    assert_memory_equal(t.spki_sha256, s.w.hosts[0].spki_sha256, SHA256_LEN);
    assert_int_equal(EVP_PKEY_eq(t.ek, s.w.hosts[0].ek), 1);
    EVP_PKEY_free(t.ek);
    memset(s.policy.roots[0].sha256, 0, SHA256_LEN);
    assert_int_equal(verify_activation_target(&t, &s.evidence, &s.policy).code, ERR_UNTRUE);
    scene_cleanup(&s);
}

static void ignore_pcr_0(struct fake_world *w, void *thing)
{
    (void)w;
    BUF_AUTO line = BUF_INIT;
    buf_append_str(&line, "boot-pcr 0 ");
    for (int i = 0; i < SHA256_LEN; i++)
        buf_append_str(&line, "a0");
    replace_text(thing, buf_str(&line), "boot-pcr 0 ignore firmware of a cloud");
}

static void an_ignored_pcr_makes_no_proof(void **state)
{
    (void)state;
    const struct flaw ignoring = {.name = "ignore", .stage = FAKE_POLICY, .spoil = ignore_pcr_0};
    struct scene s;
    struct verdict v;
    scene_init(&s, &ignoring);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_NOT_A_PROOF);
    assert_int_equal(first_false(&v), 12);
    assert_true(says(&v, "firmware of a cloud"));
    scene_cleanup(&s);
}

static void an_empty_pcr_is_named_under_a_test_root(void **state)
{
    (void)state;
    const struct flaw empty = {
        .name = "zero", .stage = FAKE_POLICY, .spoil = allow_zero_pcr_9, .setup = zero_pcr_9};
    struct scene s;
    struct verdict v;
    scene_init(&s, &empty);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(says(&v, "as far as PCRs 9 show it"));
    scene_cleanup(&s);
}

static void production(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "test-tpm-root", "tpm-root");
}

static void a_production_root_is_no_test(void **state)
{
    (void)state;
    const struct flaw real = {.name = "production", .stage = FAKE_POLICY, .spoil = production};
    struct scene s;
    struct verdict v;
    scene_init(&s, &real);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_false(v.test);
    assert_false(says(&v, "test root"));
    scene_cleanup(&s);
}

/* Whitespace is JSON's, and changes no fact. */
static void whitespace_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    struct verdict a, b;
    scene_init(&s, NULL);
    assert_false(is_err(verify_evidence(&a, &s.input)));
    BUF_AUTO spaced = BUF_INIT;
    buf_append_str(&spaced, " \n");
    buf_append_bytes(&spaced, buf_bytes(&s.json));
    buf_append_str(&spaced, "\n");
    s.input.evidence_json = buf_bytes(&spaced);
    assert_false(is_err(verify_evidence(&b, &s.input)));
    assert_memory_equal(&a, &b, sizeof a);
    scene_cleanup(&s);
}

static void the_printed_verdict_fits_a_terminal(void **state)
{
    (void)state;
    struct scene s;
    struct verdict v;
    scene_init(&s, NULL);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    BUF_AUTO text = BUF_INIT, json = BUF_INIT;
    verdict_print(&text, &v);
    size_t column = 0;
    for (size_t i = 0; i < text.len; i++) {
        column = text.data[i] == '\n' ? 0 : column + 1;
        assert_true(column <= 110);
        assert_true(text.data[i] == '\n' || (text.data[i] >= 0x20 && text.data[i] < 0x7f));
    }
    assert_non_null(strstr(buf_str(&text), "Verdict: true (TEST)"));
    verdict_json(&json, &v);
    assert_non_null(strstr(buf_str(&json), "\"outcome\":\"true\""));
    assert_non_null(strstr(buf_str(&json), "\"test\":true"));
    scene_cleanup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_true_evidence),
        cmocka_unit_test(says_what_is_not_proven),
        cmocka_unit_test(says_that_a_suspended_host_may_have_been_another),
        cmocka_unit_test(says_that_gpu_memory_is_not_attested),
        cmocka_unit_test(a_live_activation_replaces_activators),
        cmocka_unit_test(activations_of_several_host_statements_add_up),
        cmocka_unit_test(the_activation_target_is_the_evidences),
        cmocka_unit_test(an_ignored_pcr_makes_no_proof),
        cmocka_unit_test(an_empty_pcr_is_named_under_a_test_root),
        cmocka_unit_test(a_production_root_is_no_test),
        cmocka_unit_test(whitespace_changes_nothing),
        cmocka_unit_test(the_printed_verdict_fits_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
