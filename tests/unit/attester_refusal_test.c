/* What the attester must not start with, or go on with, and what it says then. */
#include "tests/unit/attester_fixture.h"

static struct host host;

static void refuses_to_start(enum err_code code, const char *part)
{
    host_start(&host);
    host_ended(&host, code, part);
}

static void refuses_to_measure(enum err_code code, const char *part)
{
    host_start(&host);
    struct err e = host_measure(&host);
    if (e.code != code || !strstr(err_message(), part))
        fail_msg("the front is told %s '%s'", err_code_name(e.code), err_message());
    host_ended(&host, code, part);
}

static void runs(void)
{
    host_start_measured(&host);
    host_stop(&host);
}

static int reboot_host(void)
{
    return software_tpm_do(&host.tpm, "reboot");
}

static int in_state(const char *command)
{
    return shell("cd %s && %s", host.state_dir, command);
}

/* Before anything is there: a wrong setting must leave nothing behind that hinders the right one.
 */
static void says_which_setting_is_wrong(void **state)
{
    (void)state;
    struct attester_options good = host.options;
    const char *wrong_chain[] = {host.chain_paths[1]};
    const char *no_file[] = {"/nonexistent.pem"};

    host.options.tcti = "swtpm:path=/nonexistent/swtpm.sock";
    refuses_to_start(ERR_IO, "no TPM at swtpm:path=/nonexistent/swtpm.sock");
    host.options = good;
    host.options.quote_interval_s = 0;
    refuses_to_start(ERR_USAGE, "quote interval");
    host.options = good;
    host.options.n_ek_chain = 0;
    refuses_to_start(ERR_USAGE, "issuer certificates");
    host.options = good;
    host.options.ek_chain = wrong_chain;
    host.options.n_ek_chain = 1;
    refuses_to_start(ERR_UNTRUE, "does not lead through the issuer certificates");
    host.options.ek_chain = no_file;
    refuses_to_start(ERR_NOT_FOUND, "/nonexistent.pem");
    /* Pitfall 24: a bundle, with and without a newline between its certificates. */
    assert_int_equal(in_state("cat ../ek-chain-0.pem ../ek-chain-1.pem > bundle.pem"), 0);
    char bundle[160];
    const char *one_file[] = {bundle};
    snprintf(bundle, sizeof bundle, "%s/bundle.pem", host.state_dir);
    host.options.ek_chain = one_file;
    refuses_to_start(ERR_MALFORMED, "more than one certificate");
    assert_int_equal(in_state("printf %s \"$(cat ../ek-chain-0.pem)\" > bundle.pem && "
                              "cat ../ek-chain-1.pem >> bundle.pem"),
                     0);
    refuses_to_start(ERR_MALFORMED, "bundle.pem");
    host.options = good;
    runs();
}

static void refuses_another_origin(void **state)
{
    (void)state;
    host.options.origin = "other.example/log";
    refuses_to_start(ERR_USAGE, "is the key of 'host.example/log', not of 'other.example/log'");
    assert_int_equal(in_state("mv log.key kept"), 0);
    refuses_to_start(ERR_NOT_FOUND, "has lost its key");
    assert_int_equal(in_state("test ! -e log.key && mv kept log.key"), 0);
    host.options.origin = ORIGIN;
    runs();
}

