/*
 * An attester whose log has witnesses: what it shows with and without their quorum, what it takes
 * from the publisher, and what a stop waits for. The test is publisher and witnesses in one.
 */
#include "tests/unit/attester_fixture.h"

#include <poll.h>

#include "transparency/store.h"

enum { N_WITNESSES = 2 };

static struct host host;
static struct note_signer witnesses[N_WITNESSES];
static struct tlog_policy policy;
static char quorum[2048]; /* the policy's lines */

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

static void name_witnesses(void)
{
    BUF_AUTO text = BUF_INIT;
    for (int i = 0; i < N_WITNESSES; i++) {
        uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)(100 + i)};
        OK(note_signer_init(&witnesses[i], i ? "second.example/w" : "first.example/w",
                            NOTE_COSIGNATURE, seed));
        buf_printf(&text, "witness w%d ", i);
        note_vkey_format(&text, &witnesses[i].key);
        buf_append_str(&text, " https://127.0.0.1:1\n");
    }
    buf_append_str(&text, "group both all w0 w1\nquorum both\n");
    OK(tlog_policy_parse(&policy, buf_bytes(&text)));
    assert_true(text.len < sizeof quorum);
    strcpy(quorum, buf_str(&text));
}

static void start(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.publisher = pair[0];
    host.publisher_peer = pair[1];
    host_start_measured(&host);
}

