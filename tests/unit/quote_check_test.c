/* A quote on its own: keys, signatures and PCR values in the forms that tools write, and every
 * forgery refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "attest/ak_file.h"
#include "attest/quote_check.h"
#include "common/text.h"
#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_data.h"
#include "tests/unit/tpm_make.h"

enum { N_KEYS = 4 };

static EVP_PKEY *rsa, *p256, *p384;
static json_t *expected;

/* The bytes of a quote_input. */
struct material {
    struct buf ak, attest, signature, pcrs, nonce;
    struct quote_input in;
};

static void material_cleanup(struct material *m)
{
    buf_cleanup(&m->ak);
    buf_cleanup(&m->attest);
    buf_cleanup(&m->signature);
    buf_cleanup(&m->pcrs);
    buf_cleanup(&m->nonce);
}
#define MATERIAL_AUTO __attribute__((cleanup(material_cleanup))) struct material

static struct err judge(struct quote_facts *facts, struct material *m)
{
    m->in.ak = buf_bytes(&m->ak);
    m->in.attest = buf_bytes(&m->attest);
    m->in.signature = buf_bytes(&m->signature);
    m->in.pcrs = buf_bytes(&m->pcrs);
    m->in.nonce = buf_bytes(&m->nonce);
    return quote_check(facts, &m->in);
}

static void accepts(struct material *m)
{
    struct quote_facts facts;
    if (is_err(judge(&facts, m)))
        fail_msg("%s", err_message());
}

static void refuses(struct material *m, enum err_code code, const char *reason)
{
    struct quote_facts facts;
    struct err e = judge(&facts, m);
    if (strstr(err_message(), reason) == NULL)
        fail_msg("'%s' does not say '%s'", err_message(), reason);
    assert_int_equal(e.code, code);
}

/* TPMS_ATTEST of a quote, as a TPM lays it out. */
static void make_attest(struct buf *out, uint16_t bank, const uint8_t select[3], const EVP_MD *md,
                        struct bytes values, struct bytes nonce)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    assert_int_equal(EVP_Digest(values.data, values.len, digest, &len, md, NULL), 1);
    buf_append_u32be(out, 0xff544347);
    buf_append_u16be(out, ATTESTED_QUOTE);
    buf_append_u16be(out, 0);
    buf_append_u16be(out, (uint16_t)nonce.len);
    buf_append_bytes(out, nonce);
    buf_append(out, "\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\1\0\0\0\0\0\0\0\4", 25);
    buf_append_u32be(out, 1);
    buf_append_u16be(out, bank);
    buf_append_u8(out, 3);
    buf_append(out, select, 3);
    buf_append_u16be(out, (uint16_t)len);
    buf_append(out, digest, len);
}

/* A quote over PCRs 0, 1 and 23 by `key`, which is a public area of that shape. */
static void make(struct material *m, EVP_PKEY *key, const struct public_shape *shape)
{
    *m = (struct material){
        .in = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID), .select = {0x03, 0x00, 0x80}}};
    for (uint8_t i = 0; i < 96; i++)
        buf_append_u8(&m->pcrs, i);
    buf_append_str(&m->nonce, "a nonce");
    make_public(&m->ak, key, shape);
    make_attest(&m->attest, TPM_ALG_SHA256_ID, m->in.select, tpm_hash(shape->scheme_hash),
                buf_bytes(&m->pcrs), buf_bytes(&m->nonce));
    make_signature(&m->signature, key, shape->scheme, shape->scheme_hash, buf_bytes(&m->attest));
}

static const struct public_shape pss_ak = {TPM_ALG_SHA256_ID, TPM_ALG_RSAPSS_ID, TPM_ALG_SHA256_ID,
                                           AK_ATTRIBUTES};
static const struct public_shape p384_ak = {TPM_ALG_SHA384_ID, TPM_ALG_ECDSA_ID, TPM_ALG_SHA384_ID,
                                            AK_ATTRIBUTES};

static void make_nth(struct material *m, size_t i)
{
    EVP_PKEY *keys[N_KEYS] = {rsa, rsa, p256, p384};
    const struct public_shape *shapes[N_KEYS] = {&rsassa_ak, &pss_ak, &ecdsa_ak, &p384_ak};
    make(m, keys[i], shapes[i]);
}

