/* Signatures by attestation keys: vectors that others made, then one flaw at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_make.h"

/* One Wycheproof file: how its signatures become a TPMT_SIGNATURE. */
struct suite {
    const char *file;
    struct public_shape shape;
};

static EVP_PKEY *key_of_group(const json_t *group)
{
    const char *pem = json_string_value(json_object_get(group, "publicKeyPem"));
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return key;
}

/* r and s of a DER signature, if they fit the TPM's fields: the DER is canonical, both are positive
 * and of at most 32 bytes. */
static bool ecdsa_to_tpm(struct buf *out, uint16_t hash, struct bytes der)
{
    const uint8_t *at = der.data;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)der.len);
    uint8_t *again = NULL;
    int len = sig != NULL ? i2d_ECDSA_SIG(sig, &again) : 0;
    bool fits = sig != NULL && bytes_equal(der, bytes_of(again, (size_t)len)) &&
                !BN_is_negative(ECDSA_SIG_get0_r(sig)) && !BN_is_negative(ECDSA_SIG_get0_s(sig)) &&
                BN_num_bytes(ECDSA_SIG_get0_r(sig)) <= 32 &&
                BN_num_bytes(ECDSA_SIG_get0_s(sig)) <= 32;
    if (fits)
        make_ecdsa_signature(out, hash, sig, 32);
    OPENSSL_free(again);
    ECDSA_SIG_free(sig);
    return fits;
}

/* False if the vector cannot be said in a TPMT_SIGNATURE; it must then be an invalid one. */
static bool run_case(const struct tpm_public *ak, const struct suite *suite, const json_t *test)
{
    BUF_AUTO message = BUF_INIT, value = BUF_INIT, signature = BUF_INIT;
    from_hex(&message, json_string_value(json_object_get(test, "msg")));
    from_hex(&value, json_string_value(json_object_get(test, "sig")));
    const char *result = json_string_value(json_object_get(test, "result"));
    if (ak->type == TPM_ALG_RSA_ID) {
        make_rsa_signature(&signature, ak->scheme, ak->scheme_hash, buf_bytes(&value));
    } else if (!ecdsa_to_tpm(&signature, ak->scheme_hash, buf_bytes(&value))) {
        assert_string_equal(result, "invalid");
        return false;
    }
    /* The vectors are for salts of 32 bytes; the longest, 222, is what many TPMs make. */
    const char *comment = json_string_value(json_object_get(test, "comment"));
    if (ak->scheme == TPM_ALG_RSAPSS_ID && strcmp(comment, "s_len changed to 222") == 0)
        result = "valid";
    struct err e = tpm_signature_verify(ak, buf_bytes(&signature), buf_bytes(&message));
    if (strcmp(result, "acceptable") != 0 && is_err(e) != (strcmp(result, "invalid") == 0))
        fail_msg("%s case %d: %s, but %s", suite->file,
                 (int)json_integer_value(json_object_get(test, "tcId")), result,
                 is_err(e) ? err_message() : "accepted");
    return true;
}

/* Returns the number of vectors run. */
static size_t run_suite(const struct suite *suite)
{
    char path[512]; /* skip leaves without running cleanups */
    snprintf(path, sizeof path, "%s/%s", BL_SHARED_DIR, suite->file);
    json_t *all = json_load_file(path, 0, NULL);
    if (all == NULL)
        skip();
    size_t n = 0, i, k;
    json_t *group, *test;
    json_array_foreach(json_object_get(all, "testGroups"), i, group)
    {
        EVP_PKEY *key = key_of_group(group);
        BUF_AUTO data = BUF_INIT;
        make_public(&data, key, &suite->shape);
        EVP_PKEY_free(key);
        struct tpm_public ak;
        struct err e = tpm_public_parse(&ak, buf_bytes(&data));
        if (e.code == ERR_UNSUPPORTED) /* an RSA key with exponent 3 */
            continue;
        assert_false(is_err(e));
        json_array_foreach(json_object_get(group, "tests"), k, test) n +=
            run_case(&ak, suite, test);
        tpm_public_cleanup(&ak);
    }
    json_decref(all);
    return n;
}

static void agrees_with_wycheproof_on_ecdsa_p256(void **state)
{
    (void)state;
    static const struct suite suite = {
        "vectors/wycheproof/ecdsa_secp256r1_sha256_test.json",
        {TPM_ALG_SHA256_ID, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID, AK_ATTRIBUTES},
    };
    assert_true(run_suite(&suite) > 200);
}

static void agrees_with_wycheproof_on_rsa_pkcs1(void **state)
{
    (void)state;
    static const struct suite suite = {
        "vectors/wycheproof/rsa_signature_2048_sha256_test.json",
        {TPM_ALG_SHA256_ID, TPM_ALG_RSASSA_ID, TPM_ALG_SHA256_ID, AK_ATTRIBUTES},
    };
    assert_true(run_suite(&suite) > 200);
}

static void agrees_with_wycheproof_on_rsa_pss(void **state)
{
    (void)state;
    static const struct suite suite = {
        "vectors/wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json",
        {TPM_ALG_SHA256_ID, TPM_ALG_RSAPSS_ID, TPM_ALG_SHA256_ID, AK_ATTRIBUTES},
    };
    assert_true(run_suite(&suite) > 100);
}

static struct bytes message(void)
{
    return bytes_of_str("what was signed");
}

