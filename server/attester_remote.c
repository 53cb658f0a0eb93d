/*
 * A log that somebody else keeps: what is asked of the publisher, one thing at a time. A waiting
 * statement goes out before the next; a quote is made only when none waits and the newest
 * checkpoint was verified a moment ago, so that it rests on all that this host has said.
 */
#include "server/attester_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FRESH_MS = 5000, /* a checkpoint that is quoted was the newest so long ago, at most */
    PAUSE_MIN_S = 1,
    PAUSE_MAX_S = 30,
    PAUSE_REFUSED_S = 60, /* the same again is likely to be refused again */
};

bool attester_may_quote(const struct attester *a)
{
    const struct remote *r = &a->remote;
    if (!r->on)
        return true;
    return a->queue.n_waiting == 0 && r->has_head && !a->publishing.alarm && r->asked == 0 &&
           boottime_ms() - r->fresh_ms <= FRESH_MS;
}

static void want_size(struct wanted *w, uint64_t size)
{
    for (size_t i = 0; i < w->n_sizes; i++)
        if (w->sizes[i] == size)
            return;
    w->sizes[w->n_sizes++] = size;
}

static bool is_quote(const struct queued *q)
{
    return q->statement->kind == STATEMENT_QUOTE || q->statement->kind == STATEMENT_STOP;
}

/* The head of before comes first, so that the next one continues it; then those of quotes, and all
 * that evidence shows. */
static void want(struct wanted *w, const struct attester *a)
{
    const struct queue *q = &a->queue;
    *w = (struct wanted){0};
    if (a->remote.has_head)
        want_size(w, a->head.size);
    for (size_t i = 0; i < q->n_logged; i++) {
        w->indices[w->n_indices++] = q->logged[i].index;
        if (is_quote(&q->logged[i]))
            want_size(w, q->logged[i].statement->quote.context.head_size);
    }
    if (q->n_waiting > 0 && is_quote(&q->waiting[0]))
        want_size(w, q->waiting[0].statement->quote.context.head_size);
}

static struct err ask(struct attester *a, uint32_t type, const struct buf *payload)
{
    if (payload->len > CHANNEL_PAYLOAD_MAX)
        return err_set(ERR_LIMIT, "a statement with %zu bytes of blobs cannot be submitted",
                       payload->len);
    a->remote.asked = ++a->remote.next_id;
    return channel_send(a->publisher, type, a->remote.asked, buf_bytes(payload));
}

static struct err look(struct attester *a)
{
    BUF_AUTO payload = BUF_INIT;
    want(&a->remote.wanted, a);
    wanted_encode(&payload, &a->remote.wanted);
    return ask(a, CHANNEL_LOOK, &payload);
}

/* A statement's blobs in memory. */
struct loaded {
    struct buf blobs[STATEMENT_BLOBS_MAX];
    size_t n;
};

static void loaded_cleanup(struct loaded *l)
{
    for (size_t i = 0; i < l->n; i++)
        buf_cleanup(&l->blobs[i]);
}
#define LOADED_AUTO __attribute__((cleanup(loaded_cleanup))) struct loaded

/* A blob is sent once. */
static bool is_among(const struct blob_ref *refs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(refs[i].sha256, refs[n].sha256, SHA256_LEN) == 0)
            return true;
    return false;
}

static struct err load_blobs(const struct attester *a, struct loaded *l, struct bytes *views,
                             const struct statement *s)
{
    struct blob_ref refs[STATEMENT_BLOBS_MAX];
    size_t n = attester_statement_blobs(refs, s);
    for (size_t i = 0; i < n; i++) {
        if (is_among(refs, i))
            continue;
        struct buf *blob = &l->blobs[l->n++];
        *blob = BUF_INIT;
        TRY(attester_blob(a, refs[i].sha256, blob));
        views[l->n - 1] = buf_bytes(blob);
    }
    return err_ok();
}

/* The host statement that a session begins with: the one that the log has, and where the service
 * refuses that, in turn those that wait. */
static const struct queued *host_of_session(const struct attester *a)
{
    const struct queue *q = &a->queue;
    const struct queued *there[1 + QUEUE_WAITING_MAX];
    size_t n = 0;
    there[n] = attester_logged_of(q, STATEMENT_HOST);
    n += there[n] != NULL;
    for (size_t i = 0; i < q->n_waiting; i++)
        if (q->waiting[i].statement->kind == STATEMENT_HOST)
            there[n++] = &q->waiting[i];
    return n > 0 ? there[a->remote.host_try % n] : NULL;
}

/* The service goes on from what it has: the identity only with the boot that it is of. */
static void name_logged(struct log_submission *s, const struct queue *q)
{
    const struct queued *boot = attester_logged_of(q, STATEMENT_BOOT);
    const struct queued *identity = attester_logged_of(q, STATEMENT_IDENTITY);
    s->has_boot = boot != NULL;
    s->boot = boot != NULL ? boot->index : 0;
    s->has_identity = boot != NULL && identity != NULL &&
                      memcmp(boot->statement->boot.boot_id, identity->statement->identity.boot_id,
                             BOOT_ID_LEN) == 0;
    s->identity = s->has_identity ? identity->index : 0;
}