static void replace(struct buf *b, struct bytes with)
{
    struct buf copy = BUF_INIT;
    buf_append_bytes(&copy, with);
    buf_cleanup(b);
    *b = copy;
}

static void to_tpm2b(struct buf *ak)
{
    BUF_AUTO both = BUF_INIT;
    buf_append_u16be(&both, (uint16_t)ak->len);
    buf_append_bytes(&both, buf_bytes(ak));
    replace(ak, buf_bytes(&both));
}

static void to_pem(struct buf *ak, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long len = BIO_get_mem_data(bio, &text);
    replace(ak, bytes_of(text, (size_t)len));
    BIO_free(bio);
}

static void accepts_each_kind_of_key_in_each_form(void **state)
{
    (void)state;
    EVP_PKEY *keys[N_KEYS] = {rsa, rsa, p256, p384};
    for (size_t i = 0; i < N_KEYS; i++) {
        MATERIAL_AUTO m;
        make_nth(&m, i);
        accepts(&m);
        to_tpm2b(&m.ak);
        accepts(&m);
        to_pem(&m.ak, keys[i]);
        accepts(&m);
    }
}

/* What follows the scheme and hash, for RSA without its length. */
static void to_raw_rsa(struct buf *signature)
{
    replace(signature, bytes_of(signature->data + 6, signature->len - 6));
}

static void to_raw_ecdsa(struct buf *signature, size_t len)
{
    BUF_AUTO both = BUF_INIT;
    buf_append(&both, signature->data + 6, len);
    buf_append(&both, signature->data + 8 + len, len);
    replace(signature, buf_bytes(&both));
}

static void to_der(struct buf *signature, size_t len)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    uint8_t *der = NULL;
    ECDSA_SIG_set0(sig, BN_bin2bn(signature->data, (int)len, NULL),
                   BN_bin2bn(signature->data + len, (int)len, NULL));
    int der_len = i2d_ECDSA_SIG(sig, &der);
    replace(signature, bytes_of(der, (size_t)der_len));
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
}

static void accepts_raw_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KEYS; i++) {
        MATERIAL_AUTO m;
        make_nth(&m, i);
        size_t len = i == 2 ? 32 : 48;
        if (i < 2)
            to_raw_rsa(&m.signature);
        else
            to_raw_ecdsa(&m.signature, len);
        accepts(&m);
        if (i >= 2) {
            to_der(&m.signature, len);
            accepts(&m);
            buf_append_u8(&m.signature, 0);
            refuses(&m, ERR_MALFORMED, "not one ECDSA signature in DER");
        }
    }
}

/* PEM fixes no scheme: a raw signature is taken as RSASSA or ECDSA, never guessed further. */
static void takes_raw_signatures_of_pem_keys_as_the_usual_scheme(void **state)
{
    (void)state;
    MATERIAL_AUTO usual, pss;
    make(&usual, rsa, &rsassa_ak);
    to_pem(&usual.ak, rsa);
    to_raw_rsa(&usual.signature);
    accepts(&usual);
    make(&pss, rsa, &pss_ak);
    to_pem(&pss.ak, rsa);
    to_raw_rsa(&pss.signature);
    refuses(&pss, ERR_UNTRUE, "not the attestation key's");
}

static void append_le(struct buf *out, uint32_t v, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_append_u8(out, (uint8_t)(v >> 8 * i));
}

/* The file that tpm2_quote --pcr writes. */
static void make_pcr_file(struct buf *out, uint16_t alg, const uint8_t select[3],
                          struct bytes values, size_t len)
{
    static const uint8_t zero[128];
    append_le(out, 1, 4);
    append_le(out, alg, 2);
    append_le(out, 3, 1);
    buf_append(out, select, 3);
    buf_append(out, zero, 2 + 15 * 8);
    size_t n = values.len / len, at = 0;
    append_le(out, (uint32_t)(n + 7) / 8, 4);
    while (at < n) {
        uint32_t in_list = n - at < 8 ? (uint32_t)(n - at) : 8;
        append_le(out, in_list, 4);
        for (uint32_t i = 0; i < 8; i++) {
            bool used = i < in_list;
            append_le(out, used ? (uint32_t)len : 0, 2);
            if (used)
                buf_append(out, values.data + (at + i) * len, len);
            buf_append(out, zero, used ? 64 - len : 64);
        }
        at += in_list;
    }
}

