/* The live verifier accepts true evidence, and refuses every single flaw by the rule that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/verify.h"
#include "common/text.h"
#include "fake_host.h"

static const uint8_t nonce[NONCE_LEN] = {0x11, 0x22, 0x33};

/* One flaw: where a hook makes it, or a byte that is changed there; `setup` replaces the usual
 * history, `input` spoils what the caller brings. */
struct flaw {
    const char *name;
    int rule; /* that must be false */
    const char *says;
    enum fake_stage stage;
    enum fake_what what;
    size_t at; /* of a buffer: the byte to XOR */
    uint8_t flip;
    void (*spoil)(struct fake_world *w, void *thing);
    void (*setup)(struct fake_world *w);
    void (*input)(struct fake_world *w, struct verify_input *in);
};

static const struct flaw *flaw; /* the one that is being made */

static void hook(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    if (flaw == NULL || flaw->stage != stage || flaw->what != what)
        return;
    if (flaw->spoil != NULL)
        flaw->spoil(w, thing);
    else if (flaw->flip != 0)
        ((struct buf *)thing)->data[flaw->at] ^= flaw->flip;
}

/* Two hosts share the log; the evidence is of the first. */
static void usual_history(struct fake_world *w)
{
    fake_start(w, 0);
    fake_start(w, 1);
    fake_log_quote(w, 0);
    fake_log_quote(w, 1);
}

struct scene {
    struct fake_world w;
    struct evidence evidence;
    struct policy policy;
    struct buf json;
    struct verify_input input;
};

static void scene_init(struct scene *s, const struct flaw *f)
{
    memset(s, 0, sizeof *s);
    flaw = f;
    fake_world_init(&s->w, hook);
    (f != NULL && f->setup != NULL ? f->setup : usual_history)(&s->w);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    struct err e = policy_parse(&s->policy, buf_bytes(&text));
    if (is_err(e))
        fail_msg("policy: %s", err_message());
    fake_evidence(&s->w, 0, &s->evidence, nonce);
    evidence_format(&s->json, &s->evidence);
    s->input = (struct verify_input){.evidence_json = buf_bytes(&s->json), .policy = &s->policy};
    memcpy(s->input.nonce, nonce, NONCE_LEN);
    memcpy(s->input.peer_spki_sha256, s->w.hosts[0].spki_sha256, SHA256_LEN);
    if (f != NULL && f->input != NULL)
        f->input(&s->w, &s->input);
}

static void scene_cleanup(struct scene *s)
{
    evidence_cleanup(&s->evidence);
    policy_cleanup(&s->policy);
    buf_cleanup(&s->json);
    fake_world_cleanup(&s->w);
    flaw = NULL;
}

static void print_verdict(const struct verdict *v)
{
    BUF_AUTO text = BUF_INIT;
    verdict_print(&text, v);
    fprintf(stderr, "%s", buf_str(&text));
}

static int first_false(const struct verdict *v)
{
    for (int i = 0; i < N_RULES; i++)
        if (v->rules[i].status == RULE_FALSE)
            return i + 1;
    return 0;
}

static bool says(const struct verdict *v, const char *part)
{
    for (size_t i = 0; i < v->n_not_proven; i++)
        if (strstr(v->not_proven[i], part) != NULL)
            return true;
    return false;
}

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
    assert_true(says(&v, "firmware event logs are not replayed"));
    assert_true(says(&v, "test root"));
    assert_false(says(&v, "GPU"));
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
    const struct flaw gpu = {.name = "gpu", .setup = on_gpu, .stage = FAKE_AK_PUBLIC, .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &gpu);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(says(&v, "GPU"));
    scene_cleanup(&s);
}

/* --- activation --- */

static struct activation_target activated;

static void target(struct fake_world *w, struct verify_input *in, unsigned ak, unsigned ek)
{
    activated = (struct activation_target){.ak_name = w->hosts[ak].ak_name};
    sha256(activated.ek_certificate, buf_bytes(&w->hosts[ek].ek_certificate));
    in->activated = &activated;
}

static void not_activated(struct fake_world *w)
{
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, false);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void activated_live(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 0, 0);
}

