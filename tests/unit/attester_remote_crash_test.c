/*
 * An attester whose log somebody else keeps is killed by its own hand before or after the n-th of
 * its durable calls (this program is linked with --wrap for them), life after life: each goes on
 * where the one before was, and at the end every statement is in the log once, quotes in a chain.
 */
#include "tests/unit/remote_scene.h"

enum { STEPS_MAX = 90, STRIDE = 5 }; /* a start and its first quote take fewer */

static unsigned die_at_step; /* 0: never */

static void step(void)
{
    if (die_at_step > 0 && --die_at_step == 0)
        kill(getpid(), SIGKILL);
}

/* The linker sends the attester's calls of NAME here. */
#define WRAP(result, name, parameters, arguments)                                                  \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        step();                                                                                    \
        result r = __real_##name arguments;                                                        \
        step();                                                                                    \
        return r;                                                                                  \
    }

WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(struct err, fd_write_all, (int fd, struct bytes data), (fd, data))

/* Serves what is asked until the process has died, or a quote after its statements is logged and
 * believed. */
static bool serve_until_dead(void)
{
    bool identity = false, quote = false;
    for (;;) {
        struct asked *q = calloc(1, sizeof *q);
        struct channel_frame f;
        bool dead = is_err(channel_receive(host.publisher_peer, &f, &q->memory));
        if (dead || quote) {
            asked_free(q);
            return dead;
        }
        decode_request(q, &f);
        identity = identity || (q->submitted && q->statement.kind == STATEMENT_IDENTITY);
        quote = identity && q->submitted && q->statement.kind == STATEMENT_QUOTE;
        reply(q, TRUTH);
    }
}

/* One life; true if it was killed at the step. */
static bool live(unsigned at_step, uint8_t spki)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.publisher = pair[0];
    host.publisher_peer = pair[1];
    memset(host.measurement.spki_sha256, spki, SHA256_LEN);
    die_at_step = at_step;
    host_start(&host);
    die_at_step = 0;
    bool killed = is_err(host_measure(&host)) || serve_until_dead();
    kill(host.pid, SIGKILL);
    int status;
    waitpid(host.pid, &status, 0);
    if (WIFEXITED(status))
        fail_msg("step %u: the attester ended: %s", at_step, host.ending->message);
    fd_close(&host.fd);
    fd_close(&host.publisher_peer);
    return killed;
}

/* Every statement once; each quote names the one before. */
static void check_log(size_t n_lives)
{
    uint64_t size = size_of(logs[0]), last = 0;
    size_t n_identities = 0, n_quotes = 0;
    struct merkle_hash *leaves = calloc(size, sizeof *leaves);
    struct statement *s = calloc(1, sizeof *s);
    for (uint64_t i = 0; i < size; i++) {
        BUF_AUTO text = BUF_INIT;
        OK(store_entry_read(logs[0], i, &text));
        leaves[i] = merkle_leaf(buf_bytes(&text));
        for (uint64_t j = 0; j < i; j++)
            assert_false(merkle_equal(&leaves[i], &leaves[j]));
        if (is_err(statement_parse(s, buf_bytes(&text))))
            continue; /* somebody else's */
        n_identities += s->kind == STATEMENT_IDENTITY;
        if (s->kind != STATEMENT_QUOTE)
            continue;
        const struct quote_context *c = &s->quote.context;
        assert_int_equal(c->has_previous, n_quotes > 0);
        if (n_quotes > 0) {
            assert_int_equal(c->previous_index, last);
            assert_true(merkle_equal(&c->previous_leaf, &leaves[last]));
        }
        last = i;
        n_quotes++;
    }
    assert_true(n_quotes > 0 && n_identities > n_lives / 2);
    free(s);
    free(leaves);
}

static void killed_at_every_step_it_goes_on(void **state)
{
    (void)state;
    size_t n_killed = 0, n_lives = 0;
    may_die = true;
    for (unsigned at = 1; at <= STEPS_MAX; at += STRIDE, n_lives++)
        n_killed += live(at, (uint8_t)(at + 1));
    assert_true(n_killed > n_lives / 2);
    assert_false(live(0, 0xee));
    may_die = false;
    check_log(n_lives);
    start();
    serve_to_a_quote();
    serve_to_a_quote();
    POLICY_AUTO asks = {0};
    client_policy(&asks);
    struct asked *q = next_request();
    host_verify(&host, &asks, true);
    reply(q, TRUTH);
    die();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_step_it_goes_on),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
