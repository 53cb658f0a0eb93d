/*
 * An attester whose log somebody else keeps: what it submits and in which order, what it quotes,
 * and that it believes no answer that is not the log's. The test is publisher, log service and
 * witness in one, and lies.
 */
#include "tests/unit/remote_scene.h"

static void says_host_boot_and_identity_and_then_quotes(void **state)
{
    (void)state;
    static const enum statement_kind order[] = {STATEMENT_HOST, STATEMENT_BOOT, STATEMENT_IDENTITY,
                                                STATEMENT_QUOTE};
    POLICY_AUTO asks = {0};
    BUF_AUTO json = BUF_INIT;
    client_policy(&asks);
    start();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ask_for_evidence(&json).code, ERR_BUSY); /* not before it is logged */
        struct asked *q = next_request();
        assert_true(q->submitted);
        assert_int_equal(q->statement.kind, order[i]);
        assert_memory_equal(q->request.submission.spki_sha256, host.measurement.spki_sha256,
                            SHA256_LEN);
        if (order[i] == STATEMENT_QUOTE)
            assert_int_equal(q->statement.quote.context.head_size, 4); /* one was there before */
        reply(q, TRUTH);
    }
    serve_to_a_quote();
    struct asked *q = next_request(); /* the one before is believed by now */
    host_verify(&host, &asks, true);
    reply(q, TRUTH);
    die();
}

static void another_restart_submits_what_waits_first(void **state)
{
    (void)state;
    static const enum statement_kind order[] = {STATEMENT_QUOTE, STATEMENT_IDENTITY};
    start();
    serve_to_a_quote();
    struct asked *q = next_quote();
    take(q->request.submission.statement, &q->request.submission); /* logged, and nobody was told */
    asked_free(q);
    die();
    uint64_t size = size_of(logs[0]);
    memset(host.measurement.spki_sha256, 0x66, SHA256_LEN);
    start();
    for (size_t i = 0; i < 2; i++) {
        q = next_request();
        assert_true(q->submitted);
        assert_int_equal(q->statement.kind, order[i]);
        assert_true(i > 0 || q->request.search_from < size); /* it is looked for first */
        reply(q, TRUTH);
        assert_int_equal(size_of(logs[0]), size + i);
    }
    serve_to_a_quote();
    die();
}

static void believes_no_answer_that_is_not_the_logs(void **state)
{
    (void)state;
    static const struct {
        enum lie lie;
        bool alarm;
        const char *part;
    } lies[] = {
        {NO_QUORUM, false, "the log service's checkpoint"},
        {ANOTHER_KEY, false, "the log service's checkpoint"},
        {ROLLED_BACK, true, "does not continue"},
        {FORKED, true, "does not continue"},
        {OTHERS_ENTRY, false, "is not this host's quote"},
        {WRONG_PROOF, true, "does not continue"},
        {NO_PROOF, true, "does not continue"},
        {REFUSED, false, "asleep"},
    };
    assert_int_equal(sizeof lies / sizeof *lies, N_LIES - 1);
    start();
    serve_to_a_quote(); /* of the life before, perhaps */
    serve_to_a_quote();
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        BUF_AUTO before = BUF_INIT;
        BUF_AUTO after = BUF_INIT;
        BUF_AUTO json = BUF_INIT;
        struct asked *q = next_quote();
        uint64_t period = q->statement.quote.context.period;
        read_state(&before, "log.head");
        reply(q, lies[i].lie);
        front_hears(lies[i].alarm, lies[i].part);
        read_state(&after, "log.head");
        assert_true(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
        assert_int_equal(ask_for_evidence(&json).code, lies[i].alarm ? ERR_BUSY : ERR_NONE);
        q = next_request();
        if (lies[i].alarm) { /* it looks, and gives that log nothing */
            assert_false(q->submitted);
            reply(q, TRUTH);
            q = next_request();
        }
        /* the same statement again, and nothing new */
        assert_true(q->submitted);
        assert_int_equal(q->statement.quote.context.period, period);
        reply(q, TRUTH);
        front_hears(false, "");
    }
    BUF_AUTO kept = BUF_INIT;
    read_state(&kept, "log.forked");
    die();
}

