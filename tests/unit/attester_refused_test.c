/*
 * What a log refuses for good: what quotes rest on holds them up, all else is set aside with its
 * reason and found by an auditor, and nothing is lost, whenever the attester is killed.
 */
#include "tests/unit/remote_scene.h"

#include "attest/replay.h"

enum { REFUSALS = 3 };

static struct queue_file queue_now(void)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct queue_file q;
    OK(file_read(&text, path_join(&path, host.state_dir, "log.queue"), QUEUE_FILE_MAX));
    OK(queue_file_parse(&q, buf_bytes(&text)));
    return q;
}

/* The statement that was set aside as the n-th, from the folder of blobs. */
static void read_refused(struct statement *out, const struct queue_file *q, size_t n)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    buf_printf(&path, "%s/log.blobs/", host.state_dir);
    buf_append_hex(&path, bytes_of(q->refused[n].sha256, SHA256_LEN));
    OK(file_read(&text, buf_str(&path), 65535));
    OK(statement_parse(out, buf_bytes(&text)));
}

/* Refuses the statement of a kind `n` times; what comes before it is served. */
static void refuse_kind(enum statement_kind kind, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        struct asked *q = next_request();
        if (!q->submitted || q->statement.kind != kind) {
            if (i > 0)
                fail_msg("refused %u times, then asked for %s", i,
                         q->submitted ? statement_kind_name(q->statement.kind) : "a look");
            reply(q, TRUTH);
            continue;
        }
        refuse_for_good(q, LOG_REFUSED_STATEMENT, "422: not in my \x01 policy");
        i++;
    }
}

/* A first quote may be one that waited since the life before. */
static void serve_to_quotes(void)
{
    serve_to_a_quote();
    serve_to_a_quote();
}

static struct publishing front_hears_refused(uint64_t n)
{
    struct publishing p = {0};
    for (int i = 0; i < 40; i++) {
        BUF_AUTO memory = BUF_INIT;
        struct channel_frame f;
        struct pollfd channel = {.fd = host.fd, .events = POLLIN};
        assert_int_equal(poll(&channel, 1, 20000), 1);
        OK(channel_receive(host.fd, &f, &memory));
        if (f.type == CHANNEL_PUBLISHING)
            OK(publishing_decode(&p, f.payload));
        if (p.n_refused == n)
            return p;
    }
    fail_msg("%llu refused, not %llu", (unsigned long long)p.n_refused, (unsigned long long)n);
    return p;
}

/* A note of an activator on the host that a statement presents, sent to it. */
static uint64_t send_note(const struct statement *s, int activator)
{
    static uint64_t time_s = 1000;
    struct activation activation = {.time_s = time_s++, .ak_name = s->ak_name};
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    memcpy(activation.ek_certificate, s->host.ek_certificate.sha256, SHA256_LEN);
    strcpy(activation.origin, SHARED);
    activation_format(&text, &activation);
    OK(note_sign(&note, buf_bytes(&text), &host.activator_keys[activator]));
    OK(channel_send(host.fd, CHANNEL_ACTIVATION, ++host.next_id, buf_bytes(&note)));
    return host.next_id;
}

static uint64_t send_activation(int activator)
{
    struct statement *s = calloc(1, sizeof *s);
    BUF_AUTO entry = BUF_INIT;
    OK(store_entry_read(logs[0], 1, &entry));
    OK(statement_parse(s, buf_bytes(&entry)));
    uint64_t id = send_note(s, activator);
    free(s);
    return id;
}

/* What a request to the host was answered with. */
static struct err answer_to(uint64_t id)
{
    for (;;) {
        BUF_AUTO memory = BUF_INIT;
        struct channel_frame f;
        struct pollfd channel = {.fd = host.fd, .events = POLLIN};
        assert_int_equal(poll(&channel, 1, 20000), 1);
        OK(channel_receive(host.fd, &f, &memory));
        if (f.id == id)
            return f.type == CHANNEL_ERROR ? channel_error_decode(f.payload) : err_ok();
    }
}

