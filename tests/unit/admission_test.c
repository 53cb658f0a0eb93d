/* What a log service admits: a host's statements in their order, and none that is of another host,
 * spoilt, out of order or of another log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "attest/admission.h"
#include "fake_host.h"
#include "fake_internal.h"

struct scene {
    struct fake_world w;
    struct policy policy;
    struct admission *a;
};

static struct err blobs(void *context, const struct blob_ref *ref, struct buf *out)
{
    BUF_AUTO bytes = BUF_INIT;
    TRY(fake_blob(context, ref->sha256, &bytes));
    if (ref->size != BLOB_SIZE_UNKNOWN)
        TRY(blob_ref_check(ref, buf_bytes(&bytes)));
    buf_append_bytes(out, buf_bytes(&bytes));
    return err_ok();
}

static struct bytes entry(struct scene *s, uint64_t index)
{
    return buf_bytes(&s->w.entries[index]);
}

static struct err check(struct scene *s, uint64_t index)
{
    return admission_check(s->a, entry(s, index), blobs, &s->w);
}

static void begin(struct scene *s, fake_hook *hook)
{
    memset(s, 0, sizeof *s);
    fake_world_init(&s->w, hook);
}

/* What the world has measured is in its policy. */
static void start(struct scene *s)
{
    fake_start(&s->w, 0);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    assert_false(is_err(policy_parse(&s->policy, buf_bytes(&text))));
}

/* The world's first host, up to its first quote; the service knows its host statement. */
static void begin_started(struct scene *s, fake_hook *hook)
{
    begin(s, hook);
    start(s);
    struct err e =
        admission_new(&s->a, &s->policy, entry(s, s->w.hosts[0].host_index), blobs, &s->w);
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void end(struct scene *s)
{
    admission_free(s->a);
    policy_cleanup(&s->policy);
    fake_world_cleanup(&s->w);
}

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void refused(struct err e, const char *reason)
{
    if (!is_err(e) || strstr(err_message(), reason) == NULL)
        fail_msg("'%s' does not say '%s'", is_err(e) ? err_message() : "admitted", reason);
}

static void admits_a_history_in_its_order(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    const struct fake_host *h = &s.w.hosts[0];
    must(check(&s, h->host_index));
    must(check(&s, h->boot_index));
    must(check(&s, h->identity_index));
    must(check(&s, h->quote_index));
    must(check(&s, fake_log_quote(&s.w, 0)));
    fake_new_key(&s.w, 0);
    must(check(&s, fake_log_identity(&s.w, 0)));
    must(check(&s, fake_log_quote(&s.w, 0)));
    must(check(&s, fake_log_stop(&s.w, 0, 600)));
    fake_start(&s.w, 0); /* the next boot */
    must(check(&s, h->boot_index));
    must(check(&s, h->identity_index));
    must(check(&s, h->quote_index));
    end(&s);
}

static void says_whom_to_challenge(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    struct activation_target target = {0};
    must(admission_target(&target, s.a));
    assert_int_equal(EVP_PKEY_eq(target.ek, s.w.hosts[0].ek), 1);
    assert_memory_equal(target.ak_name.bytes, s.w.hosts[0].ak_name.bytes, target.ak_name.len);
    EVP_PKEY_free(target.ek);
    end(&s);
}

enum possession {
    POSSESSED,
    BY_ANOTHER_KEY,
    OVER_ANOTHER_NONCE,
    A_COUNTER_READING,
    OF_FEWER_PCRS,
    NOT_BY_A_TPM,
    CUT,
    N_POSSESSIONS
};

static struct err possess(struct scene *s, enum possession how)
{
    struct fake_host *h = &s->w.hosts[0];
    uint8_t wanted[SHA256_LEN] = {1}, quoted[SHA256_LEN] = {1};
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    quoted[0] = how == OVER_ANOTHER_NONCE ? 2 : 1;
    (how == A_COUNTER_READING ? fake_attest_counter : fake_attest_quote)(&attest, h, quoted);
    attest.data[AT_SELECT] ^= how == OF_FEWER_PCRS ? 1 : 0;
    attest.data[AT_MAGIC] ^= how == NOT_BY_A_TPM ? 1 : 0;
    attest.len -= how == CUT ? 1 : 0;
    fake_sign(&signature, how == BY_ANOTHER_KEY ? s->w.hosts[1].ak : h->ak, buf_bytes(&attest));
    return admission_check_possession(s->a, buf_bytes(&attest), buf_bytes(&signature), wanted);
}

static void a_key_with_a_certificate_of_its_own_is_shown_by_a_fresh_quote_alone(void **state)
{
    (void)state;
    static const char *const types[] = {"EC", "RSA"};
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        struct activation_target target = {0};
        begin(&s, NULL);
        fake_certify(&s.w, 1, types[i]);
        fake_certify(&s.w, 0, types[i]);
        start(&s);
        must(admission_new(&s.a, &s.policy, entry(&s, s.w.hosts[0].host_index), blobs, &s.w));
        must(admission_target(&target, s.a));
        assert_null(target.ek);
        for (int how = 0; how < N_POSSESSIONS; how++)
            if (is_err(possess(&s, (enum possession)how)) != (how != POSSESSED))
                fail_msg("%s, %d: %s", types[i], how, err_message());
        end(&s);
    }
}

