/* The TPM layer against a software TPM, judged by this project's own verifiers. */
#include "attest/tpm.h"

#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/x509.h>

#include "attest/credential.h"
#include "tests/unit/software_tpm.h"

enum { COUNTER_INDEX = 0x0180b11a };

static struct software_tpm software;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        struct err ok_ = (expr);                                                                   \
        if (is_err(ok_))                                                                           \
            fail_msg("%s", err_message());                                                         \
    } while (0)

struct fixture {
    struct tpm *tpm;
    struct buf ak_public;
    struct tpm_public ak;
};

static int open_keys(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    OK(tpm_open(&f->tpm, software.tcti));
    OK(tpm_keys(f->tpm, &f->ak_public));
    OK(tpm_public_parse(&f->ak, buf_bytes(&f->ak_public)));
    return 0;
}

static int close_keys(void **state)
{
    struct fixture *f = *state;
    tpm_close(f->tpm);
    tpm_public_cleanup(&f->ak);
    buf_cleanup(&f->ak_public);
    free(f);
    return 0;
}

static void gives_the_same_attestation_key_every_time(void **state)
{
    struct fixture *f = *state;
    OK(tpm_public_check_ak(&f->ak));
    BUF_AUTO again = BUF_INIT;
    tpm_close(f->tpm);
    OK(tpm_open(&f->tpm, software.tcti));
    OK(tpm_keys(f->tpm, &again));
    assert_true(bytes_equal(buf_bytes(&again), buf_bytes(&f->ak_public)));
}

static void quotes_what_was_extended(void **state)
{
    struct fixture *f = *state;
    __attribute__((cleanup(runtime_log_cleanup))) struct runtime_log log = RUNTIME_LOG_INIT;
    struct pcr_values before, after;
    uint8_t replayed[3][SHA256_LEN], extra[SHA256_LEN] = {1, 2, 3};
    OK(tpm_pcr_read(f->tpm, &before));
    OK(runtime_log_append(&log, PCR_CODE, "profile", bytes_of_str("test")));
    OK(tpm_pcr_extend(f->tpm, PCR_CODE, "profile", bytes_of_str("test")));
    runtime_log_replay(replayed, &log, 1);

    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    OK(tpm_quote(f->tpm, &attest, &signature, &after, extra));
    assert_memory_equal(after.values[PCR_CODE], replayed[PCR_CODE - PCR_MODEL], SHA256_LEN);
    assert_memory_equal(after.values[PCR_MODEL], before.values[PCR_MODEL], SHA256_LEN);

    struct attested a;
    OK(attested_parse(&a, buf_bytes(&attest)));
    OK(tpm_signature_verify(&f->ak, buf_bytes(&signature), buf_bytes(&attest)));
    OK(attested_check_quote(&a, &f->ak, &after, extra));
    after.values[0][0] ^= 1;
    assert_int_equal(attested_check_quote(&a, &f->ak, &after, extra).code, ERR_UNTRUE);
}

static void refuses_to_extend_a_foreign_pcr(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tpm_pcr_extend(f->tpm, 16, "profile", bytes_of_str("x")).code, ERR_USAGE);
}

static EVP_PKEY *certified_key(struct tpm *t)
{
    BUF_AUTO der = BUF_INIT;
    OK(tpm_ek_certificate(t, &der));
    const unsigned char *at = der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    assert_non_null(certificate);
    assert_ptr_equal(at, der.data + der.len); /* no padding left */
    EVP_PKEY *key = X509_get_pubkey(certificate);
    X509_free(certificate);
    return key;
}

static void activates_a_credential_for_its_keys(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *ek = certified_key(f->tpm);
    for (int round = 0; round < 3; round++) { /* sessions must not pile up */
        struct credential c = {0};
        BUF_AUTO secret = BUF_INIT;
        OK(credential_make(&c, ek, &f->ak.name));
        OK(tpm_activate(f->tpm, &secret, buf_bytes(&c.id_object), buf_bytes(&c.secret)));
        assert_true(bytes_equal(buf_bytes(&secret), bytes_of(c.value, sizeof c.value)));
        credential_cleanup(&c);
    }
    EVP_PKEY_free(ek);
}