static void auditors_policy(struct policy *out)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nrelease none\nmax-interval 3600\nmax-age 3600\n"
                          "activator ");
    note_vkey_format(&text, &host.activators[0]);
    buf_append_str(&text, "\n");
    tlog_policy_format_quorum(&text, &policy);
    OK(attester_policy_lines(&host.options, true, &text));
    OK(measurement_policy_lines(&text, &host.measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

static struct err blob_of(void *context, const uint8_t hash[SHA256_LEN], struct buf *out)
{
    return store_blob_read(context, hash, out);
}

/* An auditor's findings of a code on this log; entries that are no statements are not this host's.
 */
static size_t audit(const char *code, enum finding_severity severity)
{
    POLICY_AUTO asks = {0};
    struct replay *r;
    struct replay_summary *summary = calloc(1, sizeof *summary);
    BUF_AUTO note = BUF_INIT;
    size_t n = 0;
    auditors_policy(&asks);
    OK(replay_new(&r, &asks, blob_of, logs[0]));
    for (int pass = 0; pass < 2; pass++)
        for (uint64_t i = 0; i < size_of(logs[0]); i++) {
            BUF_AUTO entry = BUF_INIT;
            struct replay_line line;
            OK(store_entry_read(logs[0], i, &entry));
            if (pass == 0)
                OK(replay_survey(r, buf_bytes(&entry)));
            else
                OK(replay_entry(r, &line, i, buf_bytes(&entry)));
            if (pass == 1 && line.parsed && line.status != RULE_TRUE)
                fail_msg("entry %llu: %s %s", (unsigned long long)i, line.code, line.text);
        }
    OK(store_cosigned(logs[0], size_of(logs[0]), &note));
    OK(replay_finish(r, summary, buf_bytes(&note)));
    for (size_t i = 0; i < summary->n_findings; i++)
        n += strcmp(summary->findings[i].code, code) == 0 &&
             summary->findings[i].severity == severity;
    replay_free(r);
    free(summary);
    return n;
}

/* A log knows a host by its host statement first: without one nothing of it is taken. */
static void another_host_statement_takes_the_place_of_a_refused_one(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < REFUSALS; i++) { /* the only one: it is asked for again and again */
        struct asked *q = next_request();
        assert_int_equal(q->statement.kind, STATEMENT_HOST);
        refuse_for_good(q, LOG_REFUSED_STATEMENT, "422: no root of mine");
    }
    struct asked *q = next_request();
    assert_int_equal(q->statement.kind, STATEMENT_HOST);
    uint64_t id = send_note(&q->statement, 1); /* makes another one */
    for (int i = 0; i < 200 && queue_now().n_waiting < 4; i++)
        usleep(50 * 1000);
    front_hears(false, "no quote is made while the log refuses this host's host: 422");
    refuse_for_good(q, LOG_REFUSED_STATEMENT, "422: no root of mine");
    front_hears_refused(1);
    q = next_request(); /* in front of boot and identity, and what the session begins with */
    assert_true(q->submitted && q->statement.kind == STATEMENT_HOST);
    assert_int_equal(q->statement.host.n_activations, 1);
    assert_true(bytes_equal(q->request.submission.host, q->request.submission.statement));
    reply(q, TRUTH);
    OK(answer_to(id));
    serve_to_a_quote();
    die();
    shell("sed -i '/^refused /d' %s/log.queue", host.state_dir);
}

static void a_refused_quote_is_set_aside_and_missed_by_an_auditor(void **state)
{
    (void)state;
    struct statement *aside = calloc(1, sizeof *aside);
    start();
    serve_to_quotes();
    uint64_t id = send_activation(0);
    serve_to_quotes();
    OK(answer_to(id));
    refuse_kind(STATEMENT_QUOTE, REFUSALS);
    struct publishing p = front_hears_refused(1);
    assert_non_null(strstr(p.refused, "the quote statement log.blobs/"));
    assert_non_null(strstr(p.refused, "422: not in my ? policy"));
    struct queue_file q = queue_now();
    assert_int_equal(q.n_refused, 1);
    assert_string_equal(q.refused[0].reason, "422: not in my ? policy");
    read_refused(aside, &q, 0);
    struct asked *next = next_quote(); /* quotes go on, on the last that is logged */
    const struct quote_context *was = &aside->quote.context, *is = &next->statement.quote.context;
    assert_int_equal(is->period, was->period + 1);
    assert_int_equal(is->previous_index, was->previous_index);
    reply(next, TRUTH);
    serve_to_a_quote();
    die();
    assert_int_equal(audit("SKIPPED", FINDING_WARNING), 1);
    start(); /* it is still there, and said */
    serve_to_quotes();
    assert_non_null(strstr(front_hears_refused(1).refused, "422: not in my ? policy"));
    assert_int_equal(queue_now().n_refused, 1);
    die();
    free(aside);
}

static void quotes_wait_for_the_identity_that_they_rest_on(void **state)
{
    (void)state;
    memset(host.measurement.spki_sha256, 0x66, SHA256_LEN);
    start();
    refuse_kind(STATEMENT_IDENTITY, REFUSALS + 3);
    front_hears(false, "no quote is made while the log refuses this host's identity: 422");
    struct asked *q = next_request();
    assert_true(q->submitted && q->statement.kind == STATEMENT_IDENTITY);
    asked_free(q);
    die();
    assert_int_equal(queue_now().n_refused, 1); /* of the test before */
    memset(host.measurement.spki_sha256, 0x67, SHA256_LEN);
    start(); /* the key of before is dead: what replaces it waits behind it */
    refuse_kind(STATEMENT_IDENTITY, REFUSALS);
    front_hears_refused(2);
    q = next_request();
    assert_true(q->submitted && q->statement.kind == STATEMENT_IDENTITY);
    assert_memory_equal(q->statement.identity.spki_sha256, host.measurement.spki_sha256,
                        SHA256_LEN);
    reply(q, TRUTH);
    serve_to_quotes();
    POLICY_AUTO asks = {0};
    client_policy(&asks);
    q = next_request();
    host_verify(&host, &asks, true); /* and clients believe it */
    reply(q, TRUTH);
    die();
    assert_int_equal(audit("SKIPPED", FINDING_WARNING), 2);
}

/* The boot that no log holds is missing by the TPM's own counter. */
static void a_refused_boot_is_a_gap_in_the_counter(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
        start();
        if (i == 0)
            refuse_kind(STATEMENT_BOOT, REFUSALS + 1); /* needed, as long as there is no other */
        if (i == 0)
            die();
    }
    size_t n = queue_now().n_refused;
    refuse_kind(STATEMENT_BOOT, REFUSALS);
    refuse_kind(STATEMENT_IDENTITY, REFUSALS);
    front_hears_refused(n + 2);
    serve_to_quotes();
    die();
    assert_int_equal(audit("COUNTER-GAP", FINDING_ERROR), 1);
}