static struct err fill_submit(struct attester *a, struct submit_request *r, struct loaded *host,
                              struct loaded *own)
{
    const struct queue *q = &a->queue;
    const struct queued *said = host_of_session(a);
    struct log_submission *s = &r->submission;
    if (said == NULL)
        return err_set(ERR_UNTRUE, "log.queue has no host statement: put the newest one back");
    want(&r->wanted, a);
    r->search_from = a->remote.uncertain && a->remote.has_head ? a->head.size : SEARCH_NOT;
    TRY(load_blobs(a, host, r->host_blobs, said->statement));
    TRY(load_blobs(a, own, r->blobs, q->waiting[0].statement));
    s->host = buf_bytes(&said->text);
    s->host_blobs = r->host_blobs;
    s->n_host_blobs = host->n;
    s->statement = buf_bytes(&q->waiting[0].text);
    s->blobs = r->blobs;
    s->n_blobs = own->n;
    memcpy(s->spki_sha256, a->lanes.spki_sha256, SHA256_LEN);
    name_logged(s, q);
    return err_ok();
}

static struct err submit(struct attester *a)
{
    BUF_AUTO payload = BUF_INIT;
    LOADED_AUTO host = {0};
    LOADED_AUTO own = {0};
    struct submit_request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "out of memory for a statement");
    struct err e = fill_submit(a, r, &host, &own);
    if (!is_err(e)) {
        submit_request_encode(&payload, r);
        a->remote.wanted = r->wanted;
    }
    free(r);
    TRY(e);
    return ask(a, CHANNEL_SUBMIT, &payload);
}

static bool wants_to_quote(const struct attester *a)
{
    return a->remote.stopping || boottime_ms() >= a->next_quote_ms;
}

struct err attester_drive(struct attester *a)
{
    const struct remote *r = &a->remote;
    if (!r->on || !a->measured || r->asked != 0 || boottime_ms() < r->retry_ms)
        return err_ok();
    if (a->publishing.alarm) /* a log that is not ours to go on with gets nothing */
        return look(a);
    if (a->queue.n_waiting > 0)
        return submit(a);
    return wants_to_quote(a) && !attester_may_quote(a) ? look(a) : err_ok();
}

uint64_t attester_next_ms(const struct attester *a)
{
    const struct remote *r = &a->remote;
    if (!r->on)
        return a->next_quote_ms;
    if (r->asked != 0)
        return UINT64_MAX;
    if (a->queue.n_waiting > 0 || a->publishing.alarm)
        return r->retry_ms;
    return r->retry_ms > a->next_quote_ms ? r->retry_ms : a->next_quote_ms;
}

static void tell_refused(struct publishing *p, const struct queue *q)
{
    p->n_refused = q->n_refused;
    if (q->n_refused == 0)
        return;
    const struct queued *last = &q->refused[q->n_refused - 1];
    BUF_AUTO hex = BUF_INIT;
    uint8_t hash[SHA256_LEN];
    sha256(hash, buf_bytes(&last->text));
    buf_append_hex(&hex, bytes_of(hash, SHA256_LEN));
    snprintf(p->refused, sizeof p->refused, "the %s statement log.blobs/%s: %s",
             statement_kind_name(last->statement->kind), buf_str(&hex), last->reason);
}

/* How much waits for the service, and since when: the queue knows by the wall clock. */
struct err attester_tell_queue(struct attester *a)
{
    struct publishing *p = &a->publishing;
    const struct queue *q = &a->queue;
    if (!a->remote.on)
        return err_ok();
    tell_refused(p, q);
    p->on = p->remote = true;
    p->n_waiting = q->n_waiting;
    p->since_ms = 0;
    if (q->n_waiting > 0) {
        uint64_t now_s = (uint64_t)time(NULL), since_s = q->waiting[0].since_s;
        uint64_t age_ms = now_s > since_s ? (now_s - since_s) * 1000 : 0;
        p->since_ms = boottime_ms() > age_ms ? boottime_ms() - age_ms : 1;
    }
    return attester_tell_front(a);
}

static void say_trouble(struct attester *a)
{
    snprintf(a->publishing.trouble, sizeof a->publishing.trouble, "%s", err_message());
}

/* What did not work is asked again, less and less often. */
struct err attester_try_later(struct attester *a, struct err why)
{
    struct remote *r = &a->remote;
    unsigned pause = r->pause_s == 0 ? PAUSE_MIN_S : 2 * r->pause_s;
    r->pause_s = pause < PAUSE_MAX_S ? pause : PAUSE_MAX_S;
    r->asked = 0;
    r->uncertain = true;
    unsigned long_s = a->options->refused_pause_s;
    long_s = long_s != 0 ? long_s : PAUSE_REFUSED_S;
    bool refused = why.code == ERR_UNTRUE && !a->publishing.alarm;
    r->retry_ms = boottime_ms() + 1000 * (uint64_t)(refused ? long_s : r->pause_s);
    say_trouble(a);
    return attester_tell_queue(a);
}

struct err attester_take_remote(struct attester *a, const struct channel_frame *f)
{
    if (a->remote.asked == 0 || f->id != a->remote.asked)
        return err_set(ERR_MALFORMED, "channel: the publisher answers what was not asked");
    switch (f->type) {
    case CHANNEL_ACTIVATE:
        return attester_activate(a, a->publisher, f->id, f->payload);
    case CHANNEL_POSSESS:
        return attester_possess(a, f->id, f->payload);
    case CHANNEL_PROVEN:
        return attester_take_proven(a, f->payload);
    case CHANNEL_REFUSED:
        return attester_take_refusal(a, f->payload);
    case CHANNEL_ERROR:
        return attester_try_later(a, channel_error_decode(f->payload));
    default:
        return err_set(ERR_MALFORMED, "channel: the publisher sent a frame of type %u", f->type);
    }
}