/* A client's policy that asks for the quorum. */
static void witnessed_policy(struct policy *out)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nrelease none\nmax-interval 3600\nmax-age 3600\n");
    tlog_policy_format_quorum(&text, &policy);
    OK(attester_policy_lines(&host.options, true, &text));
    OK(measurement_policy_lines(&text, &host.measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

/* The size that the attester last told of. */
static uint64_t grown(void)
{
    uint64_t size = 0;
    struct pollfd channel = {.fd = host.publisher_peer, .events = POLLIN};
    while (poll(&channel, 1, size > 0 ? 0 : 10000) > 0) {
        BUF_AUTO memory = BUF_INIT;
        struct channel_frame f;
        OK(channel_receive(host.publisher_peer, &f, &memory));
        assert_int_equal(f.type, CHANNEL_GROWN);
        struct reader r = reader_of(f.payload);
        size = read_u64be(&r);
        assert_true(reader_done(&r));
    }
    return size;
}

static void send_line(int witness, uint64_t size, struct bytes line)
{
    BUF_AUTO payload = BUF_INIT;
    buf_append_u64be(&payload, size);
    buf_append(&payload, witnesses[witness].key.public_key, ED25519_PUBLIC_LEN);
    buf_append_bytes(&payload, line);
    OK(channel_send(host.publisher_peer, CHANNEL_COSIGNED, 0, buf_bytes(&payload)));
}

static void cosign(int witness, uint64_t size)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO line = BUF_INIT;
    struct store *log;
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(store_checkpoint_at(log, size, &note));
    store_close(log);
    struct note *parsed = calloc(1, sizeof *parsed);
    OK(note_parse(parsed, buf_bytes(&note)));
    OK(note_cosign(&line, parsed->text, &witnesses[witness], 1700000000));
    free(parsed);
    send_line(witness, size, buf_bytes(&line));
}

static struct err verdict_of(enum outcome *out, uint64_t *size, const struct policy *p)
{
    uint8_t nonce[NONCE_LEN];
    BUF_AUTO json = BUF_INIT;
    random_bytes(nonce, sizeof nonce);
    host_evidence(&host, nonce, &json);
    __attribute__((cleanup(evidence_cleanup))) struct evidence evidence = EVIDENCE_INIT;
    struct activation_target target = {0};
    TRY(evidence_parse(&evidence, buf_bytes(&json)));
    struct note *note = calloc(1, sizeof *note);
    struct checkpoint c;
    OK(note_parse(note, buf_bytes(&evidence.checkpoint)));
    OK(checkpoint_parse(&c, note->text));
    free(note);
    *size = c.size;
    TRY(verify_activation_target(&target, &evidence, p));
    assert_true(host_activate(&host, &target));
    struct verify_input input = {
        .evidence_json = buf_bytes(&json), .policy = p, .activated = &target};
    memcpy(input.nonce, nonce, sizeof nonce);
    memcpy(input.peer_spki_sha256, host.measurement.spki_sha256, SHA256_LEN);
    struct verdict *verdict = calloc(1, sizeof *verdict);
    struct err e = verify_evidence(verdict, &input);
    *out = verdict->outcome;
    free(verdict);
    EVP_PKEY_free(target.ek);
    return e;
}

/* What comes by the other channel may be heard a moment later. */
static enum outcome outcome_of_size(const struct policy *p, uint64_t size)
{
    enum outcome outcome = OUTCOME_FALSE;
    uint64_t shown = 0;
    for (int i = 0; i < 50 && shown < size; i++) {
        OK(verdict_of(&outcome, &shown, p));
        usleep(100 * 1000);
    }
    assert_true(shown >= size);
    return outcome;
}

/* The attester measures, and what it waits for is ours to give. */
static void begin_to_measure(void)
{
    int pair[2];
    BUF_AUTO request = BUF_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.publisher = pair[0];
    host.publisher_peer = pair[1];
    host_start(&host);
    measurement_encode(&request, &host.measurement);
    OK(channel_send(host.fd, CHANNEL_MEASURE, 1, buf_bytes(&request)));
}

static bool front_hears(int timeout_ms, uint32_t type)
{
    struct pollfd channel = {.fd = host.fd, .events = POLLIN};
    while (poll(&channel, 1, timeout_ms) > 0) {
        BUF_AUTO memory = BUF_INIT;
        struct channel_frame f;
        OK(channel_receive(host.fd, &f, &memory));
        if (f.type == type)
            return true;
    }
    return false;
}

/* The size of the log, once it grows no more: the attester waits. */
static uint64_t size_at_rest(void)
{
    uint64_t size = 0, now;
    while ((now = grown()) > 0) {
        struct pollfd channel = {.fd = host.publisher_peer, .events = POLLIN};
        size = now;
        if (poll(&channel, 1, 1500) == 0)
            return size;
    }
    return size;
}

static void die(void)
{
    kill(host.pid, SIGKILL);
    waitpid(host.pid, NULL, 0);
    fd_close(&host.fd);
    fd_close(&host.publisher_peer);
}

static void the_first_head_that_is_quoted_has_the_quorum(void **state)
{
    (void)state;
    struct statement *s = calloc(1, sizeof *s);
    struct store *log;
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO entry = BUF_INIT;
    bool met = false;
    begin_to_measure();
    uint64_t size = size_at_rest();
    assert_int_equal(size, 3); /* host, boot, identity, and no quote yet */
    cosign(0, size);
    cosign(1, size);
    assert_true(front_hears(10000, CHANNEL_MEASURED));
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(store_entry_read(log, size, &entry));
    OK(statement_parse(s, buf_bytes(&entry)));
    assert_int_equal(s->kind, STATEMENT_QUOTE);
    assert_int_equal(s->quote.context.head_size, size);
    OK(store_witnessed_at(log, &policy, size, NULL, NULL, &met));
    assert_true(met);
    store_close(log);
    free(s);
    die();
}

static void a_witness_that_knows_another_log_stops_a_start(void **state)
{
    (void)state;
    BUF_AUTO payload = BUF_INIT;
    begin_to_measure();
    uint64_t size = size_at_rest();
    buf_append_u8(&payload, 1);
    buf_append_str(&payload, "witness 'w0' has cosigned a larger log");
    OK(channel_send(host.publisher_peer, CHANNEL_TROUBLE, 0, buf_bytes(&payload)));
    assert_true(front_hears(10000, CHANNEL_ERROR));
    host_ended(&host, ERR_UNTRUE, "a witness has seen another one. witness 'w0' has cosigned");
    fd_close(&host.publisher_peer);
    begin_to_measure(); /* nothing was quoted on it */
    assert_true(size_at_rest() <= size + 1);
    die();
}

static void witnesses_that_are_silent_delay_a_start_and_no_more(void **state)
{
    (void)state;
    begin_to_measure();
    assert_true(front_hears(20000, CHANNEL_MEASURED));
    die();
}

static void shows_the_newest_checkpoint_that_the_quorum_has_cosigned(void **state)
{
    (void)state;
    POLICY_AUTO asks = {0};
    POLICY_AUTO does_not = {0};
    enum outcome outcome;
    uint64_t shown, cosigned;
    witnessed_policy(&asks);
    host_policy(&does_not, &host, "");
    start();
    cosigned = grown();
    OK(verdict_of(&outcome, &shown, &asks));
    assert_int_equal(shown, cosigned);
    assert_int_equal(outcome, OUTCOME_FALSE);
    host_verify(&host, &does_not, true);
    cosign(0, cosigned);
    OK(verdict_of(&outcome, &shown, &asks));
    assert_int_equal(outcome, OUTCOME_FALSE);
    cosign(1, cosigned);
    for (int i = 0; i < 50 && outcome == OUTCOME_FALSE; i++)
        OK(verdict_of(&outcome, &shown, &asks));
    assert_int_equal(outcome, OUTCOME_TRUE);

    sleep(3); /* two more quotes */
    uint64_t newest = grown();
    assert_true(newest > cosigned);
    OK(verdict_of(&outcome, &shown, &asks));
    assert_int_equal(shown, cosigned);
    assert_int_equal(outcome, OUTCOME_TRUE);
    cosign(1, newest);
    cosign(0, newest);
    assert_int_equal(outcome_of_size(&asks, newest), OUTCOME_TRUE);
    cosign(0, cosigned); /* again, and of old: no harm */
    assert_int_equal(outcome_of_size(&asks, newest), OUTCOME_TRUE);
    kill(host.pid, SIGKILL);
    waitpid(host.pid, NULL, 0);
    fd_close(&host.fd);
    fd_close(&host.publisher_peer);
}

/* The answer to a planned stop. */
static void stop(struct buf *lacking)
{
    BUF_AUTO request = BUF_INIT;
    struct channel_frame answer;
    buf_append_u32be(&request, 600);
    OK(host_ask(&host, CHANNEL_STOP, buf_bytes(&request), &answer, lacking));
    assert_int_equal(answer.type, CHANNEL_STOPPED);
}

static void after_a_restart_a_cosigned_checkpoint_of_before_is_not_shown(void **state)
{
    (void)state;
    POLICY_AUTO asks = {0};
    enum outcome outcome;
    uint64_t shown;
    BUF_AUTO lacking = BUF_INIT;
    memset(host.measurement.spki_sha256, 0x66, SHA256_LEN);
    witnessed_policy(&asks);
    start();
    uint64_t size = grown();
    OK(verdict_of(&outcome, &shown, &asks));
    assert_true(shown >= size);
    assert_int_equal(outcome, OUTCOME_FALSE);
    stop(&lacking);
    assert_non_null(strstr(buf_str(&lacking), "have not cosigned its last"));
    host_ended(&host, ERR_NONE, "");
    fd_close(&host.publisher_peer);
}

static void a_stop_waits_for_the_last_cosignature(void **state)
{
    (void)state;
    BUF_AUTO request = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame f;
    start();
    grown();
    buf_append_u32be(&request, 600);
    OK(channel_send(host.fd, CHANNEL_STOP, 77, buf_bytes(&request)));
    for (;;) { /* until it wants us to end */
        OK(channel_receive(host.publisher_peer, &f, &memory));
        if (f.type == CHANNEL_END)
            break;
        struct reader r = reader_of(f.payload);
        uint64_t size = read_u64be(&r);
        cosign(0, size);
        cosign(1, size);
    }
    fd_close(&host.publisher_peer);
    do
        OK(channel_receive(host.fd, &f, &memory));
    while (f.id != 77);
    assert_int_equal(f.type, CHANNEL_STOPPED);
    assert_int_equal(f.payload.len, 0);
    host_ended(&host, ERR_NONE, "");
}

static void takes_no_line_that_does_not_verify(void **state)
{
    (void)state;
    static const char *const lines[] = {"wibble\n", "",
                                        "\xe2\x80\x94 first.example/w AAAAAAAAAAAAAAAAAAAA\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        start();
        send_line(0, grown(), bytes_of_str(lines[i]));
        int status;
        waitpid(host.pid, &status, 0);
        assert_true(host.ending->code == ERR_MALFORMED || host.ending->code == ERR_UNTRUE);
        fd_close(&host.fd);
        fd_close(&host.publisher_peer);
    }
}

static void ends_with_its_publisher(void **state)
{
    (void)state;
    start();
    fd_close(&host.publisher_peer);
    host_ended(&host, ERR_IO, "the publisher ended");
}

static void takes_no_policy_of_another_log(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO other = TLOG_POLICY_INIT;
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text,
                   "log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n");
    buf_append_str(&text, quorum);
    OK(tlog_policy_parse(&other, buf_bytes(&text)));
    host.options.witnesses = &other;
    host_start(&host);
    host_ended(&host, ERR_USAGE, "names other logs");
    host.options.witnesses = &policy;
}

static int setup(void **state)
{
    (void)state;
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return -1;
    name_witnesses();
    host.options.witnesses = &policy;
    host.options.quote_interval_s = host.measurement.quote_interval_s = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tlog_policy_cleanup(&policy);
    host_remove(&host);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_head_that_is_quoted_has_the_quorum),
        cmocka_unit_test(a_witness_that_knows_another_log_stops_a_start),
        cmocka_unit_test(witnesses_that_are_silent_delay_a_start_and_no_more),
        cmocka_unit_test(shows_the_newest_checkpoint_that_the_quorum_has_cosigned),
        cmocka_unit_test(after_a_restart_a_cosigned_checkpoint_of_before_is_not_shown),
        cmocka_unit_test(a_stop_waits_for_the_last_cosignature),
        cmocka_unit_test(takes_no_line_that_does_not_verify),
        cmocka_unit_test(ends_with_its_publisher),
        cmocka_unit_test(takes_no_policy_of_another_log),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