static void accepts_each_scheme_and_hash_and_no_other_message(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_EC_gen("prime256v1"), EVP_EC_gen("secp384r1"), EVP_RSA_gen(2048)};
    static const uint16_t schemes[3][2] = {{TPM_ALG_ECDSA_ID, TPM_ALG_ECDSA_ID},
                                           {TPM_ALG_ECDSA_ID, TPM_ALG_ECDSA_ID},
                                           {TPM_ALG_RSASSA_ID, TPM_ALG_RSAPSS_ID}};
    static const uint16_t hashes[] = {TPM_ALG_SHA256_ID, TPM_ALG_SHA384_ID, TPM_ALG_SHA512_ID};
    for (size_t i = 0; i < 18; i++) {
        struct public_shape shape = ecdsa_ak;
        shape.scheme = schemes[i % 3][i / 3 % 2];
        shape.scheme_hash = hashes[i / 6];
        struct tpm_public ak = parse_public(keys[i % 3], &shape);
        BUF_AUTO signature = BUF_INIT;
        make_signature(&signature, keys[i % 3], shape.scheme, shape.scheme_hash, message());
        assert_false(is_err(tpm_signature_verify(&ak, buf_bytes(&signature), message())));
        assert_int_equal(
            tpm_signature_verify(&ak, buf_bytes(&signature), bytes_of_str("another")).code,
            ERR_UNTRUE);
        tpm_public_cleanup(&ak);
    }
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(keys[i]);
}

static void refuses_every_truncation_a_byte_more_and_any_changed_byte(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("prime256v1");
    struct tpm_public ak = parse_public(key, &ecdsa_ak);
    BUF_AUTO s = BUF_INIT;
    make_signature(&s, key, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID, message());
    for (size_t len = 0; len < s.len; len++)
        assert_int_equal(tpm_signature_verify(&ak, bytes_of(s.data, len), message()).code,
                         ERR_MALFORMED);
    for (size_t i = 0; i < s.len; i++) {
        s.data[i] ^= 1;
        assert_true(is_err(tpm_signature_verify(&ak, buf_bytes(&s), message())));
        s.data[i] ^= 1;
    }
    buf_append_u8(&s, 0);
    assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&s), message()).code, ERR_MALFORMED);
    tpm_public_cleanup(&ak);
    EVP_PKEY_free(key);
}

static void takes_a_pss_salt_of_the_digests_length_or_the_longest(void **state)
{
    (void)state;
    static const struct {
        int salt_len;
        enum err_code code;
    } cases[] = {{32, ERR_NONE},
                 {256 - 32 - 2, ERR_NONE},
                 {0, ERR_UNTRUE},
                 {20, ERR_UNTRUE},
                 {33, ERR_UNTRUE}};
    struct public_shape shape = rsassa_ak;
    shape.scheme = TPM_ALG_RSAPSS_ID;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    struct tpm_public ak = parse_public(key, &shape);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t value[256];
        size_t len = sizeof value;
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        EVP_PKEY_CTX *ctx = NULL;
        assert_int_equal(EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, key), 1);
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, cases[i].salt_len);
        assert_int_equal(EVP_DigestSign(md, value, &len, message().data, message().len), 1);
        EVP_MD_CTX_free(md);
        BUF_AUTO s = BUF_INIT;
        make_rsa_signature(&s, shape.scheme, shape.scheme_hash, bytes_of(value, len));
        assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&s), message()).code, cases[i].code);
    }
    tpm_public_cleanup(&ak);
    EVP_PKEY_free(key);
}

/* The key decides: what the signature says of its scheme and hash must be the key's own. */
static void refuses_a_scheme_or_hash_that_is_not_the_keys(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_RSA_gen(2048), *ec = EVP_EC_gen("prime256v1");
    struct tpm_public ak = parse_public(key, &rsassa_ak);
    static const uint16_t others[][2] = {{TPM_ALG_RSAPSS_ID, TPM_ALG_SHA256_ID},
                                         {TPM_ALG_RSASSA_ID, TPM_ALG_SHA384_ID}};
    for (size_t i = 0; i < 2; i++) {
        BUF_AUTO s = BUF_INIT;
        make_signature(&s, key, others[i][0], others[i][1], message());
        assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&s), message()).code, ERR_UNTRUE);
    }
    BUF_AUTO s = BUF_INIT;
    make_signature(&s, ec, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID, message());
    assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&s), message()).code, ERR_UNTRUE);
    s.data[0] = 0;
    s.data[1] = TPM_ALG_RSASSA_ID;
    s.data[3] = TPM_ALG_SHA1_ID; /* SHA-1: refused before anything is computed */
    assert_int_equal(tpm_signature_verify(&ak, buf_bytes(&s), message()).code, ERR_UNTRUE);
    tpm_public_cleanup(&ak);

    struct public_shape none = {TPM_ALG_SHA256_ID, TPM_ALG_NULL_ID, 0, AK_ATTRIBUTES};
    struct tpm_public unfixed = parse_public(ec, &none);
    BUF_AUTO good = BUF_INIT;
    make_signature(&good, ec, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID, message());
    assert_int_equal(tpm_signature_verify(&unfixed, buf_bytes(&good), message()).code, ERR_UNTRUE);
    tpm_public_cleanup(&unfixed);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_wycheproof_on_ecdsa_p256),
        cmocka_unit_test(agrees_with_wycheproof_on_rsa_pkcs1),
        cmocka_unit_test(agrees_with_wycheproof_on_rsa_pss),
        cmocka_unit_test(accepts_each_scheme_and_hash_and_no_other_message),
        cmocka_unit_test(refuses_every_truncation_a_byte_more_and_any_changed_byte),
        cmocka_unit_test(takes_a_pss_salt_of_the_digests_length_or_the_longest),
        cmocka_unit_test(refuses_a_scheme_or_hash_that_is_not_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
