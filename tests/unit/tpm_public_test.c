/* Public areas: parsed whole or refused; an attestation key is one only with all its attributes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_make.h"

static EVP_PKEY *p256, *p384, *rsa;

static int make_keys(void **state)
{
    (void)state;
    p256 = EVP_EC_gen("prime256v1");
    p384 = EVP_EC_gen("secp384r1");
    rsa = EVP_RSA_gen(2048);
    return p256 != NULL && p384 != NULL && rsa != NULL ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(rsa);
    return 0;
}

static enum err_code parse_code(struct bytes data)
{
    struct tpm_public p;
    struct err e = tpm_public_parse(&p, data);
    if (!is_err(e))
        tpm_public_cleanup(&p);
    return e.code;
}

static void accepts_keys_of_each_kind_and_recomputes_their_names(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {p256, p384, rsa};
    for (size_t i = 0; i < 3; i++) {
        BUF_AUTO data = BUF_INIT;
        make_public(&data, keys[i], keys[i] == rsa ? &rsassa_ak : &ecdsa_ak);
        struct tpm_public p;
        assert_false(is_err(tpm_public_parse(&p, buf_bytes(&data))));
        assert_int_equal(EVP_PKEY_eq(p.key, keys[i]), 1);
        uint8_t digest[SHA256_LEN];
        sha256(digest, buf_bytes(&data));
        assert_int_equal(p.name.len, TPM_NAME_SHA256_LEN);
        assert_memory_equal(p.name.bytes, "\x00\x0b", 2);
        assert_memory_equal(p.name.bytes + 2, digest, SHA256_LEN);
        assert_false(is_err(tpm_public_check_ak(&p)));
        tpm_public_cleanup(&p);
    }
}

static void agrees_with_the_names_that_a_tpm_computed(void **state)
{
    (void)state;
    const char *publics[] = {swtpm_ak_public, swtpm_ek_public};
    const char *names[] = {swtpm_ak_name, swtpm_ek_name};
    for (size_t i = 0; i < 2; i++) {
        BUF_AUTO data = BUF_INIT, name = BUF_INIT;
        from_hex(&data, publics[i]);
        from_hex(&name, names[i]);
        struct tpm_public p;
        assert_false(is_err(tpm_public_parse(&p, buf_bytes(&data))));
        assert_true(bytes_equal(bytes_of(p.name.bytes, p.name.len), buf_bytes(&name)));
        assert_int_equal(is_err(tpm_public_check_ak(&p)), i == 1); /* the second decrypts */
        tpm_public_cleanup(&p);
    }
}

static void refuses_every_truncation_and_a_byte_more(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {p256, rsa};
    for (size_t i = 0; i < 2; i++) {
        BUF_AUTO data = BUF_INIT;
        make_public(&data, keys[i], keys[i] == rsa ? &rsassa_ak : &ecdsa_ak);
        for (size_t len = 0; len < data.len; len++)
            assert_int_equal(parse_code(bytes_of(data.data, len)), ERR_MALFORMED);
        buf_append_u8(&data, 0);
        assert_int_equal(parse_code(buf_bytes(&data)), ERR_MALFORMED);
    }
}

struct flaw {
    const char *what;
    size_t offset; /* of a u16 */
    uint16_t value;
    enum err_code code;
};

static void check_flaws(EVP_PKEY *key, const struct public_shape *shape, const struct flaw *flaws,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO data = BUF_INIT;
        make_public(&data, key, shape);
        data.data[flaws[i].offset] = (uint8_t)(flaws[i].value >> 8);
        data.data[flaws[i].offset + 1] = (uint8_t)flaws[i].value;
        enum err_code code = parse_code(buf_bytes(&data));
        if (code != flaws[i].code)
            fail_msg("%s: %s", flaws[i].what, err_code_name(code));
    }
}

