/*
 * Credentials and activations: the RSA credential is opened here with the private key, step by step
 * as a TPM does; texts are compared with golden ones. A real TPM opens them in
 * credential_live_test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "attest/credential.h"
#include "attest/kdf.h"
#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_make.h"

static struct tpm_name some_name(void)
{
    BUF_AUTO bytes = BUF_INIT;
    from_hex(&bytes, swtpm_ak_name);
    struct tpm_name name = {.len = bytes.len};
    memcpy(name.bytes, bytes.data, bytes.len);
    return name;
}

/* The seed that only the private key gives: OAEP with the label "IDENTITY" and its NUL. */
static void open_seed(uint8_t seed[256], EVP_PKEY *ek, struct bytes secret)
{
    struct reader r = reader_of(secret);
    struct bytes encrypted = read_prefixed_u16be(&r);
    assert_true(reader_done(&r));
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256());
    EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_memdup("IDENTITY", 9), 9);
    size_t len = 256;
    assert_int_equal(EVP_PKEY_decrypt(ctx, seed, &len, encrypted.data, encrypted.len), 1);
    assert_int_equal(len, 32);
    EVP_PKEY_CTX_free(ctx);
}

static void an_rsa_credential_opens_with_the_private_key(void **state)
{
    (void)state;
    EVP_PKEY *ek = EVP_RSA_gen(2048);
    struct tpm_name name = some_name();
    struct bytes ak = bytes_of(name.bytes, name.len), none = {0};
    struct credential c;
    assert_false(is_err(credential_make(&c, ek, &name)));
    uint8_t seed[256], key[16], hmac_key[32], mac[32], plain[34];
    open_seed(seed, ek, buf_bytes(&c.secret));
    assert_false(is_err(kdf_a(key, 16, EVP_sha256(), bytes_of(seed, 32), "STORAGE", ak, none)));
    assert_false(
        is_err(kdf_a(hmac_key, 32, EVP_sha256(), bytes_of(seed, 32), "INTEGRITY", none, none)));
    struct reader r = reader_of(buf_bytes(&c.id_object));
    struct bytes object = read_prefixed_u16be(&r);
    assert_true(reader_done(&r));
    r = reader_of(object);
    struct bytes told_mac = read_prefixed_u16be(&r);
    struct bytes identity = read_bytes(&r, reader_left(&r));
    BUF_AUTO signed_bytes = BUF_INIT;
    buf_append_bytes(&signed_bytes, identity);
    buf_append_bytes(&signed_bytes, ak);
    HMAC(EVP_sha256(), hmac_key, 32, signed_bytes.data, signed_bytes.len, mac, NULL);
    assert_true(bytes_equal(told_mac, bytes_of(mac, 32)));
    static const uint8_t iv[16];
    int len = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_DecryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv);
    assert_int_equal(identity.len, sizeof plain);
    EVP_DecryptUpdate(ctx, plain, &len, identity.data, (int)identity.len);
    EVP_CIPHER_CTX_free(ctx);
    assert_memory_equal(plain, "\x00\x20", 2);
    assert_memory_equal(plain + 2, c.value, CREDENTIAL_VALUE_LEN);
    credential_cleanup(&c);
    EVP_PKEY_free(ek);
}

static void each_credential_has_a_fresh_value(void **state)
{
    (void)state;
    EVP_PKEY *ek = EVP_EC_gen("prime256v1");
    struct tpm_name name = some_name();
    struct credential a, b;
    assert_false(is_err(credential_make(&a, ek, &name)));
    assert_false(is_err(credential_make(&b, ek, &name)));
    assert_memory_not_equal(a.value, b.value, CREDENTIAL_VALUE_LEN);
    assert_false(bytes_equal(buf_bytes(&a.secret), buf_bytes(&b.secret)));
    assert_int_equal(a.secret.len, 2 + 2 * (2 + 32));
    credential_cleanup(&a);
    credential_cleanup(&b);
    EVP_PKEY_free(ek);
}

