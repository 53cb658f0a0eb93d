/*
 * What the log refuses for good. A statement that quotes rest on waits on, and with it all quotes:
 * until the log takes it, or one of its kind comes behind it. Any other is set aside with its
 * reason, and those behind it go on. Nothing is thrown away, and an auditor finds each gap: boots
 * by their counter, quotes by their `period`, identities in the lane of the next.
 */
#include "server/attester_internal.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

enum { REFUSALS = 3 }; /* a service that was about to start anew, say, is asked again */

/* Without it no quote could be true, and nothing behind it takes its place. */
static bool is_needed(const struct queue *q)
{
    enum statement_kind kind = q->waiting[0].statement->kind;
    if (kind == STATEMENT_QUOTE || kind == STATEMENT_STOP)
        return false;
    if (kind == STATEMENT_HOST && attester_logged_of(q, kind) != NULL)
        return false;
    for (size_t i = 1; i < q->n_waiting; i++)
        if (q->waiting[i].statement->kind == kind)
            return false;
    return true;
}

/* Printable, and no longer than the queue's file holds. */
static void copy_reason(char out[QUEUE_REASON_MAX + 1], struct bytes text)
{
    size_t n = text.len < QUEUE_REASON_MAX ? text.len : QUEUE_REASON_MAX;
    for (size_t i = 0; i < n; i++)
        out[i] = text.data[i] >= 0x20 && text.data[i] <= 0x7e ? (char)text.data[i] : '?';
    out[n] = '\0';
    if (n == 0)
        strcpy(out, "no reason given");
}

/* Whoever waits for the host statement that is not logged now; and its activations go. */
static struct err let_go_of_host(struct attester *a, const char *reason)
{
    uint64_t id = a->remote.accept_id;
    for (size_t i = 0; i < a->n_activations; i++)
        buf_clear(&a->activations[i]);
    a->n_activations = 0;
    TRY(attester_load_activations(a));
    for (size_t i = 0; i < a->queue.n_waiting; i++)
        if (a->queue.waiting[i].statement->kind == STATEMENT_HOST)
            return err_ok(); /* that one is waited for */
    if (id == 0)
        return err_ok();
    a->remote.accept_id = 0;
    return attester_send_error(a, id, err_set(ERR_UNTRUE, "%s", reason));
}

static struct err set_aside(struct attester *a, const char *reason)
{
    struct remote *r = &a->remote;
    enum statement_kind kind = a->queue.waiting[0].statement->kind;
    TRY(attester_set_aside(a, reason));
    r->asked = r->retry_ms = 0;
    r->pause_s = r->n_refusals = 0;
    r->uncertain = false; /* the next one was never submitted */
    a->publishing.trouble[0] = '\0';
    TRY(attester_tell_queue(a));
    return kind == STATEMENT_HOST ? let_go_of_host(a, reason) : err_ok();
}

static struct err wait_on(struct attester *a, const char *reason)
{
    const struct queue *q = &a->queue;
    const char *kind = statement_kind_name(q->waiting[0].statement->kind);
    if (is_needed(q))
        return attester_try_later(
            a, err_set(ERR_UNTRUE, "no quote is made while the log refuses this host's %s: %s",
                       kind, reason));
    if (q->n_refused == QUEUE_REFUSED_MAX)
        return attester_try_later(
            a, err_set(ERR_UNTRUE,
                       "the log refuses this host's %s, and %d statements are set aside already: "
                       "when you know why, stop the host and take the `refused` lines out of "
                       "log.queue. %s",
                       kind, QUEUE_REFUSED_MAX, reason));
    return attester_try_later(a, err_set(ERR_UNTRUE, "%s", reason));
}

static struct err take_statements_refusal(struct attester *a, const char *reason)
{
    bool final = ++a->remote.n_refusals >= REFUSALS;
    bool may = !is_needed(&a->queue) && a->queue.n_refused < QUEUE_REFUSED_MAX;
    return final && may ? set_aside(a, reason) : wait_on(a, reason);
}

struct err attester_take_refusal(struct attester *a, struct bytes payload)
{
    struct reader r = reader_of(payload);
    char reason[QUEUE_REASON_MAX + 1];
    uint8_t what = read_u8(&r);
    copy_reason(reason, read_bytes(&r, reader_left(&r)));
    if (r.failed || (what != LOG_REFUSED_HOST && what != LOG_REFUSED_STATEMENT) ||
        a->queue.n_waiting == 0)
        return err_set(ERR_MALFORMED, "channel: a refusal of nothing that was submitted");
    if (what == LOG_REFUSED_STATEMENT)
        return take_statements_refusal(a, reason);
    a->remote.host_try++;
    return attester_try_later(a, err_set(ERR_UNTRUE, "%s", reason));
}