static void answers_to_nothing_end_it(void **state)
{
    (void)state;
    start();
    struct asked *q = next_request();
    q->id++;
    reply(q, TRUTH);
    host_ended(&host, ERR_MALFORMED, "answers what was not asked");
    fd_close(&host.publisher_peer);
    start();
    q = next_request();
    OK(channel_send(host.publisher_peer, CHANNEL_PROVEN, q->id, bytes_of("wibble", 6)));
    host_ended(&host, ERR_MALFORMED, "channel: a frame on a checkpoint");
    asked_free(q);
    fd_close(&host.publisher_peer);
}

static void a_challenge_goes_to_the_tpm(void **state)
{
    (void)state;
    start();
    struct asked *q = next_request();
    struct channel_frame f;
    BUF_AUTO memory = BUF_INIT;
    const uint8_t rubbish[] = {0, 2, 1, 2, 0, 2, 3, 4};
    OK(channel_send(host.publisher_peer, CHANNEL_ACTIVATE, q->id, bytes_of(rubbish, 8)));
    OK(channel_receive(host.publisher_peer, &f, &memory));
    assert_int_equal(f.type, CHANNEL_ERROR); /* the TPM refuses it, and the attester goes on */
    assert_int_equal(f.id, q->id);
    reply(q, TRUTH);
    serve_to_a_quote();
    die();
}

static void refuses_a_state_that_lost_its_queue_or_head(void **state)
{
    (void)state;
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO away = BUF_INIT;
    BUF_AUTO head = BUF_INIT;
    path_join(&path, host.state_dir, "log.queue");
    path_join(&away, host.state_dir, "away");
    assert_int_equal(rename(buf_str(&path), buf_str(&away)), 0);
    host_start(&host);
    host_ended(&host, ERR_UNTRUE, "log.queue is gone");
    assert_int_equal(rename(buf_str(&away), buf_str(&path)), 0);
    buf_clear(&path);
    path_join(&path, host.state_dir, "log.head");
    OK(file_read(&head, buf_str(&path), NOTE_MAX));
    BUF_AUTO damaged = BUF_INIT;
    buf_append_bytes(&damaged, buf_bytes(&head));
    damaged.data[damaged.len - 10] ^= 4;
    OK(file_write_durable(buf_str(&path), buf_bytes(&damaged), 0600));
    host_start(&host);
    int status;
    waitpid(host.pid, &status, 0);
    fd_close(&host.fd);
    assert_non_null(strstr(host.ending->message, "log.head does not hold"));
    OK(file_write_durable(buf_str(&path), buf_bytes(&head), 0600));
    start();
    serve_to_a_quote();
    die();
}

static void a_full_queue_lets_no_start_say_more(void **state)
{
    (void)state;
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO full = BUF_INIT;
    start(); /* its identity waits */
    die();
    path_join(&path, host.state_dir, "log.queue");
    OK(file_read(&text, buf_str(&path), QUEUE_FILE_MAX));
    struct queue_file q;
    OK(queue_file_parse(&q, buf_bytes(&text)));
    assert_true(q.n_waiting > 0);
    for (; q.n_waiting < QUEUE_WAITING_MAX; q.n_waiting++)
        q.waiting[q.n_waiting] = q.waiting[q.n_waiting - 1];
    queue_file_format(&full, &q);
    OK(file_write_durable(buf_str(&path), buf_bytes(&full), 0600));
    host_start(&host);
    assert_int_equal(host_measure(&host).code, ERR_LIMIT);
    host_ended(&host, ERR_LIMIT, "64 statements of this host wait for the log " SHARED);
    OK(file_write_durable(buf_str(&path), buf_bytes(&text), 0600));
    start();
    serve_to_a_quote();
    die();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_host_boot_and_identity_and_then_quotes),
        cmocka_unit_test(another_restart_submits_what_waits_first),
        cmocka_unit_test(believes_no_answer_that_is_not_the_logs),
        cmocka_unit_test(answers_to_nothing_end_it),
        cmocka_unit_test(a_challenge_goes_to_the_tpm),
        cmocka_unit_test(refuses_a_state_that_lost_its_queue_or_head),
        cmocka_unit_test(a_full_queue_lets_no_start_say_more),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
