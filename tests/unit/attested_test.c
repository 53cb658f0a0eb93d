/* What a TPM signs: real quotes parse and hold, forged ones are refused for the right reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_make.h"

#define QUOTES "tpmdata/quotes/"

/* tpm2-tools' PCR file: selections, then per bank digests of a fixed size with their lengths. What
 * is read here: the values that `select` names, in a file whose only bank is SHA-256. */
static void pcr_file_values(struct buf *out, struct bytes file, size_t n_values)
{
    /* TPML_PCR_SELECTION in host layout (16 entries of 8 bytes), then the count of digest lists,
     * then each list: count (4 bytes), then 8 digests of 2 + 64 bytes. */
    const size_t lists_at = 4 + 16 * 8 + 4;
    for (size_t i = 0; i < n_values; i++)
        buf_append(out, file.data + lists_at + 4 + (i / 8) * (4 + 8 * 66) + (i % 8) * 66 + 2, 32);
}

static void check_sizes(const struct attested *a, uint8_t s0, uint8_t s1, uint8_t s2)
{
    const uint8_t select[3] = {s0, s1, s2};
    struct err e = attested_check_selection(a, TPM_ALG_SHA256_ID, select);
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void accepts_a_quote_by_a_cloud_tpm(void **state)
{
    (void)state;
    BUF_AUTO msg = BUF_INIT, sig = BUF_INIT, pcrs = BUF_INIT, nonce_hex = BUF_INIT;
    EVP_PKEY *key = shared_key(QUOTES "azure-trusted-launch-2026/ak.pub");
    if (key == NULL)
        skip();
    assert_false(is_err(shared_file(&msg, QUOTES "azure-trusted-launch-2026/quote.msg")));
    assert_false(is_err(shared_file(&sig, QUOTES "azure-trusted-launch-2026/quote.sig")));
    assert_false(is_err(shared_file(&pcrs, QUOTES "azure-trusted-launch-2026/pcrs.bin")));
    assert_false(is_err(shared_file(&nonce_hex, QUOTES "azure-trusted-launch-2026/nonce.hex")));
    struct attested a;
    assert_false(is_err(attested_parse(&a, buf_bytes(&msg))));
    assert_int_equal(a.type, ATTESTED_QUOTE);
    assert_true(a.clock_ms == 1755682 && a.firmware == 0x2020031200120004);
    assert_int_equal(a.reset_count, 3);
    assert_int_equal(a.restart_count, 0);
    assert_int_equal(a.safe, 1);
    check_sizes(&a, 0xff, 0, 0);

    struct tpm_public ak = parse_public(key, &rsassa_ak);
    BUF_AUTO signature = BUF_INIT, values = BUF_INIT, nonce = BUF_INIT;
    make_rsa_signature(&signature, TPM_ALG_RSASSA_ID, TPM_ALG_SHA256_ID, buf_bytes(&sig));
    assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&signature), buf_bytes(&msg))));
    from_hex(&nonce, buf_str(&nonce_hex));
    assert_false(is_err(attested_check_extra(&a, buf_bytes(&nonce))));
    pcr_file_values(&values, buf_bytes(&pcrs), 8);
    assert_false(is_err(attested_check_digest(&a, &ak, buf_bytes(&values))));
    values.data[0] ^= 1;
    assert_int_equal(attested_check_digest(&a, &ak, buf_bytes(&values)).code, ERR_UNTRUE);
    nonce.data[31] ^= 1;
    assert_int_equal(attested_check_extra(&a, buf_bytes(&nonce)).code, ERR_UNTRUE);
    msg.data[80] ^= 1;
    assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&signature), buf_bytes(&msg)).code,
                     ERR_UNTRUE);
    tpm_public_cleanup(&ak);
    EVP_PKEY_free(key);
}

static void accepts_a_quote_by_swtpm_as_keylime_tests_it(void **state)
{
    (void)state;
    BUF_AUTO msg = BUF_INIT, sig = BUF_INIT, nonce = BUF_INIT, pcrs = BUF_INIT, values = BUF_INIT;
    EVP_PKEY *key = shared_key(QUOTES "keylime-checkquote/ak.pem");
    if (key == NULL)
        skip();
    assert_false(is_err(shared_file(&msg, QUOTES "keylime-checkquote/quote.msg")));
    assert_false(is_err(shared_file(&sig, QUOTES "keylime-checkquote/quote.sig.tpmt")));
    assert_false(is_err(shared_file(&nonce, QUOTES "keylime-checkquote/nonce.txt")));
    assert_false(is_err(shared_file(&pcrs, QUOTES "keylime-checkquote/quote.pcrs")));
    struct tpm_public ak = parse_public(key, &rsassa_ak);
    struct attested a;
    assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&sig), buf_bytes(&msg))));
    assert_false(is_err(attested_parse(&a, buf_bytes(&msg))));
    check_sizes(&a, 0, 0, 1);
    assert_false(is_err(attested_check_extra(&a, buf_bytes(&nonce))));
    pcr_file_values(&values, buf_bytes(&pcrs), 1);
    assert_false(is_err(attested_check_digest(&a, &ak, buf_bytes(&values))));
    /* Another host's key over the same message. */
    EVP_PKEY *other = shared_key(QUOTES "azure-trusted-launch-2026/ak.pub");
    struct tpm_public wrong = parse_public(other, &rsassa_ak);
    assert_int_equal(tpm_signature_verify(&wrong, buf_bytes(&sig), buf_bytes(&msg)).code,
                     ERR_UNTRUE);
    tpm_public_cleanup(&wrong);
    tpm_public_cleanup(&ak);
    EVP_PKEY_free(other);
    EVP_PKEY_free(key);
}