static void accepts_pcr_values_as_tpm2_tools_write_them(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    BUF_AUTO file = BUF_INIT;
    make_pcr_file(&file, TPM_ALG_SHA256_ID, m.in.select, buf_bytes(&m.pcrs), 32);
    replace(&m.pcrs, buf_bytes(&file));
    accepts(&m);
    m.pcrs.data[4] = TPM_ALG_SHA384_ID;
    refuses(&m, ERR_UNTRUE, "bank 0x000c");
    m.pcrs.data[4] = TPM_ALG_SHA256_ID;
    m.pcrs.data[7] = 0x13; /* PCR 4 beside a quote of 0, 1 and 23 */
    refuses(&m, ERR_UNTRUE, "it holds PCRs 130080");
    m.pcrs.data[7] = 0x03;
    buf_append_u8(&m.pcrs, 0);
    refuses(&m, ERR_MALFORMED, "669 bytes where 3 PCRs");
}

static void reads_pcr_files_of_all_24_pcrs(void **state)
{
    (void)state;
    const struct pcr_bank *bank = pcr_bank_of(TPM_ALG_SHA384_ID);
    const uint8_t all[3] = {0xff, 0xff, 0xff};
    BUF_AUTO values = BUF_INIT, file = BUF_INIT, out = BUF_INIT;
    for (size_t i = 0; i < 24 * 48; i++)
        buf_append_u8(&values, (uint8_t)(i * 7));
    make_pcr_file(&file, bank->alg, all, buf_bytes(&values), 48);
    assert_false(is_err(pcr_file_parse(&out, buf_bytes(&file), bank, all)));
    assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&values)));
    for (size_t len = 0; len < file.len; len++)
        assert_int_equal(is_err(pcr_file_parse(&out, bytes_of(file.data, len), bank, all)),
                         len != 24 * 48);
}

static void refuses_a_changed_pcr_value(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    m.pcrs.data[33] ^= 1;
    refuses(&m, ERR_UNTRUE, "PCR digest");
    buf_append(&m.pcrs, "more", 4);
    refuses(&m, ERR_MALFORMED, "100 bytes where 3 PCRs of sha256 have 96");
}

static void refuses_other_pcrs_than_asked_for(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    m.in.select[0] = 0x06;
    refuses(&m, ERR_UNTRUE, "the quote selects PCRs 030080, not 060080");
}

static void refuses_another_nonce_in_whatever_coding(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    replace(&m.nonce, bytes_of_str("YSBub25jZQ==")); /* base64 of the right one */
    refuses(&m, ERR_UNTRUE, "extraData");
    replace(&m.nonce, bytes_of_str("612063"));
    refuses(&m, ERR_UNTRUE, "extraData");
    replace(&m.nonce, bytes_of_str(""));
    refuses(&m, ERR_USAGE, "nonce of 0 bytes");
}

static void refuses_a_quote_without_extra_data(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    buf_clear(&m.attest);
    buf_clear(&m.signature);
    make_attest(&m.attest, TPM_ALG_SHA256_ID, m.in.select, EVP_sha256(), buf_bytes(&m.pcrs),
                (struct bytes){0});
    make_signature(&m.signature, p256, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID, buf_bytes(&m.attest));
    refuses(&m, ERR_UNTRUE, "extraData (0 bytes)");
}

static void never_believes_the_sha1_bank(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    m.in.bank = pcr_bank_of(TPM_ALG_SHA1_ID);
    refuses(&m, ERR_UNTRUE, "bank sha1 is never believed");
}

static void never_believes_a_sha1_signature(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, rsa, &rsassa_ak);
    to_pem(&m.ak, rsa);
    m.signature.data[3] = TPM_ALG_SHA1_ID;
    refuses(&m, ERR_UNTRUE, "hash 0x0004");
}

static void refuses_a_scheme_that_is_not_the_keys(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, rsa, &rsassa_ak);
    m.signature.data[1] = TPM_ALG_RSAPSS_ID;
    refuses(&m, ERR_UNTRUE, "the key has 0x0014");
    to_pem(&m.ak, p256);
    refuses(&m, ERR_UNTRUE, "as the key is");
}