static void other_endorsement_keys_are_not_supported(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {EVP_EC_gen("secp521r1"), EVP_RSA_gen(1024),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    struct tpm_name name = some_name();
    for (size_t i = 0; i < 3; i++) {
        struct credential c;
        assert_int_equal(credential_make(&c, keys[i], &name).code, ERR_UNSUPPORTED);
        EVP_PKEY_free(keys[i]);
    }
}

/* The number was computed with Python over the bytes of docs/FORMATS.md section 5. */
static void the_answer_is_the_hash_of_section_5(void **state)
{
    (void)state;
    uint8_t value[32], spki[32], answer[32];
    memset(value, 0x11, sizeof value);
    memset(spki, 0x22, sizeof spki);
    struct tpm_name name = some_name();
    activation_answer(answer, bytes_of(value, 32), &name, "example.com/log", spki);
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(answer, 32));
    assert_string_equal(buf_str(&hex),
                        "a1cc633bb0255fc451d055062061dcd09cd8e85393629f7bd12a825c6ecde0c2");
}

static const char golden[] =
    "blindllama-activation/v1\n"
    "ek-certificate 2222222222222222222222222222222222222222222222222222222222222222\n"
    "ak-name 000b5ff6652b7ad16f467a9d5cea2208847cd42c8ed38dea6f369e4d380604c028fb\n"
    "origin example.com/log\n"
    "time 1750000000\n";

static void formats_the_golden_activation_and_reads_it_back(void **state)
{
    (void)state;
    struct activation a = {
        .ak_name = some_name(), .origin = "example.com/log", .time_s = 1750000000};
    memset(a.ek_certificate, 0x22, SHA256_LEN);
    BUF_AUTO text = BUF_INIT, again = BUF_INIT;
    activation_format(&text, &a);
    assert_string_equal(buf_str(&text), golden);
    struct activation b;
    assert_false(is_err(activation_parse(&b, buf_bytes(&text))));
    activation_format(&again, &b);
    assert_string_equal(buf_str(&again), golden);
}

static void refuses_an_activation_with_one_flaw(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *reason;
    } flaws[] = {
        {"activation/v1", "activation/v2", "line 1"},
        {"ek-certificate 22", "ek-certificate 2", "line 2"},
        {"ek-certificate 22", "ek-certificate 2A", "line 2"},
        {"ak-name 000b", "ak-name 0004", "line 3"},
        {"ak-name 000b", "ak-name 000b00", "line 3"},
        {"origin example", "origin exa mple", "line 4"},
        {"origin", "Origin", "line 4"},
        {"time 1", "time 01", "line 5"},
        {"time 1", "time  1", "line 5"},
        {"1750000000\n", "1750000000", "line 5"},
        {"1750000000\n", "1750000000\n\n", "line 6"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        const char *at = strstr(golden, flaws[i].from);
        BUF_AUTO text = BUF_INIT;
        buf_append(&text, golden, (size_t)(at - golden));
        buf_append_str(&text, flaws[i].to);
        buf_append_str(&text, at + strlen(flaws[i].from));
        struct activation a;
        assert_int_equal(activation_parse(&a, buf_bytes(&text)).code, ERR_MALFORMED);
        if (strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("'%s' does not say '%s'", err_message(), flaws[i].reason);
    }
    for (size_t len = 0; len < sizeof golden - 1; len++) {
        struct activation a;
        assert_int_equal(activation_parse(&a, bytes_of(golden, len)).code, ERR_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_rsa_credential_opens_with_the_private_key),
        cmocka_unit_test(each_credential_has_a_fresh_value),
        cmocka_unit_test(other_endorsement_keys_are_not_supported),
        cmocka_unit_test(the_answer_is_the_hash_of_section_5),
        cmocka_unit_test(formats_the_golden_activation_and_reads_it_back),
        cmocka_unit_test(refuses_an_activation_with_one_flaw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
