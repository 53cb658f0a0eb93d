/* The forms in which tools write keys, signatures and PCR values: each read, each flaw refused. */
#include "tests/unit/quote_material.h"

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

static int set_up(void **state)
{
    (void)state;
    return make_keys() ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free_keys();
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
        cmocka_unit_test(refuses_key_files_with_a_flaw),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