static void refuses_a_credential_for_another_key_and_goes_on(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *ek = certified_key(f->tpm);
    struct tpm_name other = f->ak.name;
    other.bytes[10] ^= 1;
    for (int round = 0; round < 8; round++) {
        struct credential c = {0};
        BUF_AUTO secret = BUF_INIT;
        OK(credential_make(&c, ek, round == 7 ? &f->ak.name : &other));
        if (round == 1)
            c.secret.data[c.secret.len - 1] ^= 1;
        if (round == 2)
            c.id_object.data[5] ^= 0xff;
        if (round == 3)
            c.id_object.len = 2, c.id_object.data[0] = c.id_object.data[1] = 0;
        if (round == 4)
            c.secret.len = 2, c.secret.data[0] = c.secret.data[1] = 0;
        struct err e = tpm_activate(f->tpm, &secret, buf_bytes(&c.id_object), buf_bytes(&c.secret));
        if (e.code != (round == 7 ? ERR_NONE : ERR_UNTRUE))
            fail_msg("round %d: %s", round, err_message());
        credential_cleanup(&c);
    }
    BUF_AUTO none = BUF_INIT;
    assert_int_equal(tpm_activate(f->tpm, &none, bytes_of("\0\5abc", 5), bytes_of("\0\0", 2)).code,
                     ERR_MALFORMED);
    EVP_PKEY_free(ek);
}

static void counts_boots_and_certifies_the_count(void **state)
{
    struct fixture *f = *state;
    uint64_t value, next;
    uint8_t extra[SHA256_LEN] = {7};
    assert_int_equal(tpm_counter_read(f->tpm, COUNTER_INDEX, &value).code, ERR_NOT_FOUND);
    OK(tpm_counter_increment(f->tpm, COUNTER_INDEX));
    OK(tpm_counter_read(f->tpm, COUNTER_INDEX, &value));
    OK(tpm_counter_increment(f->tpm, COUNTER_INDEX));
    OK(tpm_counter_read(f->tpm, COUNTER_INDEX, &next));
    assert_int_equal(next, value + 1);

    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    OK(tpm_counter_certify(f->tpm, COUNTER_INDEX, extra, &attest, &signature));
    OK(tpm_signature_verify(&f->ak, buf_bytes(&signature), buf_bytes(&attest)));
    struct attested a;
    OK(attested_parse(&a, buf_bytes(&attest)));
    assert_int_equal(a.type, ATTESTED_NV);
    assert_true(bytes_equal(a.extra_data, bytes_of(extra, sizeof extra)));
    struct reader r = reader_of(a.nv_contents);
    assert_int_equal(read_u64be(&r), next);
    assert_true(reader_done(&r));
}

static void attested_counts_are_the_clock_s(void **state)
{
    struct fixture *f = *state;
    struct tpm_clock clock;
    struct pcr_values pcrs;
    struct attested a;
    uint8_t extra[SHA256_LEN] = {0};
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    OK(tpm_clock_read(f->tpm, &clock));
    OK(tpm_quote(f->tpm, &attest, &signature, &pcrs, extra));
    OK(attested_parse(&a, buf_bytes(&attest)));
    assert_int_equal(a.reset_count, clock.reset_count);
    assert_int_equal(a.restart_count, clock.restart_count);
    assert_true(a.clock_ms >= clock.clock_ms);
    assert_true(clock.safe);
}

static void frees_slots_that_a_dead_program_left(void **state)
{
    struct fixture *f = *state;
    tpm_close(f->tpm);
    for (int i = 0; i < 3; i++) /* all three slots, and sessions */
        shell("tpm2_createprimary -Q -T %s -C e -G ecc -c %s/left%d.ctx && "
              "tpm2_startauthsession -Q -T %s -S %s/left%d.session",
              software.tcti, software.dir, i, software.tcti, software.dir, i);
    OK(tpm_open(&f->tpm, software.tcti));
    BUF_AUTO ak = BUF_INIT;
    OK(tpm_keys(f->tpm, &ak));
}

static void an_orderly_reboot_clears_pcrs_and_counts(void **state)
{
    struct fixture *f = *state;
    struct tpm_clock before, after;
    struct pcr_values pcrs;
    uint8_t zero[SHA256_LEN] = {0};
    OK(tpm_pcr_extend(f->tpm, PCR_MODEL, "cap", (struct bytes){0}));
    OK(tpm_clock_read(f->tpm, &before));
    tpm_close(f->tpm);
    f->tpm = NULL;
    assert_int_equal(software_tpm_do(&software, "reboot"), 0);
    OK(tpm_open(&f->tpm, software.tcti));
    OK(tpm_clock_read(f->tpm, &after));
    OK(tpm_pcr_read(f->tpm, &pcrs));
    assert_int_equal(after.reset_count, before.reset_count + 1);
    assert_true(after.safe);
    assert_memory_equal(pcrs.values[PCR_MODEL], zero, SHA256_LEN);
}