static void refuses_statements_of_another_host(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    fake_start(&s.w, 1);
    const struct fake_host *other = &s.w.hosts[1];
    refused(check(&s, other->host_index), "another attestation key");
    refused(check(&s, other->boot_index), "another attestation key");
    refused(check(&s, other->identity_index), "another attestation key");
    refused(check(&s, other->quote_index), "another attestation key");
    refused(check(&s, fake_log_stop(&s.w, 1, 60)), "another attestation key");
    end(&s);
}

static void refuses_what_comes_out_of_its_order(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    const struct fake_host *h = &s.w.hosts[0];
    uint64_t later = fake_log_quote(&s.w, 0);
    refused(check(&s, h->quote_index), "no boot and identity");
    refused(check(&s, h->identity_index), "no boot statement");
    must(check(&s, h->boot_index));
    refused(check(&s, h->boot_index), "does not go up");
    refused(check(&s, h->quote_index), "no boot and identity");
    must(check(&s, h->identity_index));
    must(check(&s, later));
    refused(check(&s, later), "clock does not advance");
    refused(check(&s, later - 1), "clock does not advance");
    end(&s);
}

static void refuses_a_boot_by_the_counter_of_an_earlier_one(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    uint64_t first = s.w.hosts[0].boot_index;
    fake_start(&s.w, 0);
    must(check(&s, s.w.hosts[0].boot_index));
    refused(check(&s, first), "does not go up");
    must(check(&s, s.w.hosts[0].identity_index)); /* the refusal has changed nothing */
    end(&s);
}

static void refuses_lanes_that_name_another_log(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, NULL);
    s.w.log_vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    start(&s);
    must(admission_new(&s.a, &s.policy, entry(&s, s.w.hosts[0].host_index), blobs, &s.w));
    must(check(&s, s.w.hosts[0].boot_index));
    refused(check(&s, s.w.hosts[0].identity_index), "names another log");
    end(&s);
}

static void refuses_a_model_that_the_policy_does_not_name(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, NULL);
    start(&s);
    s.policy.models[0].sha256[0] ^= 1;
    must(admission_new(&s.a, &s.policy, entry(&s, s.w.hosts[0].host_index), blobs, &s.w));
    must(check(&s, s.w.hosts[0].boot_index));
    refused(check(&s, s.w.hosts[0].identity_index), "rule 7, LANES");
    end(&s);
}

static void head_of_another_size(struct fake_world *w, enum fake_stage stage, enum fake_what what,
                                 void *thing)
{
    (void)w;
    if (stage == FAKE_CONTEXT && what == FAKE_PERIODIC)
        ((struct quote_context *)thing)->head_size++;
}

static void refuses_a_head_that_this_log_did_not_sign(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, head_of_another_size);
    must(check(&s, s.w.hosts[0].boot_index));
    must(check(&s, s.w.hosts[0].identity_index));
    refused(check(&s, s.w.hosts[0].quote_index), "rule 10, LOG");
    end(&s);
}

/* max-duration is the operator's word; nothing else in these texts can change. */
static void refuses_every_flipped_bit_of_what_is_signed(void **state)
{
    (void)state;
    struct scene s;
    begin_started(&s, NULL);
    struct fake_host *h = &s.w.hosts[0];
    uint64_t order[] = {h->boot_index, h->identity_index, h->quote_index};
    for (size_t i = 0; i < 3; i++) {
        BUF_AUTO text = BUF_INIT;
        buf_append_bytes(&text, entry(&s, order[i]));
        for (size_t bit = 0; bit < text.len * 8; bit++) {
            text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (!is_err(admission_check(s.a, buf_bytes(&text), blobs, &s.w)))
                fail_msg("statement %zu: byte %zu, bit %zu", i, bit / 8, bit % 8);
            text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        must(check(&s, order[i]));
    }
    end(&s);
}

static void refuses_a_host_statement_without_its_blobs_or_root(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, NULL);
    start(&s);
    struct bytes host = entry(&s, s.w.hosts[0].host_index);
    struct fake_world empty = {.n_blobs = 0};
    refused(admission_new(&s.a, &s.policy, host, blobs, &empty), "rule 2, AK");
    refused(admission_new(&s.a, &s.policy, entry(&s, s.w.hosts[0].boot_index), blobs, &s.w),
            "not with a boot");
    s.policy.roots[0].sha256[0] ^= 1;
    refused(admission_new(&s.a, &s.policy, host, blobs, &s.w), "rule 2, AK");
    end(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(admits_a_history_in_its_order),
        cmocka_unit_test(says_whom_to_challenge),
        cmocka_unit_test(a_key_with_a_certificate_of_its_own_is_shown_by_a_fresh_quote_alone),
        cmocka_unit_test(refuses_statements_of_another_host),
        cmocka_unit_test(refuses_what_comes_out_of_its_order),
        cmocka_unit_test(refuses_a_boot_by_the_counter_of_an_earlier_one),
        cmocka_unit_test(refuses_lanes_that_name_another_log),
        cmocka_unit_test(refuses_a_model_that_the_policy_does_not_name),
        cmocka_unit_test(refuses_a_head_that_this_log_did_not_sign),
        cmocka_unit_test(refuses_every_flipped_bit_of_what_is_signed),
        cmocka_unit_test(refuses_a_host_statement_without_its_blobs_or_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