static void a_live_activation_replaces_activators(void **state)
{
    (void)state;
    const struct flaw live = {.name = "live", .setup = not_activated, .input = activated_live,
                              .stage = FAKE_AK_PUBLIC, .what = FAKE_STOP};
    struct scene s;
    struct verdict v;
    scene_init(&s, &live);
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

/* --- policies that weaken or strengthen --- */

static void replace_text(struct buf *text, const char *from, const char *to)
{
    BUF_AUTO out = BUF_INIT;
    const char *all = buf_str(text);
    const char *at = strstr(all, from);
    if (at == NULL)
        fail_msg("no '%s' to replace", from);
    buf_append(&out, all, (size_t)(at - all));
    buf_append_str(&out, to);
    buf_append_str(&out, at + strlen(from));
    buf_clear(text);
    buf_append_bytes(text, buf_bytes(&out));
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

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static void allow_zero_pcr_9(struct fake_world *w, void *thing)
{
    (void)w;
    buf_printf(thing, "boot-pcr 9 %s\n", zeros);
}

static void zero_pcr_9(struct fake_world *w)
{
    fake_reset(w, 0);
    memset(w->hosts[0].pcrs.values[9], 0, SHA256_LEN);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void an_empty_pcr_is_named_under_a_test_root(void **state)
{
    (void)state;
    const struct flaw empty = {.name = "zero", .stage = FAKE_POLICY, .spoil = allow_zero_pcr_9,
                               .setup = zero_pcr_9};
    struct scene s;
    struct verdict v;
    scene_init(&s, &empty);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    assert_true(says(&v, "as far as PCRs 9 show it"));
    scene_cleanup(&s);
}

static void production_and_zero(struct fake_world *w, void *thing)
{
    allow_zero_pcr_9(w, thing);
    replace_text(thing, "test-tpm-root", "tpm-root");
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

/* --- single flaws: what a hook does --- */

static void other_boot_id(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->boot_id[3] ^= 1;
}

static void other_origin(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct quote_context *)thing)->origin, "example.org/other-log");
}

static void other_head_root(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_root.bytes[0] ^= 1;
}

static void other_head_note(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_note[0] ^= 1;
}

static void no_previous(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->has_previous = false;
}

static void previous_is_another_entry(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_index--;
}

static void previous_is_another_leaf(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_leaf.bytes[5] ^= 1;
}

static void another_period(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->period++;
}

static void another_key_in_context(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->spki_sha256[0] ^= 1;
}

static void another_nonce_root(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->nonce_root.bytes[0] ^= 1;
}

static void nonce_tree_of_another_size(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->n_nonces = 8;
}

static void periodic_says_demand(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->kind = QUOTE_DEMAND;
    c->n_nonces = 1;
}

static void demand_says_periodic(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->kind = QUOTE_PERIODIC;
    c->n_nonces = 0;
}

static void set_head(struct fake_world *w, struct quote_context *c, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, size);
    c->head_size = size;
    c->head_root = merkle_root(w->leaves, size);
    sha256(c->head_note, buf_bytes(&note));
}

static void head_before_the_identity(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    c->has_previous = false;
    c->period = 0;
    set_head(w, c, w->hosts[0].identity_index);
}

static void head_before_the_logged_quote(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->hosts[0].quote_index);
}

static void only_one_quote(struct fake_world *w)
{
    fake_start(w, 0);
}

/* The live quote's head covers the logged quote, but not a host statement that came later. */
static void host_after_the_quote(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_host(w, 0, true);
}

static void head_before_the_last_host(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->n_entries - 1);
}

static void other_reset_count(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.reset_count++;
}

static void other_restart_count(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.restart_count++;
}

static void other_counter_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.counter_index++;
}

static void boot_statement_of_another_id(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.boot_id[0] ^= 1;
}

static void identity_of_another_boot(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.boot_id[0] ^= 1;
}

static void identity_of_another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.spki_sha256[0] ^= 1;
}

static void pcrs_that_were_not_quoted(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.pcrs.values[3][0] ^= 1;
}

static void ordinary_nv_index(struct fake_world *w)
{
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        w->hosts[i].counter_attributes &= ~(1u << 4);
    usual_history(w);
}

static void counter_with_a_policy_bit(struct fake_world *w)
{
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        w->hosts[i].counter_attributes |= 1u << 26; /* ORDERLY */
    usual_history(w);
}

static void activation_for_another_certificate(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct activation *)thing)->ek_certificate[0] ^= 1;
}

static void activation_for_another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct activation *)thing)->ak_name.bytes[9] ^= 1;
}

static void activation_for_another_log(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct activation *)thing)->origin, "example.org/other-log");
}

/* The operator activates itself under the activator's name. */
static void forged_activation(struct fake_world *w)
{
    struct note_key honest = w->activator.key;
    uint8_t seed[ED25519_SEED_LEN] = {99};
    if (is_err(note_signer_init(&w->activator, honest.name, NOTE_ED25519, seed)))
        fail();
    w->activator.key.id = honest.id;
    usual_history(w);
    w->activator.key = honest;
}

