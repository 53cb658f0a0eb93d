/* GPUs' reports and certificates: accepted as NVIDIA lays them out, refused by one flaw at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "attest/gpu_chain.h"
#include "attest/gpu_report.h"
#include "tests/unit/gpu_make.h"

static struct gpu_keys keys;
static struct gpu_report_shape shape = {.driver = "580.95.05", .vbios = GPU_VBIOS};

static struct err check(struct bytes data)
{
    struct gpu_report r;
    TRY(gpu_report_parse(&r, data));
    return gpu_report_check(&r, keys.gpus[0], bytes_of(shape.nonce, sizeof shape.nonce));
}

static void expect(struct bytes data, enum err_code code, const char *says)
{
    struct err e = check(data);
    if (e.code != code || (code != ERR_NONE && strstr(err_message(), says) == NULL))
        fail_msg("%s '%s', not %s with '%s'", err_code_name(e.code), err_message(),
                 err_code_name(code), says);
}

static void reads_what_a_gpu_signs(void **state)
{
    (void)state;
    struct gpu_report r;
    BUF_AUTO report = BUF_INIT;
    make_gpu_report(&report, &shape);
    expect(buf_bytes(&report), ERR_NONE, "");
    assert_false(is_err(gpu_report_parse(&r, buf_bytes(&report))));
    assert_string_equal(r.driver, "580.95.05");
    assert_string_equal(r.vbios, "96.00.9F.00.01");
    assert_int_equal(r.signed_bytes.len + r.signature.len, report.len);
}

/* Whatever is read or not read: it is under the signature, or it is the signature. */
static void no_byte_can_be_changed(void **state)
{
    (void)state;
    BUF_AUTO report = BUF_INIT;
    make_gpu_report(&report, &shape);
    for (size_t i = 0; i < report.len; i++) {
        report.data[i] ^= 1;
        assert_true(is_err(check(buf_bytes(&report))));
        report.data[i] ^= 1;
    }
}

static void no_byte_can_be_missing_or_more(void **state)
{
    (void)state;
    struct gpu_report r;
    BUF_AUTO report = BUF_INIT;
    make_gpu_report(&report, &shape);
    for (size_t len = 0; len < report.len; len++)
        assert_int_equal(gpu_report_parse(&r, bytes_of(report.data, len)).code, ERR_MALFORMED);
    buf_append_u8(&report, 0);
    expect(buf_bytes(&report), ERR_MALFORMED, "96 bytes at its end");
    while (report.len <= 8192)
        buf_append_u8(&report, 0);
    expect(buf_bytes(&report), ERR_LIMIT, "over 8192");
}

struct flaw {
    size_t at;
    uint8_t value;
    enum err_code code;
    const char *says;
};

/* Signed all the same: a GPU that would say this is not believed. */
static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    enum { RESPONSE = GPU_REPORT_RESPONSE_AT, RECORD = RESPONSE + 8, OPAQUE = RECORD + 110 + 32 };
    static const struct flaw flaws[] = {
        {0, 0x12, ERR_UNSUPPORTED, "SPDM version 0x12"},
        {1, 0xe1, ERR_MALFORMED, "message 0xe1 where a GET_MEASUREMENTS"},
        {2, 0, ERR_MALFORMED, "not for all measurements"},
        {3, 1, ERR_MALFORMED, "not for all measurements"},
        {4, 0xaa, ERR_UNTRUE, "another nonce"},
        {RESPONSE, 0x10, ERR_UNSUPPORTED, "SPDM version 0x10"},
        {RESPONSE + 1, 0x7f, ERR_MALFORMED, "message 0x7f where a MEASUREMENTS"},
        {RESPONSE + 4, 0, ERR_MALFORMED, "do not fill their record"},
        {RESPONSE + 4, 3, ERR_MALFORMED, "do not fill their record"},
        {RESPONSE + 7, 1, ERR_MALFORMED, "the response is cut off"},
        {RECORD, 0, ERR_MALFORMED, "not of DMTF's kind"},
        {RECORD + 1, 2, ERR_MALFORMED, "not of DMTF's kind"},
        {RECORD + 2, 52, ERR_MALFORMED, "measurement"},
        {OPAQUE, 1, ERR_MALFORMED, "opaque data are cut off"},
        {OPAQUE + 2, 7, ERR_MALFORMED, "versions of driver and VBIOS are not both"},
        {OPAQUE + 4, 7, ERR_MALFORMED, "of 8 bytes"},
        {OPAQUE + 14, 6, ERR_MALFORMED, "of 8 bytes, or is there twice"},
        {OPAQUE + 14, 3, ERR_MALFORMED, "no word, or is there twice"},
        {OPAQUE + 26, ' ', ERR_MALFORMED, "no word"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        BUF_AUTO report = BUF_INIT;
        make_gpu_report_body(&report, &shape);
        report.data[flaws[i].at] = flaws[i].value;
        append_gpu_signature(&report, keys.gpus[0], buf_bytes(&report));
        expect(buf_bytes(&report), flaws[i].code, flaws[i].says);
    }
}

static void refuses_what_another_gpu_signed(void **state)
{
    (void)state;
    BUF_AUTO report = BUF_INIT;
    struct gpu_report_shape other = shape;
    other.key = keys.gpus[1];
    make_gpu_report(&report, &other);
    expect(buf_bytes(&report), ERR_UNTRUE, "key has not signed it");
}