/* type 0, name 2, attributes 4, policy 8, symmetric 10, scheme 12, hash 14, then the parameters. */
static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    static const struct flaw ecc[] = {
        {"a symmetric key", 0, 0x0025, ERR_UNSUPPORTED},
        {"SHA-1 as name algorithm", 2, TPM_ALG_SHA1_ID, ERR_UNSUPPORTED},
        {"reserved attribute bits", 4, 0x8000, ERR_MALFORMED},
        {"a policy longer than the rest", 8, 0xffff, ERR_MALFORMED},
        {"Camellia", 10, 0x0026, ERR_UNSUPPORTED},
        {"ECDAA", 12, 0x001a, ERR_UNSUPPORTED},
        {"an RSA scheme", 12, TPM_ALG_RSASSA_ID, ERR_UNSUPPORTED},
        {"SHA-1 as scheme hash", 14, TPM_ALG_SHA1_ID, ERR_UNSUPPORTED},
        {"P-521", 16, 5, ERR_UNSUPPORTED},
        {"P-384 with short coordinates: not on that curve", 16, TPM_ECC_P384, ERR_MALFORMED},
        {"a KDF", 18, 0x0020, ERR_UNSUPPORTED},
        {"x that is not on the curve", 22, 0x0001, ERR_MALFORMED},
    };
    check_flaws(p256, &ecdsa_ak, ecc, sizeof ecc / sizeof *ecc);
    static const struct flaw rsa_flaws[] = {
        {"an ECC scheme", 12, TPM_ALG_ECDSA_ID, ERR_UNSUPPORTED},
        {"1024 bits", 16, 1024, ERR_UNSUPPORTED},
        {"3072 bits said, 2048 given", 16, 3072, ERR_MALFORMED},
        {"exponent 3", 20, 3, ERR_UNSUPPORTED},
        {"a modulus with a leading zero", 24, 0x0001, ERR_MALFORMED},
        {"an even modulus", 24 + 254, 0x0000, ERR_MALFORMED},
    };
    check_flaws(rsa, &rsassa_ak, rsa_flaws, sizeof rsa_flaws / sizeof *rsa_flaws);
    BUF_AUTO large = BUF_INIT;
    for (size_t i = 0; i <= TPM_PUBLIC_MAX; i++)
        buf_append_u8(&large, 0);
    assert_int_equal(parse_code(buf_bytes(&large)), ERR_MALFORMED);
}

static void takes_an_attestation_key_only_with_every_attribute(void **state)
{
    (void)state;
    static const uint32_t bits[] = {
        TPMA_FIXED_TPM, TPMA_FIXED_PARENT, TPMA_SENSITIVE_DATA_ORIGIN, TPMA_RESTRICTED, TPMA_SIGN,
        TPMA_DECRYPT,   TPMA_ST_CLEAR,
    };
    static const char *const names[] = {
        "fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign",
        "decrypt",  "stClear",
    };
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        struct public_shape shape = ecdsa_ak;
        shape.attributes ^= bits[i];
        struct tpm_public p = parse_public(p256, &shape);
        assert_int_equal(tpm_public_check_ak(&p).code, ERR_UNTRUE);
        assert_non_null(strstr(err_message(), names[i]));
        tpm_public_cleanup(&p);
    }
    static const struct public_shape no_scheme = {TPM_ALG_SHA256_ID, TPM_ALG_NULL_ID, 0,
                                                  AK_ATTRIBUTES};
    static const struct public_shape ecdh = {TPM_ALG_SHA256_ID, TPM_ALG_ECDH_ID, TPM_ALG_SHA256_ID,
                                             AK_ATTRIBUTES};
    const struct public_shape *shapes[] = {&no_scheme, &ecdh};
    for (size_t i = 0; i < 2; i++) {
        struct tpm_public p = parse_public(p256, shapes[i]);
        assert_int_equal(tpm_public_check_ak(&p).code, ERR_UNTRUE);
        assert_non_null(strstr(err_message(), "scheme"));
        tpm_public_cleanup(&p);
    }
}

static void a_failed_parse_leaves_the_output_alone(void **state)
{
    (void)state;
    struct tpm_public p = {.type = 0x5a5a};
    assert_true(is_err(tpm_public_parse(&p, (struct bytes){0})));
    assert_int_equal(p.type, 0x5a5a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_keys_of_each_kind_and_recomputes_their_names),
        cmocka_unit_test(agrees_with_the_names_that_a_tpm_computed),
        cmocka_unit_test(refuses_every_truncation_and_a_byte_more),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(takes_an_attestation_key_only_with_every_attribute),
        cmocka_unit_test(a_failed_parse_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