static void refuses_a_second_attester(void **state)
{
    (void)state;
    host_start_measured(&host);
    struct host second = host;
    second.ending = mmap(NULL, sizeof *second.ending, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    host_start(&second);
    host_ended(&second, ERR_BUSY, "log.db");
    munmap(second.ending, sizeof *second.ending);
    host_stop(&host); /* undisturbed */
}

static void answers_nothing_before_it_is_measured(void **state)
{
    (void)state;
    uint8_t nonce[NONCE_LEN] = {0};
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    host_start(&host);
    assert_int_equal(
        host_ask(&host, CHANNEL_QUOTE, bytes_of(nonce, NONCE_LEN), &answer, &memory).code,
        ERR_BUSY);
    assert_int_equal(host_ask(&host, CHANNEL_ACTIVATION, bytes_of("x", 1), &answer, &memory).code,
                     ERR_BUSY);
    OK(host_measure(&host));
    assert_int_equal(host_ask(&host, CHANNEL_QUOTE, bytes_of(nonce, 31), &answer, &memory).code,
                     ERR_MALFORMED);
    host_stop(&host);
}

static void measures_once(void **state)
{
    (void)state;
    BUF_AUTO request = BUF_INIT;
    host_start_measured(&host);
    measurement_encode(&request, &host.measurement);
    OK(channel_send(host.fd, CHANNEL_MEASURE, 1, buf_bytes(&request)));
    host_ended(&host, ERR_USAGE, "measured twice");
}

static void names_what_is_new_in_the_same_boot(void **state)
{
    (void)state;
    host.files[1].sha256[0] ^= 1;
    refuses_to_measure(ERR_UNTRUE,
                       "the model is not what was measured in this boot: 'model-file 23");
    host.files[1].sha256[0] ^= 1;
    host.measurement.n_files = 1;
    refuses_to_measure(ERR_UNTRUE, "the model is not");
    host.measurement.n_files = 2;
    host.measurement.server_binary[0] ^= 1;
    refuses_to_measure(ERR_UNTRUE,
                       "the code is not what was measured in this boot: 'server-binary 32");
    host.measurement.server_binary[0] ^= 1;
    host.measurement.max_requests = 17;
    refuses_to_measure(ERR_UNTRUE, "configuration is not what was measured in this boot: 'config");
    host.measurement.max_requests = 16;
    host.measurement.quote_interval_s = 5;
    refuses_to_measure(ERR_USAGE, "quote interval of 5 s");
    host.measurement.quote_interval_s = 3600;
    runs();
}

static void a_front_that_vanishes_ends_it(void **state)
{
    (void)state;
    host_start_measured(&host);
    fd_close(&host.fd);
    host_ended(&host, ERR_IO, "the front ended without saying that it stops");
    runs();
}

static void refuses_what_others_extended(void **state)
{
    (void)state;
    const char *extend = "tpm2_pcrextend -Q -T %s 14:sha256=%064d";
    assert_int_equal(shell(extend, host.tpm.tcti, 1), 0);
    refuses_to_start(ERR_UNTRUE, "the PCRs do not fit the runtime log: PCR 14 is ");
    assert_non_null(strstr(host.ending->message, "Remedy: reboot the host"));
    assert_int_equal(reboot_host(), 0);

    host_start_measured(&host); /* and while it runs: the next quote shows it */
    assert_int_equal(shell(extend, host.tpm.tcti, 1), 0);
    uint8_t nonce[NONCE_LEN] = {0};
    OK(channel_send(host.fd, CHANNEL_QUOTE, 1, bytes_of(nonce, sizeof nonce)));
    host_ended(&host, ERR_UNTRUE, "PCR 14 is ");
    assert_int_equal(reboot_host(), 0);
    runs();
}

static void ends_when_the_tpm_is_reset_beneath_it(void **state)
{
    (void)state;
    uint8_t nonce[NONCE_LEN] = {0};
    host_start_measured(&host);
    assert_int_equal(reboot_host(), 0);
    OK(channel_send(host.fd, CHANNEL_QUOTE, 1, bytes_of(nonce, sizeof nonce)));
    int status;
    assert_int_equal(waitpid(host.pid, &status, 0), host.pid);
    fd_close(&host.fd);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    runs();
}

static void refuses_a_state_folder_without_its_runtime_log(void **state)
{
    (void)state;
    assert_int_equal(in_state("mv runtime.log kept"), 0);
    refuses_to_start(ERR_UNTRUE, "the PCRs do not fit the runtime log: PCR 13 is ");
    assert_int_equal(in_state("rm -f runtime.log && sed '$d' kept | sed '$d' > runtime.log"), 0);
    refuses_to_start(ERR_UNTRUE, "the PCRs do not fit the runtime log: PCR 15 is ");
    assert_int_equal(in_state("sed 's/model-id/model-ix/' kept > runtime.log"), 0);
    refuses_to_start(ERR_UNTRUE, "runtime.log is damaged");
    assert_int_equal(in_state("mv kept runtime.log"), 0);
    runs();
}

static void drops_a_torn_last_line(void **state)
{
    (void)state;
    assert_int_equal(in_state("printf '15 identity YWJ' >> runtime.log"), 0);
    runs();
}

static void redoes_an_extend_that_was_not_reached(void **state)
{
    (void)state;
    BUF_AUTO line = BUF_INIT;
    char spki[2 * SHA256_LEN + 1];
    memset(spki, 'a', sizeof spki - 1);
    spki[sizeof spki - 1] = 0;
    runtime_log_format_record(&line, PCR_IDENTITY, "identity", bytes_of_str(spki));
    line.len--;
    assert_int_equal(shell("echo '%s' >> %s/runtime.log", buf_str(&line), host.state_dir), 0);
    runs();
    assert_int_equal(shell("grep -q '%s' %s/runtime.log", buf_str(&line), host.state_dir), 0);
}

static void refuses_a_log_that_lost_entries(void **state)
{
    (void)state;
    assert_int_equal(in_state("cp log.db kept"), 0);
    runs();
    assert_int_equal(in_state("mv log.db newest && cp kept log.db"), 0);
    refuses_to_start(ERR_UNTRUE, "log.db lacks entries that this host has told others of");
    /* without log.head, the runtime log still knows of identities that must be there */
    assert_int_equal(in_state("mv newest log.db"), 0);
    runs();
    assert_int_equal(in_state("mv log.db newest && cp kept log.db && mv log.head head"), 0);
    refuses_to_measure(ERR_UNTRUE, "entries were removed from log.db");
    assert_int_equal(in_state("rm -f log.db && cp head log.head"), 0);
    refuses_to_start(ERR_UNTRUE, "log.db is gone, but log.head says that there was a log");
    assert_int_equal(in_state("test ! -e log.db && rm log.head"), 0);
    refuses_to_start(ERR_UNTRUE, "log.db is gone, but runtime.log says that there was a log");
    assert_int_equal(in_state("mv newest log.db && mv head log.head"), 0);
    runs();
}

static void tells_a_damaged_head_from_a_log_that_lost_entries(void **state)
{
    (void)state;
    runs();
    assert_int_equal(in_state("mv log.head good && : >log.head"), 0);
    refuses_to_start(ERR_MALFORMED, "log.head is damaged");
    assert_int_equal(in_state("echo garbage >log.head"), 0);
    refuses_to_start(ERR_MALFORMED, "log.head is damaged");
    assert_int_equal(in_state("mv good log.head"), 0);
    runs();
}

#define TEST(t) cmocka_unit_test(t)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(says_which_setting_is_wrong),
        TEST(refuses_another_origin),
        TEST(refuses_a_second_attester),
        TEST(answers_nothing_before_it_is_measured),
        TEST(measures_once),
        TEST(names_what_is_new_in_the_same_boot),
        TEST(a_front_that_vanishes_ends_it),
        TEST(refuses_what_others_extended),
        TEST(ends_when_the_tpm_is_reset_beneath_it),
        TEST(refuses_a_state_folder_without_its_runtime_log),
        TEST(drops_a_torn_last_line),
        TEST(redoes_an_extend_that_was_not_reached),
        TEST(refuses_a_log_that_lost_entries),
        TEST(tells_a_damaged_head_from_a_log_that_lost_entries),
    };
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_remove(&host);
    return failed;
}