static void activation_by_a_stranger(struct fake_world *w)
{
    struct note_signer honest = w->activator;
    uint8_t seed[ED25519_SEED_LEN] = {98};
    if (is_err(note_signer_init(&w->activator, "stranger.example", NOTE_ED25519, seed)))
        fail();
    usual_history(w);
    w->activator = honest;
}

/* Host 0's key beside host 1's certificate: what an operator can always pair. */
static void certificate_of_another_tpm(struct fake_world *w, void *thing)
{
    struct statement *s = thing;
    fake_add_blob(w, buf_bytes(&w->hosts[1].ek_certificate));
    blob_ref_of(&s->host.ek_certificate, buf_bytes(&w->hosts[1].ek_certificate));
}

static void no_chain(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->host.n_chain = 0;
}

static void ak_without_scheme(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *b = thing; /* ..., symmetric at 10, scheme at 12, its hash at 14 */
    b->data[12] = 0;
    b->data[13] = TPM_ALG_NULL_ID;
    memmove(b->data + 14, b->data + 16, b->len - 16);
    b->len -= 2;
}

/* RSA-2048, restricted, and no scheme fixed in it. */
static void rsa_ak_without_scheme(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *b = thing;
    uint8_t modulus[256];
    memset(modulus, 0xff, sizeof modulus);
    buf_clear(b);
    buf_append(b, "\x00\x01\x00\x0b\x00\x05\x00\x72\x00\x00\x00\x10\x00\x10\x08\x00\0\0\0\0\x01\x00",
               22);
    buf_append(b, modulus, sizeof modulus);
}

static void replayed_live_quote(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->nonce[0] ^= 1;
}

static void another_peer(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->peer_spki_sha256[31] ^= 1;
}

static void activated_another_key(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 1, 0);
}

static void activated_another_certificate(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 0, 1);
}

static void no_policy(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->policy = NULL;
}

/* --- histories --- */

static void quote_of_the_boot_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    w->hosts[0].period = 1;
}

static void identity_of_the_key_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
}

/* The new key's identity is logged; the last periodic quote is of the key before. */
static void quote_of_the_key_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
}

static void extended_behind_the_log(struct fake_world *w)
{
    fake_reset(w, 0);
    w->hosts[0].pcrs.values[15][0] = 1;
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void start_with(struct fake_world *w, unsigned pcr, const char *kind)
{
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_extend(&w->hosts[0], pcr, kind, bytes_of_str("x"));
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void unknown_event(struct fake_world *w)
{
    start_with(w, PCR_IDENTITY, "backdoor");
}

static void event_after_the_cap(struct fake_world *w)
{
    start_with(w, PCR_CODE, "server-binary");
}

static void lane_of_another_log(struct fake_world *w)
{
    w->log_vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    usual_history(w);
}

static void slow_interval(struct fake_world *w)
{
    w->quote_interval_s = 301;
    usual_history(w);
}

static void pcr_changes_after_the_quote(struct fake_world *w)
{
    usual_history(w);
    memset(w->hosts[0].pcrs.values[11], 0xbb, SHA256_LEN);
}

static void allow_both_values_of_pcr_11(struct fake_world *w, void *thing)
{
    (void)w;
    buf_append_str(thing, "boot-pcr 11 ");
    for (int i = 0; i < SHA256_LEN; i++)
        buf_append_str(thing, "bb");
    buf_append_str(thing, "\n");
}

static void old_quote(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].clock_ms += 600 * 1000;
}

static void unsafe_clock(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].safe = 0;
}

static void clock_that_stands(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].clock_ms -= 2000; /* fake_evidence adds these */
}

/* --- policies --- */

static void another_model(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "model fake/model-1b ", "model fake/model-1b 0000");
    struct buf *b = thing;
    char *end = strchr(strstr(buf_str(b), "model fake/model-1b "), '\n');
    memmove(end - 4, end, strlen(end) + 1);
    b->len -= 4;
}

static void another_model_id(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "model fake/model-1b ", "model fake/model-2b ");
}

static void change_hex(struct buf *text, const char *key)
{
    char *at = strstr((char *)(uintptr_t)buf_str(text), key) + strlen(key);
    *at = *at == '0' ? '1' : '0';
}

static void another_code(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "code fake-code ");
}

static void another_root(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "test-tpm-root ");
}

static void another_pcr_0(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "boot-pcr 0 ");
}

static void short_age(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "max-age 600", "max-age 1");
}

static void no_activators(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "activators 1", "# none");
    BUF_AUTO line = BUF_INIT;
    buf_append_str(&line, "activator ");
    note_vkey_format(&line, &w->activator.key);
    replace_text(thing, buf_str(&line), "# nobody");
}

