/*
 * An attester whose log somebody else keeps: what it submits and in which order, what it quotes,
 * and that it believes no answer that is not the log's. The test is publisher, log service and
 * witness in one, and lies.
 */
#include "tests/unit/attester_fixture.h"

#include <poll.h>
#include <stdlib.h>

#include "server/publish_frames.h"
#include "server/queue_file.h"
#include "transparency/store.h"

#define SHARED "shared.example/log"

static struct host host;
static struct note_signer log_key, witness;
static struct tlog_policy policy;
static struct store *logs[2]; /* the log, and one with the same key and another past */
static char folder[64];

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

enum lie {
    TRUTH,
    NO_QUORUM,
    ANOTHER_KEY,
    ROLLED_BACK,
    FORKED,
    OTHERS_ENTRY,
    WRONG_PROOF,
    NO_PROOF,
    REFUSED,
    N_LIES,
};

static void append(struct store *log, struct bytes statement, const struct bytes *blobs, size_t n)
{
    const struct store_entry entry = {statement, blobs, n};
    BUF_AUTO line = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    uint64_t index;
    OK(store_append(log, &index, &entry, 1));
    struct note *parsed = calloc(1, sizeof *parsed);
    OK(store_checkpoint(log, &note, NULL));
    OK(note_parse(parsed, buf_bytes(&note)));
    OK(note_cosign(&line, parsed->text, &witness, 1700000000));
    free(parsed);
    OK(store_add_cosignature(log, index + 1, &witness.key, buf_bytes(&line)));
}

static uint64_t size_of(struct store *log)
{
    struct checkpoint c;
    OK(store_checkpoint(log, NULL, &c));
    return c.size;
}

/* As a service: a statement that is there is not appended again. */
static uint64_t take(struct bytes statement, const struct log_submission *s)
{
    for (uint64_t i = 0; i < size_of(logs[0]); i++) {
        BUF_AUTO entry = BUF_INIT;
        OK(store_entry_read(logs[0], i, &entry));
        if (bytes_equal(buf_bytes(&entry), statement))
            return i;
    }
    append(logs[0], statement, s->blobs, s->n_blobs);
    return size_of(logs[0]) - 1;
}

static void prove(struct proven *p, struct store *log, uint64_t size, const struct wanted *w)
{
    p->n_consistency = w->n_sizes;
    p->n_inclusion = w->n_indices;
    for (size_t i = 0; i < w->n_sizes; i++)
        if (w->sizes[i] <= size)
            OK(store_prove_consistency(log, &p->consistency[i], w->sizes[i], size));
    for (size_t i = 0; i < w->n_indices; i++)
        if (w->indices[i] < size)
            OK(store_prove_inclusion(log, &p->inclusion[i], w->indices[i], size));
    if (p->submitted && p->index < size)
        OK(store_prove_inclusion(log, &p->own, p->index, size));
}

static void other_key(struct buf *note, uint64_t size)
{
    struct note_signer other;
    struct checkpoint c;
    uint8_t seed[ED25519_SEED_LEN] = {99};
    BUF_AUTO text = BUF_INIT;
    OK(note_signer_init(&other, SHARED, NOTE_ED25519, seed));
    OK(store_checkpoint_at(logs[0], size, &text));
    OK(checkpoint_verify(&c, buf_bytes(&text), SHARED, &log_key.key));
    OK(checkpoint_sign(note, &c, &other));
}

/* The answer to what was asked, true but for the lie. */
static void answer(uint64_t id, struct proven *p, const struct wanted *w, enum lie lie)
{
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO payload = BUF_INIT;
    struct store *log = logs[lie == FORKED];
    uint64_t size = size_of(log) - (lie == ROLLED_BACK ? 2 : 0);
    if (lie == OTHERS_ENTRY && p->submitted)
        p->index--;
    prove(p, log, size, w);
    if (lie == NO_QUORUM)
        OK(store_checkpoint_at(log, size, &note));
    else if (lie == ANOTHER_KEY)
        other_key(&note, size);
    else
        OK(store_cosigned(log, size, &note));
    if (lie == WRONG_PROOF)
        p->consistency[0].hashes[0].bytes[0] ^= 1;
    if (lie == NO_PROOF)
        p->n_consistency = p->n_inclusion = 0;
    p->note = buf_bytes(&note);
    proven_encode(&payload, p);
    OK(channel_send(host.publisher_peer, CHANNEL_PROVEN, id, buf_bytes(&payload)));
}

static void refuse(uint64_t id)
{
    BUF_AUTO payload = BUF_INIT;
    channel_error_payload(&payload, err_set(ERR_BUSY, "the service is asleep"));
    OK(channel_send(host.publisher_peer, CHANNEL_ERROR, id, buf_bytes(&payload)));
}

/* The next request: what was submitted, or no statement where it only looks. Not answered yet. */
struct asked {
    uint64_t id;
    struct wanted wanted;
    bool submitted;
    struct statement statement;
    struct submit_request request;
    struct buf memory;
};