static void refuses_a_public_area_that_is_no_attestation_keys(void **state)
{
    (void)state;
    struct public_shape open = ecdsa_ak;
    open.attributes &= ~(uint32_t)TPMA_RESTRICTED;
    MATERIAL_AUTO m;
    make(&m, p256, &open);
    refuses(&m, ERR_UNTRUE, "restricted is clear");
}

static void refuses_another_key(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    EVP_PKEY *other = EVP_EC_gen("prime256v1");
    to_pem(&m.ak, other);
    EVP_PKEY_free(other);
    refuses(&m, ERR_UNTRUE, "not the attestation key's");
}

static void refuses_key_files_with_a_flaw(void **state)
{
    (void)state;
    MATERIAL_AUTO m;
    make(&m, p256, &ecdsa_ak);
    to_pem(&m.ak, p256);
    BUF_AUTO one = BUF_INIT;
    buf_append_bytes(&one, buf_bytes(&m.ak));
    buf_append_bytes(&m.ak, buf_bytes(&one));
    refuses(&m, ERR_MALFORMED, "not exactly one public key");
    EVP_PKEY *small = EVP_RSA_gen(1024), *other = EVP_EC_gen("secp521r1");
    to_pem(&m.ak, small);
    refuses(&m, ERR_UNSUPPORTED, "RSA of 1024 bits");
    to_pem(&m.ak, other);
    refuses(&m, ERR_UNSUPPORTED, "not on P-256 or P-384");
    EVP_PKEY_free(small);
    EVP_PKEY_free(other);
    replace(&m.ak, bytes_of_str("-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----\n"));
    refuses(&m, ERR_MALFORMED, "not a public key in PEM");
    replace(&m.ak, bytes_of_str(""));
    refuses(&m, ERR_MALFORMED, "truncated");
}

/* The quote of a software TPM, over sixteen PCRs that are zero. */
static void accepts_a_quote_that_a_tpm_made(void **state)
{
    (void)state;
    MATERIAL_AUTO m = {.in = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID), .select = {0xff, 0xff, 0}}};
    static const uint8_t zero[512];
    uint8_t ones[32];
    memset(ones, 1, sizeof ones);
    from_hex(&m.ak, swtpm_ak_public);
    from_hex(&m.attest, swtpm_quote);
    from_hex(&m.signature, swtpm_quote_signature);
    buf_append(&m.pcrs, zero, sizeof zero);
    buf_append(&m.nonce, ones, sizeof ones);
    accepts(&m);
}

static void load(struct buf *out, const char *folder, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "quotes/%s/%s", folder, name);
    buf_clear(out);
    tpm_data_file(out, path);
}

static void load_nonce(struct material *m, const char *hex)
{
    for (size_t i = 0; hex[i] != '\0'; i += 2) {
        uint8_t byte;
        assert_false(is_err(hex_decode(&byte, 1, bytes_of(hex + i, 2))));
        buf_append_u8(&m->nonce, byte);
    }
}

/* The quote of a folder with what EXPECTED.json says of its nonce and PCRs. */
static void load_real(struct material *m, const char *folder, const char *ak, const char *signature,
                      const char *pcrs)
{
    const json_t *wanted = json_object_get(json_object_get(expected, "quotes"), folder);
    const json_t *attest = json_object_get(wanted, "attest");
    *m = (struct material){.in = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID)}};
    load(&m->ak, folder, ak);
    load(&m->attest, folder, "quote.msg");
    load(&m->signature, folder, signature);
    load(&m->pcrs, folder, pcrs);
    load_nonce(m, json_string_value(json_object_get(attest, "extraData")));
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        char key[8];
        snprintf(key, sizeof key, "%u", i);
        if (json_object_get(json_object_get(wanted, "pcrs"), key) != NULL)
            m->in.select[i / 8] |= (uint8_t)(1u << i % 8);
    }
}

static void check_facts(struct material *m, const char *folder)
{
    const json_t *wanted = json_object_get(json_object_get(expected, "quotes"), folder);
    const json_t *attest = json_object_get(wanted, "attest");
    struct quote_facts facts;
    if (is_err(judge(&facts, m)))
        fail_msg("%s: %s", folder, err_message());
    assert_int_equal(facts.scheme, TPM_ALG_RSASSA_ID);
    assert_int_equal(facts.attest.clock_ms, json_integer_value(json_object_get(attest, "clock")));
    assert_int_equal(facts.attest.reset_count,
                     json_integer_value(json_object_get(attest, "resetCount")));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(wanted, "pcrs"), key, value)
    {
        BUF_AUTO hex = BUF_INIT;
        buf_append_hex(&hex, bytes_of(facts.values[strtoul(key, NULL, 10)], 32));
        assert_string_equal(buf_str(&hex), json_string_value(value));
    }
}