/* A log of the same name and another key. */
static void another_log_key(struct fake_world *w, void *thing)
{
    struct note_signer other;
    uint8_t seed[ED25519_SEED_LEN] = {77};
    if (is_err(note_signer_init(&other, w->log.key.name, NOTE_ED25519, seed)))
        fail();
    BUF_AUTO from = BUF_INIT, to = BUF_INIT;
    note_vkey_format(&from, &w->log.key);
    note_vkey_format(&to, &other.key);
    replace_text(thing, buf_str(&from), buf_str(&to));
}

/* --- bundles --- */

static void drop_statement(struct evidence *e, size_t i)
{
    buf_cleanup(&e->statements[i].text);
    e->n_statements--;
    memmove(&e->statements[i], &e->statements[i + 1], (e->n_statements - i) * sizeof *e->statements);
}

static void without_host(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 0);
}

static void without_boot(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 1);
}

static void without_identity(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 2);
}

static void without_quote(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 3);
}

static void add_entry(struct fake_world *w, struct evidence *e, uint64_t index)
{
    struct merkle_proof proof;
    fake_inclusion(w, &proof, index, w->n_entries);
    evidence_add_statement(e, index, buf_bytes(&w->entries[index]), &proof);
}

static void host_twice(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[0].host_index);
}

static void two_quotes(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[0].quote_index - 5);
}

static void host_of_another(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[1].host_index);
}

static void quote_of_another(struct fake_world *w, void *thing)
{
    drop_statement(thing, 3);
    add_entry(w, thing, w->hosts[1].quote_index);
}

static void blob_too_many(struct fake_world *w, void *thing)
{
    (void)w;
    evidence_add_blob(thing, bytes_of_str("left over"));
}

static void without_blob(struct evidence *e, size_t i)
{
    buf_cleanup(&e->blobs[i]);
    e->n_blobs--;
    memmove(&e->blobs[i], &e->blobs[i + 1], (e->n_blobs - i) * sizeof *e->blobs);
}

static void without_ak_public(struct fake_world *w, void *thing)
{
    (void)w;
    without_blob(thing, 0);
}

static void without_runtime_log(struct fake_world *w, void *thing)
{
    (void)w;
    struct evidence *e = thing;
    without_blob(e, e->n_blobs - 1);
}

static void head_too_many(struct fake_world *w, void *thing)
{
    BUF_AUTO note = BUF_INIT;
    struct merkle_proof proof;
    fake_checkpoint(w, &note, 1);
    fake_consistency(w, &proof, 1);
    evidence_add_head(thing, buf_bytes(&note), &proof);
}

static void head_twice(struct fake_world *w, void *thing)
{
    (void)w;
    struct evidence *e = thing;
    struct merkle_proof proof = e->heads[0].proof;
    BUF_AUTO note = BUF_INIT;
    buf_append_bytes(&note, buf_bytes(&e->heads[0].note));
    evidence_add_head(e, buf_bytes(&note), &proof);
}

static void drop_head(struct evidence *e, size_t i)
{
    buf_cleanup(&e->heads[i].note);
    e->n_heads--;
    memmove(&e->heads[i], &e->heads[i + 1], (e->n_heads - i) * sizeof *e->heads);
}

static void without_logged_head(struct fake_world *w, void *thing)
{
    (void)w;
    drop_head(thing, 0);
}

static void without_live_head(struct fake_world *w, void *thing)
{
    (void)w;
    drop_head(thing, 1);
}

static void head_not_consistent(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->heads[0].proof.hashes[0].bytes[0] ^= 1;
}

static void another_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[1].index--;
    ((struct evidence *)thing)->statements[0].index = 7;
}

static void proof_of_another(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[2].proof.hashes[0].bytes[0] ^= 1;
}

static void proof_too_long(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[2].proof.n_hashes++;
}

static void checkpoint_of_the_past(struct fake_world *w, void *thing)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->hosts[0].quote_index);
    evidence_set_checkpoint(thing, buf_bytes(&note));
}

static void checkpoint_by_another(struct fake_world *w, void *thing)
{
    struct note_signer honest = w->log;
    uint8_t seed[ED25519_SEED_LEN] = {66};
    if (is_err(note_signer_init(&w->log, honest.key.name, NOTE_ED25519, seed)))
        fail();
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    evidence_set_checkpoint(thing, buf_bytes(&note));
    w->log = honest;
}

static void another_nonce_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->nonce_index = 2;
}

static void nonce_path_too_short(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->nonce_proof.n_hashes = 1;
}

