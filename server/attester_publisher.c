/*
 * The log towards its witnesses: what the publisher is told, and what it brings. A cosignature
 * counts once the store has verified it; what does not work is passed on to people.
 */
#include "server/attester_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
    FIRST_CHECKPOINT_MS = 5000, /* for the witnesses, before the first quote */
    LAST_CHECKPOINT_MS = 8000,  /* for the witnesses, before a stop */
    LAST_STATEMENT_MS = 12000,  /* for the log service, likewise */
    END_MS = 2000,              /* for the publisher to end */
};

struct err attester_tell_front(struct attester *a)
{
    BUF_AUTO payload = BUF_INIT;
    publishing_encode(&payload, &a->publishing);
    return channel_send(a->channel, CHANNEL_PUBLISHING, 0, buf_bytes(&payload));
}

struct err attester_find_witnessed(struct attester *a)
{
    struct checkpoint c;
    if (a->options->witnesses == NULL)
        return err_ok();
    struct err e = store_witnessed(a->log, a->options->witnesses, NULL, &c);
    if (e.code == ERR_NOT_FOUND)
        return err_ok();
    TRY(e);
    a->witnessed_size = c.size;
    return err_ok();
}

/* How much waits, and since when: an entry that came later waits no longer than the oldest. */
static struct err update_waiting(struct attester *a)
{
    struct publishing *p = &a->publishing;
    p->on = true;
    p->n_waiting = a->head.size - a->witnessed_size;
    if (p->n_waiting == 0) {
        p->since_ms = 0;
        p->trouble[0] = '\0';
    } else if (p->since_ms == 0) {
        p->since_ms = boottime_ms();
    }
    return attester_tell_front(a);
}

/* A publisher that hangs must not hold up quotes: once it reads again, the next size tells as much.
 */
struct err attester_tell_grown(struct attester *a)
{
    if (a->publisher < 0)
        return err_ok();
    BUF_AUTO size = BUF_INIT;
    struct pollfd channel = {.fd = a->publisher, .events = POLLOUT};
    buf_append_u64be(&size, a->head.size);
    if (poll(&channel, 1, 0) > 0)
        TRY(channel_send(a->publisher, CHANNEL_GROWN, 0, buf_bytes(&size)));
    return update_waiting(a);
}

static const struct tlog_policy_witness *find_witness(const struct tlog_policy *p,
                                                      struct bytes public_key)
{
    for (size_t i = 0; i < p->n_witnesses; i++)
        if (bytes_equal(bytes_of(p->witnesses[i].key.public_key, ED25519_PUBLIC_LEN), public_key))
            return &p->witnesses[i];
    return NULL;
}

static struct err take_quorum(struct attester *a, uint64_t size)
{
    bool met = false;
    if (size <= a->witnessed_size)
        return err_ok();
    TRY(store_witnessed_at(a->log, a->options->witnesses, size, NULL, NULL, &met));
    if (!met)
        return err_ok();
    a->witnessed_size = size;
    if (a->publishing.n_waiting > 0 && size < a->head.size)
        a->publishing.since_ms = boottime_ms(); /* older ones wait no more */
    evidence_cleanup(&a->evidence);
    return update_waiting(a);
}

static struct err take_cosignature(struct attester *a, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint64_t size = read_u64be(&r);
    struct bytes key = read_bytes(&r, ED25519_PUBLIC_LEN);
    struct bytes line = read_bytes(&r, reader_left(&r));
    const struct tlog_policy_witness *w =
        r.failed ? NULL : find_witness(a->options->witnesses, key);
    if (w == NULL)
        return err_set(ERR_MALFORMED,
                       "the publisher brings a cosignature of nobody that was asked");
    TRY(err_context(store_add_cosignature(a->log, size, &w->key, line), "witness '%s'", w->name));
    return take_quorum(a, size);
}

static struct err take_trouble(struct attester *a, struct bytes payload)
{
    struct reader r = reader_of(payload);
    bool alarm = read_u8(&r) == 1;
    struct bytes text = read_bytes(&r, reader_left(&r));
    struct publishing *p = &a->publishing;
    p->n_alarms += alarm;
    snprintf(p->trouble, sizeof p->trouble, "%.*s", (int)(text.len < 1000 ? text.len : 1000),
             (const char *)text.data);
    return attester_tell_front(a);
}

static struct err take_frame(struct attester *a, const struct channel_frame *f)
{
    if (a->remote.on)
        return attester_take_remote(a, f);
    switch (f->type) {
    case CHANNEL_COSIGNED:
        return take_cosignature(a, f->payload);
    case CHANNEL_TROUBLE:
        return take_trouble(a, f->payload);
    default:
        return err_set(ERR_MALFORMED, "channel: the publisher sent a frame of type %u", f->type);
    }
}