/* The code that the first of parse, selection, digest and extraData refuses with. */
static enum err_code judge(struct bytes msg, const struct tpm_public *ak, struct bytes values)
{
    static const uint8_t select[3] = {0x03, 0, 0}; /* PCRs 0 and 1 */
    static const uint8_t nonce[] = {0xab, 0xc1, 0x23};
    struct attested a;
    struct err e = attested_parse(&a, msg);
    if (!is_err(e))
        e = attested_check_selection(&a, TPM_ALG_SHA256_ID, select);
    if (!is_err(e))
        e = attested_check_digest(&a, ak, values);
    if (!is_err(e))
        e = attested_check_extra(&a, bytes_of(nonce, sizeof nonce));
    return e.code;
}

static void refuses_validly_signed_forgeries(void **state)
{
    (void)state;
    static const struct {
        const char *msg, *sig;
        enum err_code code;
        const char *reason;
    } cases[] = {
        {"good.msg", "good.sig", ERR_NONE, ""},
        {"badmagic.msg", "badmagic.sig", ERR_UNTRUE, "magic 0xdeadbeef"},
        {"badtype.msg", "badtype.sig", ERR_UNSUPPORTED, "type 0x8017"},
        {"sel_7_8.msg", "sel_7_8.sig", ERR_UNTRUE, "selects PCRs 800100"},
        {"trail.msg", NULL, ERR_MALFORMED, "5 bytes are left over"},
    };
    EVP_PKEY *key = shared_key(QUOTES "negative-forged/ak.pem");
    if (key == NULL)
        skip();
    struct tpm_public ak = parse_public(key, &rsassa_ak);
    BUF_AUTO values = BUF_INIT;
    assert_false(is_err(shared_file(&values, QUOTES "negative-forged/pcr.bin")));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_AUTO path = BUF_INIT, msg = BUF_INIT, sig_path = BUF_INIT, sig = BUF_INIT;
        assert_false(
            is_err(shared_file(&msg, path_join(&path, QUOTES "negative-forged", cases[i].msg))));
        if (cases[i].sig != NULL) {
            assert_false(is_err(
                shared_file(&sig, path_join(&sig_path, QUOTES "negative-forged", cases[i].sig))));
            assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&sig), buf_bytes(&msg))));
        }
        assert_int_equal(judge(buf_bytes(&msg), &ak, buf_bytes(&values)), cases[i].code);
        if (cases[i].code != ERR_NONE)
            assert_non_null(strstr(err_message(), cases[i].reason));
    }
    tpm_public_cleanup(&ak);
    EVP_PKEY_free(key);
}

static struct tpm_public swtpm_key(void)
{
    BUF_AUTO data = BUF_INIT;
    from_hex(&data, swtpm_ak_public);
    struct tpm_public ak;
    assert_false(is_err(tpm_public_parse(&ak, buf_bytes(&data))));
    return ak;
}

