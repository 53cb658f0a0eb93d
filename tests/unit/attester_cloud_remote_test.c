/*
 * A host whose attestation key its cloud has certified, and whose log somebody else keeps: its TPM
 * shows by a quote that the key is there, and a log service admits what it says.
 */
#include "tests/unit/remote_scene.h"

#include "attest/admission.h"
#include "tests/unit/cloud_tpm.h"

static struct policy admits;

/* The blobs that a submission brought, and those that the log has. */
static struct err blob_of(void *context, const struct blob_ref *ref, struct buf *out)
{
    const struct log_submission *s = context;
    for (size_t i = 0; i < s->n_host_blobs + s->n_blobs; i++) {
        struct bytes blob = i < s->n_host_blobs ? s->host_blobs[i] : s->blobs[i - s->n_host_blobs];
        uint8_t hash[SHA256_LEN];
        sha256(hash, blob);
        if (memcmp(hash, ref->sha256, SHA256_LEN) != 0)
            continue;
        buf_append_bytes(out, blob);
        return err_ok();
    }
    return store_blob_read(logs[0], ref->sha256, out);
}

/* The host's answer to a nonce, as the service gets it. */
static struct err challenge(const struct asked *q, const uint8_t nonce[32], struct buf *attest,
                            struct buf *signature)
{
    struct channel_frame f;
    BUF_AUTO memory = BUF_INIT;
    OK(channel_send(host.publisher_peer, CHANNEL_POSSESS, q->id, bytes_of(nonce, 32)));
    OK(channel_receive(host.publisher_peer, &f, &memory));
    assert_int_equal(f.id, q->id);
    if (f.type == CHANNEL_ERROR)
        return channel_error_decode(f.payload);
    assert_int_equal(f.type, CHANNEL_POSSESSED);
    struct reader r = reader_of(f.payload);
    buf_append_bytes(attest, read_prefixed_u16be(&r));
    buf_append_bytes(signature, read_prefixed_u16be(&r));
    assert_true(reader_done(&r));
    return err_ok();
}

static void shows_its_key(const struct admission *a, const struct asked *q)
{
    struct activation_target target = {0};
    uint8_t nonce[32], extra[SHA256_LEN];
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    random_bytes(nonce, sizeof nonce);
    OK(challenge(q, nonce, &attest, &signature));
    OK(admission_target(&target, a));
    assert_null(target.ek);
    possession_extra(extra, bytes_of(nonce, 32), &target.ak_name, SHARED,
                     q->request.submission.spki_sha256);
    OK(admission_check_possession(a, buf_bytes(&attest), buf_bytes(&signature), extra));
    nonce[0] ^= 1; /* and to no other */
    possession_extra(extra, bytes_of(nonce, 32), &target.ak_name, SHARED,
                     q->request.submission.spki_sha256);
    assert_true(
        is_err(admission_check_possession(a, buf_bytes(&attest), buf_bytes(&signature), extra)));
}

/* The policy of a service: what is measured, and the cloud's root. */
static void service_policy(struct policy *out)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nquorum none\nrelease none\nmax-interval 3600\n"
                          "max-age 3600\n");
    OK(attester_policy_lines(&host.options, true, &text));
    OK(measurement_policy_lines(&text, &host.measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

static void is_admitted(enum ak_profile profile)
{
    const char *chain[] = {root_path};
    struct admission *a = NULL;
    unsigned n_quotes = 0;
    host.options.ak_certified = true;
    host.options.ak_profile = profile;
    host.options.ek_chain = chain;
    host.options.n_ek_chain = 1;
    service_policy(&admits);
    start();
    while (n_quotes < 2) {
        struct asked *q = next_request();
        if (!q->submitted) {
            reply(q, TRUTH);
            continue;
        }
        struct log_submission *s = &q->request.submission;
        if (a == NULL) {
            OK(admission_new(&a, &admits, s->host, blob_of, s));
            shows_its_key(a, q);
        }
        OK(admission_check(a, s->statement, blob_of, s));
        n_quotes += q->statement.kind == STATEMENT_QUOTE;
        reply(q, TRUTH);
    }
    POLICY_AUTO asks = {0};
    client_policy(&asks);
    struct asked *q = next_request();
    host_verify(&host, &asks, false);
    reply(q, TRUTH);
    die();
    admission_free(a);
    policy_cleanup(&admits);
}

static void a_log_admits_the_key_that_google_certified(void **state)
{
    (void)state;
    lay_out_google();
    is_admitted(AK_PROFILE_GCP);
}

static void a_log_admits_the_key_that_azure_certified(void **state)
{
    (void)state;
    lay_out_azure();
    is_admitted(AK_PROFILE_AZURE);
}

/* It would say nothing of the EK that its host statement names. */
static void a_key_without_a_certificate_answers_no_nonce(void **state)
{
    (void)state;
    uint8_t nonce[32] = {0};
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    start();
    struct asked *q = next_request();
    assert_int_equal(challenge(q, nonce, &attest, &signature).code, ERR_UNSUPPORTED);
    reply(q, TRUTH);
    serve_to_a_quote();
    die();
}

static int begin(void **state)
{
    root_key = EVP_EC_gen("prime256v1");
    if (setup(state) != 0)
        return -1;
    make_root();
    return 0;
}

static int end(void **state)
{
    EVP_PKEY_free(root_key);
    return teardown(state);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_log_admits_the_key_that_google_certified),
        TEST(a_log_admits_the_key_that_azure_certified),
        TEST(a_key_without_a_certificate_answers_no_nonce),
    };
    software_tpm_skip_where_absent();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