static void follows_certificates_to_their_root(void **state)
{
    (void)state;
    BUF_AUTO der = BUF_INIT;
    struct gpu_chain chain;
    uint8_t root[SHA256_LEN];
    make_gpu_chain(&der, &keys, 0);
    sha256(root, buf_bytes(&keys.root_certificate));
    if (is_err(gpu_chain_verify(&chain, buf_bytes(&der))))
        fail_msg("%s", err_message());
    assert_memory_equal(chain.root, root, SHA256_LEN);
    assert_int_equal(EVP_PKEY_eq(chain.key, keys.gpus[0]), 1);
    gpu_chain_cleanup(&chain);
    for (size_t len = 0; len < der.len; len++) {
        struct err e = gpu_chain_verify(&chain, bytes_of(der.data, len));
        if (!is_err(e) || chain.key != NULL) /* without the root the path ends nowhere */
            fail_msg("%zu bytes of %zu pass", len, der.len);
    }
}

static void expect_leaf(const struct cert_shape *leaf, const char *says)
{
    BUF_AUTO der = BUF_INIT;
    struct gpu_chain chain;
    make_cert(&der, leaf);
    make_gpu_issuers(&der, &keys);
    assert_int_equal(gpu_chain_verify(&chain, buf_bytes(&der)).code, ERR_UNTRUE);
    if (strstr(err_message(), says) == NULL)
        fail_msg("'%s' lacks '%s'", err_message(), says);
}

static void refuses_certificates_of_another_kind(void **state)
{
    (void)state;
    struct cert_shape leaf = gpu_leaf_shape(&keys, 0);
    leaf.usage = "critical,keyAgreement";
    expect_leaf(&leaf, "may not sign");
    leaf = gpu_leaf_shape(&keys, 0);
    EVP_PKEY *p256 = EVP_EC_gen("P-256");
    leaf.key = p256;
    expect_leaf(&leaf, "not P-384");
    leaf = gpu_leaf_shape(&keys, 0);
    leaf.signer = keys.gpus[1];
    expect_leaf(&leaf, "signature failure");
    EVP_PKEY_free(p256);
}

static void refuses_bytes_that_are_no_certificates(void **state)
{
    (void)state;
    struct gpu_chain chain;
    BUF_AUTO many = BUF_INIT;
    static const uint8_t large[32769];
    assert_int_equal(gpu_chain_verify(&chain, bytes_of_str("text")).code, ERR_MALFORMED);
    assert_int_equal(gpu_chain_verify(&chain, bytes_of(large, sizeof large)).code, ERR_LIMIT);
    for (unsigned i = 0; i < 10; i++)
        buf_append_bytes(&many, buf_bytes(&keys.root_certificate));
    assert_int_equal(gpu_chain_verify(&chain, buf_bytes(&many)).code, ERR_LIMIT);
    assert_non_null(strstr(err_message(), "more than 9"));
}

static void append_pem(struct buf *out, struct bytes der)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_base64(&text, der);
    buf_append_str(out, "-----BEGIN CERTIFICATE-----\n");
    for (size_t i = 0; i < text.len; i += 64) {
        buf_append(out, text.data + i, text.len - i < 64 ? text.len - i : 64);
        buf_append_str(out, "\n");
    }
    buf_append_str(out, "-----END CERTIFICATE-----\n");
}

static void takes_pem_as_nvml_gives_it(void **state)
{
    (void)state;
    BUF_AUTO leaf = BUF_INIT, pem = BUF_INIT, der = BUF_INIT, wanted = BUF_INIT;
    const struct cert_shape s = gpu_leaf_shape(&keys, 0);
    make_cert(&leaf, &s);
    append_pem(&pem, buf_bytes(&leaf));
    append_pem(&pem, buf_bytes(&keys.root_certificate));
    buf_append_bytes(&wanted, buf_bytes(&leaf));
    buf_append_bytes(&wanted, buf_bytes(&keys.root_certificate));
    assert_false(is_err(gpu_chain_from_pem(&der, buf_bytes(&pem))));
    assert_true(bytes_equal(buf_bytes(&der), buf_bytes(&wanted)));
    assert_false(is_err(gpu_chain_from_pem(&der, bytes_of(pem.data, pem.len - 1))));
    pem.data[40] = '!';
    assert_int_equal(gpu_chain_from_pem(&der, buf_bytes(&pem)).code, ERR_MALFORMED);
    assert_int_equal(gpu_chain_from_pem(&der, bytes_of_str("")).code, ERR_MALFORMED);
    assert_int_equal(der.len, 2 * wanted.len); /* what failed has added nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_a_gpu_signs),
        cmocka_unit_test(no_byte_can_be_changed),
        cmocka_unit_test(no_byte_can_be_missing_or_more),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(refuses_what_another_gpu_signed),
        cmocka_unit_test(follows_certificates_to_their_root),
        cmocka_unit_test(refuses_certificates_of_another_kind),
        cmocka_unit_test(refuses_bytes_that_are_no_certificates),
        cmocka_unit_test(takes_pem_as_nvml_gives_it),
    };
    gpu_keys_init(&keys);
    memset(shape.nonce, 0x42, sizeof shape.nonce);
    shape.key = keys.gpus[0];
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_keys_cleanup(&keys);
    return failed;
}