static void live_quote_is_the_logged(struct fake_world *w, void *thing)
{
    struct evidence *e = thing;
    struct merkle_proof proof = e->nonce_proof;
    evidence_set_quote(e, buf_bytes(&w->entries[w->hosts[0].quote_index]), 1, &proof);
}

static void stop_in_the_bundle(struct fake_world *w)
{
    usual_history(w);
    fake_log_stop(w, 0, 600);
}

#define BYTE(n, r, s, st, wh, offset, bits)                                                        \
    {.name = n, .rule = r, .says = s, .stage = st, .what = wh, .at = offset, .flip = bits}
#define SPOIL(n, r, s, st, wh, function)                                                           \
    {.name = n, .rule = r, .says = s, .stage = st, .what = wh, .spoil = function}
#define SETUP(n, r, s, function)                                                                   \
    {.name = n, .rule = r, .says = s, .setup = function, .stage = FAKE_POLICY, .what = FAKE_STOP}
#define INPUT(n, r, s, function)                                                                   \
    {.name = n, .rule = r, .says = s, .input = function, .stage = FAKE_POLICY, .what = FAKE_STOP}

static const struct flaw flaws[] = {
    /* 1 */
    INPUT("no policy", 1, "no policy", no_policy),
    SPOIL("no host", 1, "no host", FAKE_EVIDENCE, FAKE_DEMAND, without_host),
    SPOIL("no boot", 1, "0 statements of kind boot", FAKE_EVIDENCE, FAKE_DEMAND, without_boot),
    SPOIL("no identity", 1, "kind identity", FAKE_EVIDENCE, FAKE_DEMAND, without_identity),
    SPOIL("no quote", 1, "kind quote", FAKE_EVIDENCE, FAKE_DEMAND, without_quote),
    SPOIL("a statement twice", 1, "twice", FAKE_EVIDENCE, FAKE_DEMAND, host_twice),
    SPOIL("two quotes", 1, "kind", FAKE_EVIDENCE, FAKE_DEMAND, two_quotes),
    SPOIL("hosts mixed", 1, "another attestation key", FAKE_EVIDENCE, FAKE_DEMAND, host_of_another),
    SPOIL("quotes mixed", 1, "another attestation key", FAKE_EVIDENCE, FAKE_DEMAND, quote_of_another),
    SPOIL("a blob left over", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND, blob_too_many),
    SPOIL("a head left over", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND, head_too_many),
    SPOIL("a head twice", 1, "twice", FAKE_EVIDENCE, FAKE_DEMAND, head_twice),
    SPOIL("a head of an unknown note", 1, "left over", FAKE_CONTEXT, FAKE_DEMAND, other_head_note),
    SETUP("a stop", 1, "kind", stop_in_the_bundle),
    /* 2 */
    BYTE("AK not restricted", 2, "restricted", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x01),
    BYTE("AK decrypts", 2, "decrypt", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x02),
    BYTE("AK does not sign", 2, "sign", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x04),
    BYTE("AK not fixed to its TPM", 2, "fixedTPM", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x02),
    BYTE("AK not fixed to its parent", 2, "fixedParent", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x10),
    BYTE("AK from outside", 2, "sensitiveDataOrigin", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x20),
    BYTE("AK dies on restart", 2, "stClear", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x04),
    BYTE("AK of another curve", 2, "", FAKE_AK_PUBLIC, FAKE_HOST, 17, 0x07),
    BYTE("AK with SHA-384", 2, "neither ECDSA", FAKE_AK_PUBLIC, FAKE_HOST, 15, 0x07),
    SPOIL("AK without scheme", 2, "scheme", FAKE_AK_PUBLIC, FAKE_HOST, ak_without_scheme),
    SPOIL("RSA AK without scheme", 2, "scheme", FAKE_AK_PUBLIC, FAKE_HOST, rsa_ak_without_scheme),
    SPOIL("no AK", 2, "lacks the blob", FAKE_EVIDENCE, FAKE_DEMAND, without_ak_public),
    SPOIL("a root of nobody's", 2, "root", FAKE_POLICY, FAKE_HOST, another_root),
    SPOIL("no chain", 2, "chain", FAKE_STATEMENT, FAKE_HOST, no_chain),
    SPOIL("another TPM's certificate", 2, "another endorsement", FAKE_STATEMENT, FAKE_HOST,
          certificate_of_another_tpm),
    SPOIL("activation of another certificate", 2, "another endorsement", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_certificate),
    SPOIL("activation of another AK", 2, "another attestation key", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_key),
    SPOIL("activation for another log", 2, "another log", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_log),
    SETUP("no activation", 2, "0 have signed", not_activated),
    SETUP("a forged activation", 2, "does not verify", forged_activation),
    SETUP("a stranger's activation", 2, "0 have signed", activation_by_a_stranger),
    SPOIL("no activators", 2, "names none", FAKE_POLICY, FAKE_HOST, no_activators),
    INPUT("live activation of another AK", 2, "another attestation key", activated_another_key),
    INPUT("live activation of another EK", 2, "another endorsement", activated_another_certificate),
    /* 3 */
    BYTE("live signature", 3, "live quote", FAKE_SIGNATURE, FAKE_DEMAND, 20, 0x01),
    BYTE("logged signature", 3, "periodic quote", FAKE_SIGNATURE, FAKE_PERIODIC, 20, 0x01),
    BYTE("counter signature", 3, "boot counter", FAKE_SIGNATURE, FAKE_BOOT, 50, 0x80),
    BYTE("signature scheme", 3, "scheme", FAKE_SIGNATURE, FAKE_DEMAND, 1, 0x0c),
    BYTE("signature hash", 3, "hash", FAKE_SIGNATURE, FAKE_DEMAND, 3, 0x07),
    /* 4 */
    BYTE("live magic", 4, "not made by a TPM", FAKE_ATTEST, FAKE_DEMAND, AT_MAGIC + 3, 0x01),
    BYTE("logged magic", 4, "not made by a TPM", FAKE_ATTEST, FAKE_PERIODIC, AT_MAGIC, 0x80),
    BYTE("live type", 4, "", FAKE_ATTEST, FAKE_DEMAND, AT_TYPE + 1, 0x0c),
    BYTE("live bank", 4, "bank", FAKE_ATTEST, FAKE_DEMAND, AT_BANK + 1, 0x0f),
    BYTE("live selection lacks PCR 0", 4, "selects", FAKE_ATTEST, FAKE_DEMAND, AT_SELECT, 0x01),
    BYTE("logged selection has PCR 23", 4, "selects", FAKE_ATTEST, FAKE_PERIODIC, AT_SELECT + 2, 0x80),
    BYTE("live digest", 4, "digest", FAKE_ATTEST, FAKE_DEMAND, AT_DIGEST, 0x01),
    BYTE("safe is neither", 4, "safe", FAKE_ATTEST, FAKE_DEMAND, AT_SAFE, 0x02),
    SPOIL("live PCRs not quoted", 4, "digest", FAKE_STATEMENT, FAKE_DEMAND, pcrs_that_were_not_quoted),
    SPOIL("logged PCRs not quoted", 4, "digest", FAKE_STATEMENT, FAKE_PERIODIC,
          pcrs_that_were_not_quoted),
    /* 5 */
    BYTE("live extraData", 5, "extraData", FAKE_ATTEST, FAKE_DEMAND, AT_EXTRA + 7, 0x10),
    BYTE("logged extraData", 5, "extraData", FAKE_ATTEST, FAKE_PERIODIC, AT_EXTRA, 0x10),
    INPUT("a replayed live quote", 5, "nonce", replayed_live_quote),
    SPOIL("another nonce root", 5, "nonce", FAKE_CONTEXT, FAKE_DEMAND, another_nonce_root),
    SPOIL("another nonce count", 5, "nonce", FAKE_CONTEXT, FAKE_DEMAND, nonce_tree_of_another_size),
    SPOIL("another nonce index", 5, "nonce", FAKE_EVIDENCE, FAKE_DEMAND, another_nonce_index),
    SPOIL("nonce path too short", 5, "nonce", FAKE_EVIDENCE, FAKE_DEMAND, nonce_path_too_short),
    SPOIL("live boot id", 5, "boot id", FAKE_CONTEXT, FAKE_DEMAND, other_boot_id),
    SPOIL("logged boot id", 5, "boot id", FAKE_CONTEXT, FAKE_PERIODIC, other_boot_id),
    SPOIL("live origin", 5, "another log", FAKE_CONTEXT, FAKE_DEMAND, other_origin),
    SPOIL("logged origin", 5, "another log", FAKE_CONTEXT, FAKE_PERIODIC, other_origin),
    SPOIL("live quote of kind periodic", 5, "kind", FAKE_CONTEXT, FAKE_DEMAND, demand_says_periodic),
    SPOIL("logged quote of kind demand", 5, "kind", FAKE_CONTEXT, FAKE_PERIODIC, periodic_says_demand),
    SPOIL("the live quote is the logged", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND,
          live_quote_is_the_logged),
    SPOIL("no previous", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, no_previous),
    SPOIL("previous index", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, previous_is_another_entry),
    SPOIL("previous leaf", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, previous_is_another_leaf),
    SPOIL("period", 5, "period", FAKE_CONTEXT, FAKE_DEMAND, another_period),
    SPOIL("live head before the logged quote", 5, "does not cover", FAKE_CONTEXT, FAKE_DEMAND,
          head_before_the_logged_quote),
    SPOIL("boot statement of another id", 5, "boot id", FAKE_STATEMENT, FAKE_BOOT,
          boot_statement_of_another_id),
    SPOIL("identity of another boot", 5, "another boot", FAKE_STATEMENT, FAKE_IDENTITY,
          identity_of_another_boot),
    SETUP("a quote of the boot before", 5, "boot id", quote_of_the_boot_before),
    /* 6 */
    BYTE("live reset count", 6, "reset", FAKE_ATTEST, FAKE_DEMAND, AT_RESET + 3, 0x01),
    BYTE("logged restart count", 6, "restart", FAKE_ATTEST, FAKE_PERIODIC, AT_RESTART + 3, 0x01),
    BYTE("live firmware", 6, "firmware", FAKE_ATTEST, FAKE_DEMAND, AT_FIRMWARE + 7, 0x01),
    BYTE("counter magic", 6, "not made by a TPM", FAKE_ATTEST, FAKE_BOOT, AT_MAGIC, 0x01),
    BYTE("counter type", 6, "", FAKE_ATTEST, FAKE_BOOT, AT_TYPE + 1, 0x0c),
    BYTE("counter extraData", 6, "extraData", FAKE_ATTEST, FAKE_BOOT, AT_EXTRA, 0x01),
    BYTE("counter reset count", 6, "reset", FAKE_ATTEST, FAKE_BOOT, AT_RESET, 0x01),
    BYTE("counter offset", 6, "offset", FAKE_ATTEST, FAKE_BOOT, AT_NV_OFFSET + 1, 0x01),
    BYTE("counter name", 6, "not a counter", FAKE_ATTEST, FAKE_BOOT, AT_NV_NAME + 9, 0x01),
    SPOIL("stated reset count", 6, "reset", FAKE_STATEMENT, FAKE_BOOT, other_reset_count),
    SPOIL("stated restart count", 6, "restart", FAKE_STATEMENT, FAKE_BOOT, other_restart_count),
    SPOIL("stated counter index", 6, "not a counter", FAKE_STATEMENT, FAKE_BOOT, other_counter_index),
    SETUP("an ordinary NV index", 6, "not a counter", ordinary_nv_index),
    SETUP("an orderly counter", 6, "not a counter", counter_with_a_policy_bit),
    SETUP("an unsafe clock", 6, "not safe", unsafe_clock),
    SETUP("a clock that stands", 6, "does not advance", clock_that_stands),
    /* 7 */
    SPOIL("no runtime log", 7, "lacks the blob", FAKE_EVIDENCE, FAKE_DEMAND, without_runtime_log),
    SPOIL("live context's key", 7, "another TLS key", FAKE_CONTEXT, FAKE_DEMAND,
          another_key_in_context),
    SPOIL("logged context's key", 7, "another TLS key", FAKE_CONTEXT, FAKE_PERIODIC,
          another_key_in_context),
    SPOIL("identity of another key", 7, "another key", FAKE_STATEMENT, FAKE_IDENTITY,
          identity_of_another_key),
    SETUP("an identity before the last key", 7, "PCR 15", identity_of_the_key_before),
    SETUP("a quote before the last key", 7, "PCR 15", quote_of_the_key_before),
    SETUP("extended behind the log", 7, "PCR 15", extended_behind_the_log),
    SETUP("an unknown event", 7, "backdoor", unknown_event),
    SETUP("an event after the cap", 7, "PCR 14", event_after_the_cap),
    SETUP("too slow", 7, "interval", slow_interval),
    SPOIL("another model", 7, "model", FAKE_POLICY, FAKE_HOST, another_model),
    SPOIL("another model id", 7, "model id", FAKE_POLICY, FAKE_HOST, another_model_id),
    SPOIL("another code", 7, "code", FAKE_POLICY, FAKE_HOST, another_code),
    /* 8 */
    SPOIL("a boot PCR", 8, "PCR 0", FAKE_POLICY, FAKE_HOST, another_pcr_0),
    {.name = "a boot PCR between the quotes", .rule = 8, .says = "differs", .stage = FAKE_POLICY,
     .spoil = allow_both_values_of_pcr_11, .setup = pcr_changes_after_the_quote},
    {.name = "an empty PCR under a production root", .rule = 8, .says = "zero",
     .stage = FAKE_POLICY, .spoil = production_and_zero, .setup = zero_pcr_9},
    /* 10 */
    SETUP("a lane of another log", 10, "another log", lane_of_another_log),
    SPOIL("another log key", 10, "another log", FAKE_POLICY, FAKE_HOST, another_log_key),
    SPOIL("a checkpoint by another", 10, "checkpoint", FAKE_EVIDENCE, FAKE_DEMAND,
          checkpoint_by_another),
    SPOIL("a checkpoint of the past", 10, "", FAKE_EVIDENCE, FAKE_DEMAND, checkpoint_of_the_past),
    SPOIL("another index", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, another_index),
    SPOIL("another proof", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, proof_of_another),
    SPOIL("a proof too long", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, proof_too_long),
    SPOIL("no logged head", 10, "missing", FAKE_EVIDENCE, FAKE_DEMAND, without_logged_head),
    SPOIL("no live head", 10, "missing", FAKE_EVIDENCE, FAKE_DEMAND, without_live_head),
    SPOIL("an inconsistent head", 10, "", FAKE_EVIDENCE, FAKE_DEMAND, head_not_consistent),
    SPOIL("another head root", 10, "signed note", FAKE_CONTEXT, FAKE_DEMAND, other_head_root),
    {.name = "logged head before the identity", .rule = 10, .says = "does not cover the identity",
     .stage = FAKE_CONTEXT, .what = FAKE_PERIODIC, .spoil = head_before_the_identity,
     .setup = only_one_quote},
    {.name = "live head before a host statement", .rule = 10, .says = "does not cover the host",
     .stage = FAKE_CONTEXT, .what = FAKE_DEMAND, .spoil = head_before_the_last_host,
     .setup = host_after_the_quote},
    SETUP("an old quote", 10, "602 s old", old_quote),
    SPOIL("a short age", 10, "old", FAKE_POLICY, FAKE_HOST, short_age),
    /* 11 */
    INPUT("another peer", 11, "peer", another_peer),
};

