/*
 * A host whose log somebody else keeps, for tests: publisher, log service and witness are one, in
 * the test's process, and may lie. The log has one entry of somebody else's at first.
 */
#ifndef TESTS_UNIT_REMOTE_SCENE_H
#define TESTS_UNIT_REMOTE_SCENE_H

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
static bool may_die; /* the attester, at any moment */

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

static inline void append(struct store *log, struct bytes statement, const struct bytes *blobs,
                          size_t n)
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

static inline uint64_t size_of(struct store *log)
{
    struct checkpoint c;
    OK(store_checkpoint(log, NULL, &c));
    return c.size;
}

/* As a service: a statement that is there is not appended again. */
static inline uint64_t take(struct bytes statement, const struct log_submission *s)
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

static inline void prove(struct proven *p, struct store *log, uint64_t size, const struct wanted *w)
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

static inline void other_key(struct buf *note, uint64_t size)
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
static inline void answer(uint64_t id, struct proven *p, const struct wanted *w, enum lie lie)
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
    struct err sent = channel_send(host.publisher_peer, CHANNEL_PROVEN, id, buf_bytes(&payload));
    if (!may_die)
        OK(sent);
}

static inline void refuse(uint64_t id)
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

static inline void decode_request(struct asked *q, const struct channel_frame *f)
{
    q->id = f->id;
    q->submitted = f->type == CHANNEL_SUBMIT;
    if (!q->submitted) {
        assert_int_equal(f->type, CHANNEL_LOOK);
        OK(wanted_decode(&q->wanted, f->payload));
        return;
    }
    OK(submit_request_decode(&q->request, f->payload));
    OK(statement_parse(&q->statement, q->request.submission.statement));
    q->wanted = q->request.wanted;
}

static inline struct asked *next_request(void)
{
    struct asked *q = calloc(1, sizeof *q);
    struct channel_frame f;
    struct pollfd channel = {.fd = host.publisher_peer, .events = POLLIN};
    assert_int_equal(poll(&channel, 1, 20000), 1);
    OK(channel_receive(host.publisher_peer, &f, &q->memory));
    decode_request(q, &f);
    return q;
}

static inline void asked_free(struct asked *q)
{
    buf_cleanup(&q->memory);
    free(q);
}

/* As a service that refuses it for good. Takes the request. */
static inline void refuse_for_good(struct asked *q, enum log_refused what, const char *reason)
{
    BUF_AUTO payload = BUF_INIT;
    assert_true(q->submitted);
    buf_append_u8(&payload, (uint8_t)what);
    buf_append_str(&payload, reason);
    OK(channel_send(host.publisher_peer, CHANNEL_REFUSED, q->id, buf_bytes(&payload)));
    asked_free(q);
}

/* Takes the request. */
static inline void reply(struct asked *q, enum lie lie)
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
static inline void serve_to_a_quote(void)
{
    for (bool quote = false; !quote;) {
        struct asked *q = next_request();
        quote = q->submitted && q->statement.kind == STATEMENT_QUOTE;
        reply(q, TRUTH);
    }
}

static inline void start(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    host.publisher = pair[0];
    host.publisher_peer = pair[1];
    host_start_measured(&host);
}

static inline void die(void)
{
    kill(host.pid, SIGKILL);
    waitpid(host.pid, NULL, 0);
    fd_close(&host.fd);
    fd_close(&host.publisher_peer);
}

static inline void client_policy(struct policy *out)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nrelease none\nmax-interval 3600\nmax-age 3600\n");
    tlog_policy_format_quorum(&text, &policy);
    OK(attester_policy_lines(&host.options, true, &text));
    OK(measurement_policy_lines(&text, &host.measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

static inline struct err ask_for_evidence(struct buf *json)
{
    uint8_t nonce[NONCE_LEN] = {1};
    struct channel_frame f;
    BUF_AUTO memory = BUF_INIT;
    TRY(host_ask(&host, CHANNEL_QUOTE, bytes_of(nonce, sizeof nonce), &f, &memory));
    buf_append_bytes(json, f.payload);
    return err_ok();
}

/* The next thing that the front is told of publishing, that says so. */
static inline void front_hears(bool alarm, const char *part)
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

static inline void read_state(struct buf *out, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    OK(file_read(out, path_join(&path, host.state_dir, name), NOTE_MAX));
}

/* The next quote; what comes before it is served. */
static inline struct asked *next_quote(void)
{
    struct asked *q = next_request();
    for (; !q->submitted || q->statement.kind != STATEMENT_QUOTE; q = next_request())
        reply(q, TRUTH);
    return q;
}

static inline void make_logs(void)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        store_close(logs[i]);
    tlog_policy_cleanup(&policy);
    shell("rm -rf '%s'", folder);
    host_remove(&host);
    return 0;
}

#endif
