/* The TPM layer when the TPM is busy, locked or gone, and with somebody on the bus. */
#include "attest/tpm.h"

#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <time.h>

#include <openssl/x509.h>

#include "attest/credential.h"
#include "tests/unit/tpm_bus.h"

enum {
    COUNTER_INDEX = 0x0180b11b,
    RC_YIELDED = 0x908,
    RC_TESTING = 0x90a,
    RC_LOCKOUT = 0x921,
    RC_RETRY = 0x922,
    RC_NV_RATE = 0x920,
    CC_QUOTE = 0x158,
    CC_PCR_EXTEND = 0x182,
};

static struct software_tpm software;
static struct tpm_bus bus;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        struct err ok_ = (expr);                                                                   \
        if (is_err(ok_))                                                                           \
            fail_msg("%s", err_message());                                                         \
    } while (0)

static int plain_wire(void **state)
{
    (void)state;
    memset(bus.orders, 0, sizeof *bus.orders);
    return 0;
}

static EVP_PKEY *certified_key(struct tpm *t)
{
    BUF_AUTO der = BUF_INIT;
    OK(tpm_ek_certificate(t, &der));
    const unsigned char *at = der.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    EVP_PKEY *key = X509_get_pubkey(certificate);
    X509_free(certificate);
    return key;
}

static void activate(struct tpm *t, const struct tpm_name *ak_name, struct credential *c)
{
    BUF_AUTO value = BUF_INIT;
    EVP_PKEY *ek = certified_key(t);
    OK(credential_make(c, ek, ak_name));
    OK(tpm_activate(t, &value, buf_bytes(&c->id_object), buf_bytes(&c->secret)));
    assert_true(bytes_equal(buf_bytes(&value), bytes_of(c->value, sizeof c->value)));
    EVP_PKEY_free(ek);
}

/* Everything that an attester asks of a TPM. */
static void all_that_we_ask(void)
{
    struct tpm *t;
    struct pcr_values pcrs;
    struct tpm_public ak;
    struct credential c = CREDENTIAL_INIT;
    BUF_AUTO public_area = BUF_INIT, attest = BUF_INIT, signature = BUF_INIT, counter = BUF_INIT,
             counter_signature = BUF_INIT;
    const uint8_t extra[SHA256_LEN] = {7};
    OK(tpm_open(&t, bus.tcti));
    OK(tpm_keys(t, &public_area));
    OK(tpm_public_parse(&ak, buf_bytes(&public_area)));
    OK(tpm_pcr_extend(t, PCR_CODE, "profile", bytes_of_str("busy")));
    OK(tpm_quote(t, &attest, &signature, &pcrs, extra));
    OK(tpm_signature_verify(&ak, buf_bytes(&signature), buf_bytes(&attest)));
    OK(tpm_counter_increment(t, COUNTER_INDEX));
    OK(tpm_counter_certify(t, COUNTER_INDEX, extra, &counter, &counter_signature));
    activate(t, &ak.name, &c);
    assert_false(tpm_has_failed(t));
    credential_cleanup(&c);
    tpm_public_cleanup(&ak);
    tpm_close(t);
}

static void a_busy_tpm_is_asked_again(void **state)
{
    (void)state;
    static const uint32_t codes[] = {RC_RETRY, RC_YIELDED, RC_TESTING, RC_NV_RATE};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        plain_wire(NULL);
        bus.orders->busy_code = codes[i];
        bus.orders->busy_every = 3;
        bus.orders->busy_times = 2;
        all_that_we_ask();
        assert_true(bus.orders->n_busy > 10);
    }
}

/* tpm2-tss itself asks five times; what is left to us begins after that. */
static void a_tpm_that_is_busy_for_long_is_waited_for(void **state)
{
    (void)state;
    bus.orders->busy_code = RC_RETRY;
    bus.orders->busy_every = 9;
    bus.orders->busy_times = 14;
    all_that_we_ask();
    assert_true(bus.orders->n_busy >= 2 * 14);
}

static void a_tpm_that_is_always_busy_is_given_up(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    struct tpm_clock clock;
    OK(tpm_open(&t, bus.tcti));
    bus.orders->busy_code = RC_RETRY;
    bus.orders->busy_every = 1;
    bus.orders->busy_times = UINT32_MAX;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(tpm_clock_read(t, &clock).code, ERR_IO);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_non_null(strstr(err_message(), "TPM2_ReadClock"));
    assert_true(tpm_has_failed(t));
    assert_true(to.tv_sec - from.tv_sec < 30);
    plain_wire(NULL);
    tpm_close(t);
}

static void a_lockout_is_named_with_its_remedy(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    BUF_AUTO ak = BUF_INIT;
    OK(tpm_open(&t, bus.tcti));
    OK(tpm_keys(t, &ak));
    bus.orders->busy_code = RC_LOCKOUT;
    bus.orders->busy_every = 1;
    bus.orders->busy_times = UINT32_MAX;
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    struct pcr_values pcrs;
    const uint8_t extra[SHA256_LEN] = {0};
    assert_int_equal(tpm_quote(t, &attest, &signature, &pcrs, extra).code, ERR_IO);
    assert_non_null(strstr(err_message(), "tpm2_dictionarylockout --clear-lockout"));
    plain_wire(NULL);
    tpm_close(t);
}