static bool refused_by_its_rule(const struct flaw *f)
{
    struct scene s;
    struct verdict v;
    scene_init(&s, f);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    int rule = first_false(&v);
    bool good = rule == f->rule && strstr(v.rules[rule - 1].text, f->says) != NULL;
    if (!good) {
        print_verdict(&v);
        print_error("%s: rule %d must be false and say '%s'\n", f->name, f->rule, f->says);
    }
    assert_int_equal(v.outcome, OUTCOME_FALSE);
    assert_int_equal(v.n_proven, 0);
    for (int i = rule; i < N_RULES; i++)
        assert_int_equal(v.rules[i].status, RULE_NOT_CHECKED);
    scene_cleanup(&s);
    return good;
}

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    size_t n_wrong = 0;
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++)
        n_wrong += !refused_by_its_rule(&flaws[i]);
    assert_int_equal(n_wrong, 0);
    print_message("%zu flaws, each refused by its rule\n", sizeof flaws / sizeof *flaws);
}

/* xorshift64*: the same positions in every run. */
static uint64_t next(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * 0x2545f4914f6cdd1d;
}

static void refuses_every_flipped_bit(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s, NULL);
    uint64_t seed = 20240607;
    for (int i = 0; i < 2000; i++) {
        size_t at = next(&seed) % s.json.len;
        uint8_t bit = (uint8_t)(1 << next(&seed) % 8);
        struct verdict v;
        s.json.data[at] ^= bit;
        assert_false(is_err(verify_evidence(&v, &s.input)));
        if (v.outcome != OUTCOME_FALSE)
            fail_msg("byte %zu ^ 0x%02x is believed", at, bit);
        s.json.data[at] ^= bit;
    }
    scene_cleanup(&s);
}

static void refuses_every_cut(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s, NULL);
    for (size_t len = 0; len < s.json.len; len += 97) {
        struct verdict v;
        s.input.evidence_json.len = len;
        assert_false(is_err(verify_evidence(&v, &s.input)));
        assert_int_equal(first_false(&v), 1);
    }
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
        cmocka_unit_test(says_that_gpu_memory_is_not_attested),
        cmocka_unit_test(a_live_activation_replaces_activators),
        cmocka_unit_test(the_activation_target_is_the_evidences),
        cmocka_unit_test(an_ignored_pcr_makes_no_proof),
        cmocka_unit_test(an_empty_pcr_is_named_under_a_test_root),
        cmocka_unit_test(a_production_root_is_no_test),
        cmocka_unit_test(refuses_each_single_flaw),
        cmocka_unit_test(refuses_every_flipped_bit),
        cmocka_unit_test(refuses_every_cut),
        cmocka_unit_test(whitespace_changes_nothing),
        cmocka_unit_test(the_printed_verdict_fits_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
