/* Ten thousand clients wait: the TPM is asked once for all of them. Somebody on the bus counts. */
#include "tests/unit/attester_fixture.h"

#include "attest/evidence.h"
#include "tests/unit/tpm_bus.h"

enum { N_CLIENTS = 10000, N_CLIENTS_FEW = 1000, CC_QUOTE = 0x158 };

static struct host host;
static struct tpm_bus bus;

/* Commands of that code; commands and answers lie one after the other, each with its length. */
static unsigned count_commands(uint32_t code)
{
    const struct bus_orders *o = bus.orders;
    unsigned n = 0, i = 0;
    assert_true(o->heard_len < BUS_HEARD_MAX - BUS_MESSAGE_MAX); /* nothing was left out */
    for (size_t at = 0; at < o->heard_len; at += bus_u32(o->heard + at + 2), i++)
        n += i % 2 == 0 && bus_u32(o->heard + at + 6) == code;
    return n;
}

static void nonce_of(uint8_t out[NONCE_LEN], uint64_t i)
{
    memset(out, 0x5a, NONCE_LEN);
    memcpy(out, &i, sizeof i);
}

/* The attester sleeps while they come, so that all of them wait. They are more than a socket holds,
 * unless root says otherwise: without that right fewer wait. */
static uint64_t let_nonces_wait(void)
{
    BUF_AUTO frames = BUF_INIT;
    int room = 16 << 20;
    bool roomy = setsockopt(host.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) == 0;
    uint64_t n = roomy ? N_CLIENTS : N_CLIENTS_FEW;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t nonce[NONCE_LEN];
        nonce_of(nonce, i);
        channel_encode(&frames, CHANNEL_QUOTE, i, bytes_of(nonce, sizeof nonce));
    }
    assert_int_equal(kill(host.pid, SIGSTOP), 0);
    assert_int_equal(send(host.fd, frames.data, frames.len, MSG_DONTWAIT), frames.len);
    assert_int_equal(kill(host.pid, SIGCONT), 0);
    return n;
}

static void check_answer(struct statement *s, struct bytes json, uint64_t i, uint64_t n)
{
    __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
    uint8_t nonce[NONCE_LEN];
    OK(evidence_parse(&e, json));
    OK(statement_parse(s, buf_bytes(&e.quote)));
    nonce_of(nonce, i);
    struct merkle_hash leaf = merkle_leaf(bytes_of(nonce, sizeof nonce));
    assert_int_equal(s->quote.context.n_nonces, n);
    assert_int_equal(e.nonce_index, i);
    OK(merkle_verify_inclusion(&leaf, i, n, &e.nonce_proof, &s->quote.context.nonce_root));
}

static void ten_thousand_waiting_clients_take_one_quote(void **state)
{
    (void)state;
    BUF_AUTO memory = BUF_INIT;
    struct statement *s = calloc(1, sizeof *s);
    struct channel_frame frame;
    host_start_measured(&host);
    unsigned before = count_commands(CC_QUOTE);
    assert_true(before >= 1); /* the first, logged one: counting works */
    uint64_t n = let_nonces_wait();
    for (uint64_t i = 0; i < n; i++) {
        OK(channel_receive(host.fd, &frame, &memory));
        assert_int_equal(frame.type, CHANNEL_EVIDENCE);
        assert_int_equal(frame.id, i);
        if (i % 97 == 0 || i + 1 == n)
            check_answer(s, frame.payload, i, n);
    }
    assert_int_equal(count_commands(CC_QUOTE), before + 1);
    host_stop(&host);
    free(s);
}

/* Nobody comes at the same moment, and the TPM is slow: whoever comes while it works waits for the
 * next quote, together with all others. */
enum { N_TRICKLE = 600, TRICKLE_US = 2000, SLOW_US = 10 * 1000, IN_FLIGHT_MAX = 2 };

static void send_nonce(uint64_t i)
{
    uint8_t nonce[NONCE_LEN];
    nonce_of(nonce, i);
    OK(channel_send(host.fd, CHANNEL_QUOTE, i, bytes_of(nonce, sizeof nonce)));
}

/* One answer; the number of nonces under its quote. */
static uint64_t take_answer(struct statement *s, bool *seen)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame frame;
    __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
    OK(channel_receive(host.fd, &frame, &memory));
    assert_int_equal(frame.type, CHANNEL_EVIDENCE);
    assert_true(frame.id < N_TRICKLE && !seen[frame.id]);
    seen[frame.id] = true;
    OK(evidence_parse(&e, frame.payload));
    OK(statement_parse(s, buf_bytes(&e.quote)));
    return s->quote.context.n_nonces;
}

static bool is_answered(int timeout_ms)
{
    struct pollfd channel = {.fd = host.fd, .events = POLLIN};
    return poll(&channel, 1, timeout_ms) > 0;
}

static void clients_without_end_keep_two_commands_in_flight_at_most(void **state)
{
    (void)state;
    struct bus_orders *o = bus.orders;
    struct statement *s = calloc(1, sizeof *s);
    static bool seen[N_TRICKLE];
    uint64_t n_answers = 0, most = 0;
    host_start_measured(&host);
    o->slow_us = SLOW_US;
    o->most_in_flight = 0;
    unsigned before = count_commands(CC_QUOTE);
    for (uint64_t i = 0; i < N_TRICKLE; i++, usleep(TRICKLE_US)) {
        send_nonce(i);
        for (; n_answers < i && is_answered(0); n_answers++) {
            uint64_t n = take_answer(s, seen);
            most = n > most ? n : most;
        }
    }
    while (n_answers < N_TRICKLE && is_answered(20000)) {
        uint64_t n = take_answer(s, seen);
        most = n > most ? n : most;
        n_answers++;
    }
    o->slow_us = 0;
    unsigned n_quotes = count_commands(CC_QUOTE) - before;
    assert_int_equal(n_answers, N_TRICKLE); /* each its own */
    assert_in_range(o->most_in_flight, 1, IN_FLIGHT_MAX);
    assert_in_range(n_quotes, 2, N_TRICKLE / 4);
    assert_true(most > 1);
    host_stop(&host);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_waiting_clients_take_one_quote),
        cmocka_unit_test(clients_without_end_keep_two_commands_in_flight_at_most),
    };
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0 || tpm_bus_start(&bus, &host.tpm) != 0)
        return 1;
    host.options.tcti = bus.tcti;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tpm_bus_stop(&bus);
    host_remove(&host);
    return failed;
}