static struct asked *next_request(void)
{
    struct asked *q = calloc(1, sizeof *q);
    struct channel_frame f;
    struct pollfd channel = {.fd = host.publisher_peer, .events = POLLIN};
    assert_int_equal(poll(&channel, 1, 20000), 1);
    OK(channel_receive(host.publisher_peer, &f, &q->memory));
    q->id = f.id;
    q->submitted = f.type == CHANNEL_SUBMIT;
    if (!q->submitted) {
        assert_int_equal(f.type, CHANNEL_LOOK);
        OK(wanted_decode(&q->wanted, f.payload));
        return q;
    }
    OK(submit_request_decode(&q->request, f.payload));
    OK(statement_parse(&q->statement, q->request.submission.statement));
    q->wanted = q->request.wanted;
    return q;
}

static void asked_free(struct asked *q)
{
    buf_cleanup(&q->memory);
    free(q);
}

/* Takes the request. */
static void reply(struct asked *q, enum lie lie)
{
    struct proven *p = calloc(1, sizeof *p);
    p->submitted = q->submitted;
    if (q->submitted)
        p->index = take(q->request.submission.statement, &q->request.submission);
    if (lie == REFUSED)
        refuse(q->id);
    else
        answer(q->id, p, &q->wanted, lie);
    free(p);
    asked_free(q);
}

/* Until the next quote is logged. */
static void serve_to_a_quote(void)
{
    for (bool quote = false; !quote;) {
        struct asked *q = next_request();
        quote = q->submitted && q->statement.kind == STATEMENT_QUOTE;
        reply(q, TRUTH);
    }
}

static void start(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.publisher = pair[0];
    host.publisher_peer = pair[1];
    host_start_measured(&host);
}

static void die(void)
{
    kill(host.pid, SIGKILL);
    waitpid(host.pid, NULL, 0);
    fd_close(&host.fd);
    fd_close(&host.publisher_peer);
}

static void client_policy(struct policy *out)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nrelease none\nmax-interval 3600\nmax-age 3600\n");
    tlog_policy_format_quorum(&text, &policy);
    OK(attester_policy_lines(&host.options, true, &text));
    OK(measurement_policy_lines(&text, &host.measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

static struct err ask_for_evidence(struct buf *json)
{
    uint8_t nonce[NONCE_LEN] = {1};
    struct channel_frame f;
    BUF_AUTO memory = BUF_INIT;
    TRY(host_ask(&host, CHANNEL_QUOTE, bytes_of(nonce, sizeof nonce), &f, &memory));
    buf_append_bytes(json, f.payload);
    return err_ok();
}

/* The next thing that the front is told of publishing, that says so. */
static void front_hears(bool alarm, const char *part)
{
    struct publishing p = {0};
    for (int i = 0; i < 20; i++) {
        BUF_AUTO memory = BUF_INIT;
        struct channel_frame f;
        struct pollfd channel = {.fd = host.fd, .events = POLLIN};
        assert_int_equal(poll(&channel, 1, 20000), 1);
        OK(channel_receive(host.fd, &f, &memory));
        if (f.type != CHANNEL_PUBLISHING)
            continue;
        OK(publishing_decode(&p, f.payload));
        if (p.alarm == alarm && strstr(p.trouble, part) != NULL)
            return;
    }
    fail_msg("alarm %d, trouble '%s', not alarm %d, '%s'", p.alarm, p.trouble, alarm, part);
}

static void read_state(struct buf *out, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    OK(file_read(out, path_join(&path, host.state_dir, name), NOTE_MAX));
}

/* The next quote; what comes before it is served. */
static struct asked *next_quote(void)
{
    struct asked *q = next_request();
    for (; !q->submitted || q->statement.kind != STATEMENT_QUOTE; q = next_request())
        reply(q, TRUTH);
    return q;
}

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

static void make_logs(void)
{
    uint8_t seed[ED25519_SEED_LEN] = {7}, witness_seed[ED25519_SEED_LEN] = {8};
    BUF_AUTO text = BUF_INIT;
    OK(note_signer_init(&log_key, SHARED, NOTE_ED25519, seed));
    OK(note_signer_init(&witness, "witness.example/w", NOTE_COSIGNATURE, witness_seed));
    buf_append_str(&text, "log ");
    note_vkey_format(&text, &log_key.key);
    buf_append_str(&text, "\nwitness w ");
    note_vkey_format(&text, &witness.key);
    buf_append_str(&text, "\nquorum w\n");
    OK(tlog_policy_parse(&policy, buf_bytes(&text)));
    strcpy(folder, "/tmp/attester-remote-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        BUF_AUTO path = BUF_INIT;
        buf_printf(&path, "%s/log%d.db", folder, i);
        OK(store_create(buf_str(&path), &log_key));
        OK(store_open(&logs[i], buf_str(&path), &log_key));
        for (int n = 0; n < (i == 0 ? 1 : 200); n++) { /* somebody else's */
            char other[32];
            int len = snprintf(other, sizeof other, "entry %d of log %d", n, i);
            append(logs[i], bytes_of(other, (size_t)len), NULL, 0);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return -1;
    make_logs();
    host.options.witnesses = &policy;
    host.options.log_is_remote = true;
    host.options.origin = SHARED;
    host.options.quote_interval_s = host.measurement.quote_interval_s = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        store_close(logs[i]);
    tlog_policy_cleanup(&policy);
    shell("rm -rf '%s'", folder);
    host_remove(&host);
    return 0;
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