static void says_what_to_do_where_there_is_no_tpm(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    assert_int_equal(tpm_open(&t, "swtpm:path=/nonexistent/swtpm.sock").code, ERR_IO);
    assert_null(t);
    assert_non_null(strstr(err_message(), "no TPM at swtpm:path=/nonexistent/swtpm.sock"));
    assert_non_null(strstr(err_message(), "/dev/tpmrm0"));
}

static void loads_no_code_that_an_address_names(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "/tmp/libtss2-tcti-mine.so",
        "./mine.so:x",
        "cmd:touch /tmp/ran",
        "pcap:device:/dev/tpmrm0",
        "libtss2-tcti-device.so.0",
        "dev:x",
        "devices:x",
        ":/dev/tpmrm0",
        "",
    };
    struct tpm *t = NULL;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        assert_int_equal(tpm_open(&t, addresses[i]).code, ERR_USAGE);
        assert_null(t);
    }
}

/* Where the platform keeps no EK at its handle, ours is made from the template. */
static void makes_the_endorsement_key_where_none_is_kept(void **state)
{
    struct fixture *f = *state;
    tpm_close(f->tpm);
    f->tpm = NULL;
    assert_int_equal(shell("tpm2_evictcontrol -Q -T %s -C o -c 0x81010001 && "
                           "tpm2_evictcontrol -Q -T %s -C o -c 0x81010016",
                           software.tcti, software.tcti),
                     0);
    OK(tpm_open(&f->tpm, software.tcti));
    BUF_AUTO ak = BUF_INIT;
    OK(tpm_keys(f->tpm, &ak));
    activates_a_credential_for_its_keys(state);
}

/* The P-384 key of the high range, where the RSA certificate is not there. Last: it changes the
 * TPM. */
static void activates_with_a_p384_endorsement_key(void **state)
{
    struct fixture *f = *state;
    tpm_close(f->tpm);
    f->tpm = NULL;
    assert_int_equal(shell("tpm2_nvundefine -Q -T %s -C p 0x01c00002", software.tcti), 0);
    OK(tpm_open(&f->tpm, software.tcti));
    BUF_AUTO ak = BUF_INIT;
    OK(tpm_keys(f->tpm, &ak));
    EVP_PKEY *ek = certified_key(f->tpm);
    assert_int_equal(EVP_PKEY_get_bits(ek), 384);
    struct credential c = {0};
    BUF_AUTO secret = BUF_INIT;
    OK(credential_make(&c, ek, &f->ak.name));
    OK(tpm_activate(f->tpm, &secret, buf_bytes(&c.id_object), buf_bytes(&c.secret)));
    assert_true(bytes_equal(buf_bytes(&secret), bytes_of(c.value, sizeof c.value)));
    credential_cleanup(&c);
    EVP_PKEY_free(ek);
}

static void names_the_missing_certificate(void **state)
{
    (void)state;
    assert_int_equal(shell("tpm2_nvundefine -Q -T %s -C p 0x01c00016", software.tcti), 0);
    struct tpm *t;
    BUF_AUTO ak = BUF_INIT;
    OK(tpm_open(&t, software.tcti));
    assert_int_equal(tpm_keys(t, &ak).code, ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(), "no EK certificate"));
    tpm_close(t);
}

#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, open_keys, close_keys)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_to_do_where_there_is_no_tpm),
        cmocka_unit_test(loads_no_code_that_an_address_names),
        WITH_KEYS(gives_the_same_attestation_key_every_time),
        WITH_KEYS(quotes_what_was_extended),
        WITH_KEYS(refuses_to_extend_a_foreign_pcr),
        WITH_KEYS(activates_a_credential_for_its_keys),
        WITH_KEYS(refuses_a_credential_for_another_key_and_goes_on),
        WITH_KEYS(counts_boots_and_certifies_the_count),
        WITH_KEYS(attested_counts_are_the_clock_s),
        WITH_KEYS(frees_slots_that_a_dead_program_left),
        WITH_KEYS(an_orderly_reboot_clears_pcrs_and_counts),
        WITH_KEYS(makes_the_endorsement_key_where_none_is_kept),
        WITH_KEYS(activates_with_a_p384_endorsement_key),
        cmocka_unit_test(names_the_missing_certificate),
    };
    software_tpm_skip_where_absent();
    if (software_tpm_start(&software) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    software_tpm_remove(&software);
    return failed;
}
