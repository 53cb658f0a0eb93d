/*
 * The attester with a firmware event log, against a software TPM: the log goes into the boot
 * statement, and explains a PCR that the policy knows only by its events.
 */
#include "tests/unit/attester_fixture.h"

#include "server/event_log.h"
#include "tests/unit/eventlog_make.h"

static struct host host;

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

/* PCR 4 of the software TPM as a boot leaves it, and the log of it. */
static void boot_with_event_log(struct buf *log, struct buf *digest)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, bytes_of_str("a kernel"));
    buf_append_hex(digest, bytes_of(hash, sizeof hash));
    make_sha256_header(log);
    make_sha256_event(log, 4, 0x80000003, bytes_of_str("a kernel"));
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    assert_int_equal(shell("tpm2_pcrextend -T '%s' 4:sha256=%s", host.tpm.tcti, buf_str(digest)),
                     0);
}

/* The policy that the host prints of itself: PCR 4 by its event, the others by their values. */
static void policy_by_event(struct policy *out, const char *digest)
{
    BUF_AUTO lines = BUF_INIT, text = BUF_INIT, event = BUF_INIT;
    OK(attester_policy_lines(&host.options, true, &lines));
    OK(measurement_policy_lines(&lines, &host.measurement));
    buf_printf(&event, "\nboot-event 4 %s\n", digest);
    assert_non_null(strstr(buf_str(&lines), buf_str(&event)));
    assert_null(strstr(buf_str(&lines), "boot-pcr 4 "));
    assert_non_null(strstr(buf_str(&lines), "\nboot-pcr 7 "));
    buf_append_str(&text, "blindllama-policy/v1\nquorum none\nrelease none\nmax-interval 3600\n"
                          "max-age 3600\n");
    buf_append_bytes(&text, buf_bytes(&lines));
    OK(policy_parse(out, buf_bytes(&text)));
}

/* One that leads elsewhere, or to PCR 7, is no reason for an event's line. */
static void a_log_that_does_not_lead_there_gives_golden_values(void **state)
{
    (void)state;
    BUF_AUTO log = BUF_INIT, lines = BUF_INIT;
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    make_sha256_header(&log);
    make_sha256_event(&log, 4, 0x80000003, bytes_of_str("another kernel"));
    host.options.event_log = buf_bytes(&log);
    OK(attester_policy_lines(&host.options, true, &lines));
    host.options.event_log = (struct bytes){0};
    assert_null(strstr(buf_str(&lines), "boot-event "));
    assert_non_null(strstr(buf_str(&lines), "\nboot-pcr 4 "));
}

static void a_boot_with_an_event_log_is_explained_by_it(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    BUF_AUTO log = BUF_INIT, digest = BUF_INIT;
    boot_with_event_log(&log, &digest);
    host.options.event_log = buf_bytes(&log);
    policy_by_event(&policy, buf_str(&digest));
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);
    /* Later starts of the same boot go by its statement. */
    host.options.event_log = (struct bytes){0};
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);
}

static void the_next_boot_may_be_without(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    host.options.event_log = (struct bytes){0};
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);
}

static void knows_where_linux_keeps_the_log_of_a_device(void **state)
{
    (void)state;
    static const struct {
        const char *tcti, *path;
    } cases[] = {
        {"device:/dev/tpmrm0", "/sys/kernel/security/tpm0/binary_bios_measurements"},
        {"device:/dev/tpm1", "/sys/kernel/security/tpm1/binary_bios_measurements"},
        {"device", "/sys/kernel/security/tpm0/binary_bios_measurements"},
        {"device:/dev/tpmrmx", NULL},
        {"device:/dev/tpmrm", NULL},
        {"device:/tmp/tpmrm0", NULL},
        {"swtpm:path=x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[EVENT_LOG_PATH_MAX];
        assert_int_equal(event_log_path(path, cases[i].tcti), cases[i].path != NULL);
        if (cases[i].path != NULL)
            assert_string_equal(path, cases[i].path);
    }
}

static void takes_only_a_file_that_is_a_log(void **state)
{
    (void)state;
    BUF_AUTO path = BUF_INIT, log = BUF_INIT, out = BUF_INIT;
    path_join(&path, host.tpm.dir, "events");
    make_sha256_header(&log);
    make_sha256_event(&log, 4, 13, bytes_of_str("x"));
    OK(file_write_durable(buf_str(&path), buf_bytes(&log), 0600));
    OK(event_log_read(&out, buf_str(&path)));
    assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&log)));
    OK(file_write_durable(buf_str(&path), bytes_of(log.data, log.len - 1), 0600));
    assert_int_equal(event_log_read(&out, buf_str(&path)).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "/events: event log: event 1"));
    for (size_t i = 0; log.len <= BOOT_EVENT_LOG_MAX; i++)
        make_sha256_event(&log, 4, 13, bytes_of_str("some more data to fill the log with"));
    OK(file_write_durable(buf_str(&path), buf_bytes(&log), 0600));
    assert_int_equal(event_log_read(&out, buf_str(&path)).code, ERR_LIMIT);
    assert_int_equal(event_log_read(&out, "/nowhere").code, ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_boot_with_an_event_log_is_explained_by_it),
        cmocka_unit_test(a_log_that_does_not_lead_there_gives_golden_values),
        cmocka_unit_test(the_next_boot_may_be_without),
        cmocka_unit_test(knows_where_linux_keeps_the_log_of_a_device),
        cmocka_unit_test(takes_only_a_file_that_is_a_log),
    };
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_remove(&host);
    return failed;
}