static void whoever_brought_what_was_refused_is_told(void **state)
{
    (void)state;
    size_t n = queue_now().n_refused;
    start();
    serve_to_quotes();
    uint64_t id = send_activation(1);
    refuse_kind(STATEMENT_HOST, REFUSALS);
    struct err e = answer_to(id);
    assert_int_equal(e.code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "not in my ? policy"));
    serve_to_a_quote();
    assert_int_equal(queue_now().n_refused, n + 1);
    id = send_activation(1); /* and may bring it again */
    serve_to_quotes();
    OK(answer_to(id));
    die();
}

static void refusals_of_the_host_or_in_passing_set_nothing_aside(void **state)
{
    (void)state;
    start();
    serve_to_quotes();
    struct queue_file before = queue_now();
    for (int i = 0; i < REFUSALS + 2; i++) {
        struct asked *q = next_quote();
        refuse_for_good(q, LOG_REFUSED_HOST, "no root of mine");
    }
    front_hears(false, "no root of mine");
    refuse_kind(STATEMENT_QUOTE, REFUSALS - 1);
    serve_to_a_quote(); /* the same one */
    refuse_kind(STATEMENT_QUOTE, REFUSALS - 1);
    serve_to_a_quote();
    assert_int_equal(queue_now().n_refused, before.n_refused);
    die();
}

static void a_full_list_holds_up_and_is_said(void **state)
{
    (void)state;
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct queue_file q = queue_now(), good = q;
    for (; q.n_refused < QUEUE_REFUSED_MAX; q.n_refused++)
        q.refused[q.n_refused] = q.refused[0];
    queue_file_format(&text, &q);
    OK(file_write_durable(path_join(&path, host.state_dir, "log.queue"), buf_bytes(&text), 0600));
    start();
    serve_to_quotes();
    refuse_kind(STATEMENT_QUOTE, REFUSALS + 2);
    front_hears(false, "16 statements are set aside already");
    serve_to_a_quote(); /* the same, once the log takes it */
    die();
    q = queue_now();
    assert_int_equal(q.n_refused, QUEUE_REFUSED_MAX);
    q.n_refused = good.n_refused; /* as its message says */
    buf_clear(&text);
    queue_file_format(&text, &q);
    OK(file_write_durable(buf_str(&path), buf_bytes(&text), 0600));
    start();
    serve_to_quotes();
    die();
}

static void a_refusal_of_nothing_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } wrong[] = {{"", 0}, {"\0why", 4}, {"\3why", 4}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        start();
        struct asked *q = next_request();
        OK(channel_send(host.publisher_peer, CHANNEL_REFUSED, q->id,
                        bytes_of(wrong[i].bytes, wrong[i].len)));
        host_ended(&host, ERR_MALFORMED, "a refusal of nothing");
        asked_free(q);
        fd_close(&host.publisher_peer);
    }
    start();
    serve_to_quotes();
    die();
}

static int setup_impatient(void **state)
{
    int failed = setup(state);
    host.options.refused_pause_s = 1;
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_host_statement_takes_the_place_of_a_refused_one),
        cmocka_unit_test(a_refused_quote_is_set_aside_and_missed_by_an_auditor),
        cmocka_unit_test(quotes_wait_for_the_identity_that_they_rest_on),
        cmocka_unit_test(whoever_brought_what_was_refused_is_told),
        cmocka_unit_test(refusals_of_the_host_or_in_passing_set_nothing_aside),
        cmocka_unit_test(a_full_list_holds_up_and_is_said),
        cmocka_unit_test(a_refusal_of_nothing_ends_it),
        cmocka_unit_test(a_refused_boot_is_a_gap_in_the_counter),
    };
    return cmocka_run_group_tests(tests, setup_impatient, teardown);
}