/* Another program's wrong passwords lock the TPM; none of our keys and indices is under that. */
static void a_tpm_in_lockout_quotes_on(void **state)
{
    (void)state;
    const char *do_all =
        "export TPM2TOOLS_TCTI=swtpm:path=%s/swtpm.sock TSS2_LOG=all+none; cd %s || exit 9; "
        "tpm2_dictionarylockout -s -n 1 -t 3600 -l 3600 || exit 1; "
        "tpm2_createprimary -Q -C o -p right -c locked.ctx || exit 2; "
        "tpm2_create -Q -C locked.ctx -P wrong -u u -r r 2>/dev/null && exit 3; "
        "tpm2_flushcontext -t; "
        "tpm2_getcap properties-variable | grep -q 'inLockout: *1' || exit 4";
    assert_int_equal(shell(do_all, software.dir, software.dir), 0);
    all_that_we_ask();
    assert_int_equal(
        shell("TPM2TOOLS_TCTI=swtpm:path=%s/swtpm.sock tpm2_dictionarylockout -c", software.dir),
        0);
}

/* A credential's value is for its challenger alone. */
static void what_is_heard_on_the_bus_is_not_the_secret(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    struct tpm_public ak;
    struct credential c = CREDENTIAL_INIT;
    BUF_AUTO public_area = BUF_INIT;
    OK(tpm_open(&t, bus.tcti));
    OK(tpm_keys(t, &public_area));
    OK(tpm_public_parse(&ak, buf_bytes(&public_area)));
    activate(t, &ak.name, &c);
    assert_true(bus.orders->heard_len > 1000);
    assert_null(memmem(bus.orders->heard, bus.orders->heard_len, c.value, sizeof c.value));
    /* It does hear what goes by openly. */
    assert_non_null(memmem(bus.orders->heard, bus.orders->heard_len, c.id_object.data + 2,
                           c.id_object.len - 2));
    credential_cleanup(&c);
    tpm_public_cleanup(&ak);
    tpm_close(t);
}

/* Who changes what is extended, or quoted over, is found out by the TPM: the command is under the
 * session's HMAC. */
static void what_is_changed_on_the_bus_is_refused(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    struct pcr_values before, after;
    BUF_AUTO ak = BUF_INIT, attest = BUF_INIT, signature = BUF_INIT;
    const uint8_t extra[SHA256_LEN] = {1};
    OK(tpm_open(&t, bus.tcti));
    OK(tpm_keys(t, &ak));
    OK(tpm_pcr_read(t, &before));
    bus.orders->spoil_command = CC_PCR_EXTEND;
    assert_int_equal(tpm_pcr_extend(t, PCR_CODE, "profile", bytes_of_str("x")).code, ERR_IO);
    bus.orders->spoil_command = 0;
    OK(tpm_pcr_read(t, &after));
    assert_memory_equal(&before, &after, sizeof before);
    tpm_close(t);
    buf_clear(&ak);
    OK(tpm_open(&t, bus.tcti));
    OK(tpm_keys(t, &ak));
    bus.orders->spoil_command = CC_QUOTE;
    assert_int_equal(tpm_quote(t, &attest, &signature, &after, extra).code, ERR_IO);
    assert_int_equal(attest.len, 0);
    tpm_close(t);
}

static void a_tpm_that_is_gone_is_a_failure(void **state)
{
    (void)state;
    struct tpm *t = NULL;
    struct tpm_clock clock;
    OK(tpm_open(&t, software.tcti));
    assert_int_equal(shell("kill -9 $(cat %s/swtpm.pid)", software.dir), 0);
    assert_int_equal(tpm_clock_read(t, &clock).code, ERR_IO);
    assert_true(tpm_has_failed(t));
    tpm_close(t);
    assert_int_equal(tpm_open(&t, software.tcti).code, ERR_IO);
    assert_non_null(strstr(err_message(), "no TPM at swtpm:"));
}

static int begin(void **state)
{
    (void)state;
    return software_tpm_start(&software) == 0 ? tpm_bus_start(&bus, &software) : -1;
}

static int end(void **state)
{
    (void)state;
    tpm_bus_stop(&bus);
    software_tpm_remove(&software);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_busy_tpm_is_asked_again, plain_wire),
        cmocka_unit_test_setup(a_tpm_that_is_busy_for_long_is_waited_for, plain_wire),
        cmocka_unit_test_setup(a_tpm_that_is_always_busy_is_given_up, plain_wire),
        cmocka_unit_test_setup(a_lockout_is_named_with_its_remedy, plain_wire),
        cmocka_unit_test_setup(a_tpm_in_lockout_quotes_on, plain_wire),
        cmocka_unit_test_setup(what_is_heard_on_the_bus_is_not_the_secret, plain_wire),
        cmocka_unit_test_setup(what_is_changed_on_the_bus_is_refused, plain_wire),
        cmocka_unit_test_setup(a_tpm_that_is_gone_is_a_failure, plain_wire), /* the last */
    };
    software_tpm_skip_where_absent();
    return cmocka_run_group_tests(tests, begin, end);
}