static void checks_a_quote_over_pcrs_0_to_15_one_flaw_at_a_time(void **state)
{
    (void)state;
    struct tpm_public ak = swtpm_key();
    BUF_AUTO msg = BUF_INIT, sig = BUF_INIT;
    from_hex(&msg, swtpm_quote);
    from_hex(&sig, swtpm_quote_signature);
    assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&sig), buf_bytes(&msg))));
    struct attested a;
    assert_false(is_err(attested_parse(&a, buf_bytes(&msg))));
    struct pcr_values pcrs = {0};
    uint8_t extra[SHA256_LEN];
    memset(extra, 1, sizeof extra);
    assert_false(is_err(attested_check_quote(&a, &ak, &pcrs, extra)));

    for (size_t i = 0; i < N_PCRS; i++) {
        pcrs.values[i][31] ^= 1;
        assert_int_equal(attested_check_quote(&a, &ak, &pcrs, extra).code, ERR_UNTRUE);
        pcrs.values[i][31] ^= 1;
    }
    extra[0] ^= 1;
    assert_int_equal(attested_check_quote(&a, &ak, &pcrs, extra).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "extraData"));
    extra[0] ^= 1;
    struct attested flawed = a;
    flawed.extra_data.len = 31;
    assert_int_equal(attested_check_quote(&flawed, &ak, &pcrs, extra).code, ERR_UNTRUE);
    flawed = a;
    flawed.pcr_bank = TPM_ALG_SHA1_ID;
    assert_int_equal(attested_check_quote(&flawed, &ak, &pcrs, extra).code, ERR_UNTRUE);
    flawed = a;
    flawed.pcr_select[2] = 1; /* one PCR more */
    assert_int_equal(attested_check_quote(&flawed, &ak, &pcrs, extra).code, ERR_UNTRUE);
    flawed = a;
    flawed.type = ATTESTED_NV;
    assert_int_equal(attested_check_quote(&flawed, &ak, &pcrs, extra).code, ERR_UNTRUE);
    /* The digest is made with the hash of the key's scheme. */
    ak.scheme_hash = TPM_ALG_SHA384_ID;
    assert_int_equal(attested_check_quote(&a, &ak, &pcrs, extra).code, ERR_UNTRUE);
    tpm_public_cleanup(&ak);
}

static void reads_a_certified_counter(void **state)
{
    (void)state;
    struct tpm_public ak = swtpm_key();
    BUF_AUTO msg = BUF_INIT, sig = BUF_INIT;
    from_hex(&msg, swtpm_nv);
    from_hex(&sig, swtpm_nv_signature);
    assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&sig), buf_bytes(&msg))));
    struct attested a;
    assert_false(is_err(attested_parse(&a, buf_bytes(&msg))));
    assert_int_equal(a.type, ATTESTED_NV);
    assert_int_equal(a.nv_offset, 0);
    assert_int_equal(a.nv_contents.len, 8);
    assert_int_equal(a.nv_contents.data[7], 1);
    assert_int_equal(a.nv_name.len, TPM_NAME_SHA256_LEN);
    assert_int_equal(a.extra_data.data[31], 2);
    tpm_public_cleanup(&ak);
}

static void refuses_every_truncation_and_a_byte_more(void **state)
{
    (void)state;
    const char *whole[] = {swtpm_quote, swtpm_nv};
    for (size_t i = 0; i < 2; i++) {
        BUF_AUTO msg = BUF_INIT;
        from_hex(&msg, whole[i]);
        struct attested a = {.type = 7};
        for (size_t len = 0; len < msg.len; len++)
            assert_int_equal(attested_parse(&a, bytes_of(msg.data, len)).code, ERR_MALFORMED);
        buf_append_u8(&msg, 0);
        assert_int_equal(attested_parse(&a, buf_bytes(&msg)).code, ERR_MALFORMED);
        assert_int_equal(a.type, 7); /* untouched */
    }
}

/* Offsets in swtpm_quote: signer's length 6, extraData's 42, safe 92, selections' count 101, bank
 * 105, selection's length 107, digest's length 111. */
static void refuses_one_changed_field_at_a_time(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        enum err_code code;
        const char *reason;
    } flaws[] = {
        {0, 0xfe, ERR_UNTRUE, "magic"},
        {5, 0x17, ERR_UNSUPPORTED, "type"},
        {7, 0xff, ERR_MALFORMED, "signer"},
        {43, 0x43, ERR_MALFORMED, "extraData"},
        {92, 2, ERR_MALFORMED, "safe"},
        {104, 2, ERR_MALFORMED, "2 PCR selections"},
        {104, 0, ERR_MALFORMED, "0 PCR"},
        {107, 4, ERR_MALFORMED, "selection of 4"},
        {107, 2, ERR_MALFORMED, "selection of 2"},
        {112, 0x41, ERR_MALFORMED, "digest"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        BUF_AUTO msg = BUF_INIT;
        from_hex(&msg, swtpm_quote);
        msg.data[flaws[i].at] = flaws[i].value;
        struct attested a;
        assert_int_equal(attested_parse(&a, buf_bytes(&msg)).code, flaws[i].code);
        if (strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("'%s' does not say '%s'", err_message(), flaws[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_quote_by_a_cloud_tpm),
        cmocka_unit_test(accepts_a_quote_by_swtpm_as_keylime_tests_it),
        cmocka_unit_test(refuses_validly_signed_forgeries),
        cmocka_unit_test(checks_a_quote_over_pcrs_0_to_15_one_flaw_at_a_time),
        cmocka_unit_test(reads_a_certified_counter),
        cmocka_unit_test(refuses_every_truncation_and_a_byte_more),
        cmocka_unit_test(refuses_one_changed_field_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