static void accepts_real_quotes_with_the_values_that_others_state(void **state)
{
    (void)state;
    if (expected == NULL)
        skip();
    MATERIAL_AUTO azure, keylime;
    load_real(&azure, "azure-trusted-launch-2026", "ak.pub", "quote.sig", "pcrs.bin");
    check_facts(&azure, "azure-trusted-launch-2026");
    load_real(&keylime, "keylime-checkquote", "ak.pem", "quote.sig.tpmt", "quote.pcrs");
    check_facts(&keylime, "keylime-checkquote");
    /* Another host's signature over its own quote. */
    replace(&azure.signature, buf_bytes(&keylime.signature));
    refuses(&azure, ERR_UNTRUE, "not the attestation key's");
}

static void refuses_quotes_that_others_forged(void **state)
{
    (void)state;
    static const struct {
        const char *message, *signature;
        enum err_code code; /* ERR_NONE: accepted */
        const char *reason;
    } cases[] = {
        {"good.msg", "good.sig", ERR_NONE, ""},
        {"badmagic.msg", "badmagic.sig", ERR_UNTRUE, "magic 0xdeadbeef"},
        {"badtype.msg", "badtype.sig", ERR_UNSUPPORTED, "type 0x8017"},
        {"sel_7_8.msg", "sel_7_8.sig", ERR_UNTRUE, "selects PCRs 800100, not 030000"},
        {"trail.msg", "good.sig", ERR_MALFORMED, "5 bytes are left over"},
        {"good.msg", "sel_7_8.sig", ERR_UNTRUE, "not the attestation key's"},
    };
    if (expected == NULL)
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MATERIAL_AUTO m = {.in = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID), .select = {0x03, 0, 0}}};
        load(&m.ak, "negative-forged", "ak.pem");
        load(&m.attest, "negative-forged", cases[i].message);
        load(&m.signature, "negative-forged", cases[i].signature);
        load(&m.pcrs, "negative-forged", "pcr.bin");
        buf_append(&m.nonce, "\xab\xc1\x23", 3);
        if (cases[i].code == ERR_NONE)
            accepts(&m);
        else
            refuses(&m, cases[i].code, cases[i].reason);
    }
}

static int set_up(void **state)
{
    (void)state;
    rsa = EVP_RSA_gen(2048);
    p256 = EVP_EC_gen("prime256v1");
    p384 = EVP_EC_gen("secp384r1");
    expected = tpm_data_there() ? tpm_data_expected() : NULL;
    return rsa != NULL && p256 != NULL && p384 != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    json_decref(expected);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_each_kind_of_key_in_each_form),
        cmocka_unit_test(accepts_raw_signatures),
        cmocka_unit_test(takes_raw_signatures_of_pem_keys_as_the_usual_scheme),
        cmocka_unit_test(accepts_pcr_values_as_tpm2_tools_write_them),
        cmocka_unit_test(reads_pcr_files_of_all_24_pcrs),
        cmocka_unit_test(refuses_a_changed_pcr_value),
        cmocka_unit_test(refuses_other_pcrs_than_asked_for),
        cmocka_unit_test(refuses_another_nonce_in_whatever_coding),
        cmocka_unit_test(refuses_a_quote_without_extra_data),
        cmocka_unit_test(never_believes_the_sha1_bank),
        cmocka_unit_test(never_believes_a_sha1_signature),
        cmocka_unit_test(refuses_a_scheme_that_is_not_the_keys),
        cmocka_unit_test(refuses_a_public_area_that_is_no_attestation_keys),
        cmocka_unit_test(refuses_another_key),
        cmocka_unit_test(refuses_key_files_with_a_flaw),
        cmocka_unit_test(accepts_a_quote_that_a_tpm_made),
        cmocka_unit_test(accepts_real_quotes_with_the_values_that_others_state),
        cmocka_unit_test(refuses_quotes_that_others_forged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
