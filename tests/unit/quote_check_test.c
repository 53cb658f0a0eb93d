/* A quote on its own: every forgery refused with its reason, quotes of real TPMs accepted. */
#include "tests/unit/quote_material.h"

#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_data.h"

static json_t *expected; /* NULL where the data is not on this machine */

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
    expected = tpm_data_there() ? tpm_data_expected() : NULL;
    return make_keys() ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free_keys();
    json_decref(expected);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_changed_pcr_value),
        cmocka_unit_test(refuses_other_pcrs_than_asked_for),
        cmocka_unit_test(refuses_another_nonce_in_whatever_coding),
        cmocka_unit_test(refuses_a_quote_without_extra_data),
        cmocka_unit_test(never_believes_the_sha1_bank),
        cmocka_unit_test(never_believes_a_sha1_signature),
        cmocka_unit_test(refuses_a_scheme_that_is_not_the_keys),
        cmocka_unit_test(refuses_a_public_area_that_is_no_attestation_keys),
        cmocka_unit_test(refuses_another_key),
        cmocka_unit_test(accepts_a_quote_that_a_tpm_made),
        cmocka_unit_test(accepts_real_quotes_with_the_values_that_others_state),
        cmocka_unit_test(refuses_quotes_that_others_forged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