static struct err take_frames(struct attester *a)
{
    struct buf *in = &a->from_publisher;
    size_t at = 0;
    for (;;) {
        struct channel_frame f;
        size_t used;
        TRY(channel_decode(&f, &used, bytes_of(in->data + at, in->len - at)));
        if (used == 0)
            break;
        TRY(take_frame(a, &f));
        at += used;
    }
    if (at > 0)
        memmove(in->data, in->data + at, in->len - at);
    in->len -= at;
    return err_ok();
}

struct err attester_hear_publisher(struct attester *a)
{
    bool closed = false;
    if (a->publisher < 0)
        return err_ok();
    TRY(channel_read_available(a->publisher, &a->from_publisher, READ_AHEAD_MAX, &closed));
    TRY(take_frames(a));
    return closed ? err_set(ERR_IO, "the publisher ended") : err_ok();
}

/* Waits for a frame of the publisher; false when the time is over. */
static bool wait_for_publisher(const struct attester *a, uint64_t until_ms)
{
    uint64_t now = boottime_ms();
    struct pollfd channel = {.fd = a->publisher, .events = POLLIN};
    return now < until_ms && (poll(&channel, 1, (int)(until_ms - now)) > 0 || errno == EINTR);
}

/* A log that was put back is known by its witnesses, and to nobody else here. */
static struct err check_no_alarm(const struct attester *a)
{
    if (a->publishing.n_alarms == 0)
        return err_ok();
    return err_set(ERR_UNTRUE,
                   "no quote is made on this log: a witness has seen another one. %s. Put the "
                   "newest log.db back, or, if the log is whole, find out who answers as that "
                   "witness",
                   a->publishing.trouble);
}

struct err attester_await_quorum(struct attester *a)
{
    uint64_t until_ms = boottime_ms() + FIRST_CHECKPOINT_MS;
    if (a->publisher < 0 || a->remote.on || a->measured)
        return err_ok();
    while (a->witnessed_size < a->head.size && a->publishing.n_alarms == 0 &&
           wait_for_publisher(a, until_ms))
        TRY(attester_hear_publisher(a));
    return check_no_alarm(a);
}

/* The newest entries of our own log, the stop among them. */
static struct err finish_own(struct attester *a, struct buf *lacking)
{
    uint64_t until_ms = boottime_ms() + LAST_CHECKPOINT_MS;
    while (a->witnessed_size < a->head.size && wait_for_publisher(a, until_ms))
        TRY(attester_hear_publisher(a));
    if (a->witnessed_size < a->head.size)
        buf_printf(lacking,
                   "the log says so; the witnesses have not cosigned its last %llu entries yet",
                   (unsigned long long)(a->head.size - a->witnessed_size));
    return err_ok();
}

/* Everything that waits, then the stop, then its proof: as far as the time goes. */
static struct err finish_remote(struct attester *a, uint32_t max_duration_s, struct buf *lacking)
{
    uint64_t until_ms = boottime_ms() + LAST_STATEMENT_MS;
    bool said = false;
    a->remote.stopping = true;
    a->remote.retry_ms = 0;
    while (boottime_ms() < until_ms && !(said && a->queue.n_waiting == 0)) {
        if (!said && attester_may_quote(a)) {
            TRY(attester_log_stop(a, max_duration_s));
            said = true;
        }
        TRY(attester_drive(a));
        uint64_t next = attester_next_ms(a);
        wait_for_publisher(a, next < until_ms ? next : until_ms);
        TRY(attester_hear_publisher(a));
    }
    if (!said)
        buf_printf(lacking, "the log does not know of it: its service does not answer (%s)",
                   a->publishing.trouble);
    else if (a->queue.n_waiting > 0)
        buf_printf(lacking, "the log does not know of it yet: it waits in the queue (%s)",
                   a->publishing.trouble);
    return err_ok();
}

static struct err end_publisher(struct attester *a)
{
    bool closed = false;
    TRY(channel_send(a->publisher, CHANNEL_END, 0, (struct bytes){0}));
    for (uint64_t until_ms = boottime_ms() + END_MS; !closed && wait_for_publisher(a, until_ms);)
        TRY(channel_read_available(a->publisher, &a->from_publisher, SIZE_MAX, &closed));
    return err_ok();
}

struct err attester_stop(struct attester *a, uint32_t max_duration_s, struct buf *lacking)
{
    if (a->measured && a->remote.on)
        TRY(finish_remote(a, max_duration_s, lacking));
    else if (a->measured)
        TRY(attester_log_stop(a, max_duration_s));
    if (a->publisher < 0)
        return err_ok();
    if (a->measured && !a->remote.on)
        TRY(finish_own(a, lacking));
    return end_publisher(a);
}
