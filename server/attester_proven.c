/*
 * A checkpoint of somebody else's log, with proofs: believed when it is the log's, has the quorum,
 * and continues the one of before. Then statements count as logged, and evidence is put together.
 */
#include "server/attester_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

/* One answer on its way. */
struct answer {
    struct proven p;
    struct checkpoint c;
};

static void consistency_from(struct merkle_proof *out, const struct attester *a,
                             const struct answer *answer, uint64_t size)
{
    const struct wanted *w = &a->remote.wanted;
    *out = (struct merkle_proof){0};
    for (size_t i = 0; i < w->n_sizes && i < answer->p.n_consistency; i++)
        if (w->sizes[i] == size)
            *out = answer->p.consistency[i];
}

static void inclusion_of(struct merkle_proof *out, const struct attester *a,
                         const struct answer *answer, uint64_t index)
{
    const struct wanted *w = &a->remote.wanted;
    *out = (struct merkle_proof){0};
    if (answer->p.submitted && answer->p.index == index)
        *out = answer->p.own;
    for (size_t i = 0; i < w->n_indices && i < answer->p.n_inclusion; i++)
        if (w->indices[i] == index)
            *out = answer->p.inclusion[i];
}

static struct err check_continues(const struct attester *a, const struct answer *answer,
                                  uint64_t size, const struct merkle_hash *root)
{
    struct merkle_proof proof;
    consistency_from(&proof, a, answer, size);
    if (answer->c.size < size)
        return err_set(ERR_UNTRUE, "its size is %llu, and it was %llu before",
                       (unsigned long long)answer->c.size, (unsigned long long)size);
    return merkle_verify_consistency(size, root, answer->c.size, &answer->c.root, &proof);
}

static struct err check_included(const struct attester *a, const struct answer *answer,
                                 const struct queued *q, uint64_t index)
{
    struct merkle_proof proof;
    struct merkle_hash leaf = merkle_leaf(buf_bytes(&q->text));
    inclusion_of(&proof, a, answer, index);
    TRY(err_context(merkle_verify_inclusion(&leaf, index, answer->c.size, &proof, &answer->c.root),
                    "entry %llu is not this host's %s statement", (unsigned long long)index,
                    statement_kind_name(q->statement->kind)));
    if (q->statement->kind != STATEMENT_QUOTE && q->statement->kind != STATEMENT_STOP)
        return err_ok();
    const struct quote_context *context = &q->statement->quote.context;
    return err_context(check_continues(a, answer, context->head_size, &context->head_root),
                       "the head of the quote at entry %llu", (unsigned long long)index);
}

static struct err check_statements(const struct attester *a, const struct answer *answer)
{
    const struct queue *q = &a->queue;
    for (size_t i = 0; i < q->n_logged; i++)
        TRY(check_included(a, answer, &q->logged[i], q->logged[i].index));
    if (!answer->p.submitted)
        return err_ok();
    if (q->n_waiting == 0)
        return err_set(ERR_MALFORMED, "a statement that was not submitted");
    return check_included(a, answer, &q->waiting[0], answer->p.index);
}

/* A checkpoint with the log's signature and the quorum that does not continue what they signed
 * before: kept, for whoever must be shown it. */
static struct err raise_alarm(struct attester *a, const struct answer *answer)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO why = BUF_INIT;
    buf_append_str(&why, err_message());
    path_join(&path, a->options->state_dir, "log.forked");
    TRY(file_write_durable(buf_str(&path), answer->p.note, 0600));
    a->publishing.n_alarms += !a->publishing.alarm;
    a->publishing.alarm = true;
    return attester_try_later(
        a, err_set(ERR_UNTRUE,
                   "the log service shows a checkpoint of size %llu that does not continue the one "
                   "that this host has seen: %s. Nothing is quoted on it. It is kept in %s",
                   (unsigned long long)answer->c.size, buf_str(&why), buf_str(&path)));
}

static struct err add_statement(struct attester *a, const struct answer *answer,
                                const struct queued *q)
{
    struct blob_ref refs[STATEMENT_BLOBS_MAX];
    struct merkle_proof proof;
    inclusion_of(&proof, a, answer, q->index);
    evidence_add_statement(&a->evidence, q->index, buf_bytes(&q->text), &proof);
    if (q->statement->kind == STATEMENT_QUOTE)
        return err_ok(); /* a head's note, and reports that nobody asks for in a bundle */
    size_t n = attester_statement_blobs(refs, q->statement);
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO blob = BUF_INIT;
        TRY(attester_blob(a, refs[i].sha256, &blob));
        evidence_add_blob(&a->evidence, buf_bytes(&blob));
    }
    return err_ok();
}

static struct err add_heads(struct attester *a, const struct answer *answer)
{
    const struct merkle_proof none = {0};
    struct merkle_proof proof;
    BUF_AUTO note = BUF_INIT;
    const struct queued *quote = NULL;
    for (size_t i = 0; i < a->queue.n_logged; i++)
        if (a->queue.logged[i].statement->kind == STATEMENT_QUOTE)
            quote = &a->queue.logged[i];
    if (quote == NULL)
        return err_set(ERR_NOT_FOUND, "no quote is logged");
    const struct quote_context *context = &quote->statement->quote.context;
    TRY(attester_blob(a, context->head_note, &note));
    consistency_from(&proof, a, answer, context->head_size);
    evidence_add_head(&a->evidence, buf_bytes(&note), &proof);
    evidence_add_head(&a->evidence, buf_bytes(&a->head_note), &none);
    return err_ok();
}

static void show_head(struct attester *a, const struct history *h)
{
    shown_cleanup(&a->shown);
    a->shown = (struct shown){.history = *h, .head = a->head};
    buf_append_bytes(&a->shown.note, buf_bytes(&a->head_note));
    buf_append_bytes(&a->shown.head_note, buf_bytes(&a->head_note));
}

/* All that a bundle shows, under the checkpoint that was just believed; nothing while something of
 * it is not logged yet. */
static struct err build_evidence(struct attester *a, const struct answer *answer)
{
    struct history h = {0};
    evidence_cleanup(&a->evidence);
    for (size_t i = 0; i < a->queue.n_logged; i++)
        history_take(&h, a->queue.logged[i].statement, a->queue.logged[i].index,
                     buf_bytes(&a->queue.logged[i].text));
    if (!attester_covers_quote(a, &h))
        return err_ok();
    evidence_set_checkpoint(&a->evidence, buf_bytes(&a->head_note));
    for (size_t i = 0; i < a->queue.n_logged; i++)
        TRY(add_statement(a, answer, &a->queue.logged[i]));
    TRY(add_heads(a, answer));
    show_head(a, &h);
    return err_ok();
}

/* log.queue comes first: a statement that it calls waiting is then under no head of log.head, and
 * is looked for behind it (attester_remote.c). */
static struct err believe(struct attester *a, const struct answer *answer)
{
    BUF_AUTO path = BUF_INIT;
    if (answer->p.submitted)
        TRY(attester_dequeue(a, answer->p.index));
    TRY(file_write_durable(path_join(&path, a->options->state_dir, "log.head"), answer->p.note,
                           0600));
    a->head = answer->c;
    buf_clear(&a->head_note);
    buf_append_bytes(&a->head_note, answer->p.note);
    struct remote *r = &a->remote;
    r->has_head = true;
    r->fresh_ms = boottime_ms();
    r->asked = r->retry_ms = 0;
    r->pause_s = 0;
    r->uncertain = false;
    if (answer->p.submitted)
        r->n_refusals = 0;
    a->publishing.alarm = false;
    a->publishing.trouble[0] = '\0';
    TRY(build_evidence(a, answer));
    return attester_tell_queue(a);
}

/* Whoever waits for the statement that was just logged. */
static struct err tell_logged(struct attester *a, enum statement_kind kind)
{
    if (kind == STATEMENT_QUOTE)
        return channel_send(a->channel, CHANNEL_QUOTED, 0, (struct bytes){0});
    if (kind != STATEMENT_HOST || a->remote.accept_id == 0)
        return err_ok();
    uint64_t id = a->remote.accept_id;
    a->remote.accept_id = 0;
    return attester_send_accepted(a, id);
}

/* What somebody on the way may have garbled is asked for again soon. */
static struct err ask_again(struct attester *a, const char *what)
{
    BUF_AUTO why = BUF_INIT;
    buf_append_str(&why, err_message());
    return attester_try_later(a, err_set(ERR_IO, "%s: %s", what, buf_str(&why)));
}

static struct err judge(struct attester *a, struct answer *answer)
{
    struct err e = tlog_policy_check(&answer->c, NULL, a->options->witnesses, answer->p.note);
    if (is_err(e))
        return ask_again(a, "the log service's checkpoint");
    if (a->remote.has_head) {
        e = check_continues(a, answer, a->head.size, &a->head.root);
        if (is_err(e))
            return raise_alarm(a, answer);
    }
    e = check_statements(a, answer);
    if (is_err(e))
        return ask_again(a, "the log service's proofs");
    enum statement_kind kind =
        answer->p.submitted ? a->queue.waiting[0].statement->kind : STATEMENT_BOOT;
    TRY(believe(a, answer));
    return tell_logged(a, kind);
}

struct err attester_take_proven(struct attester *a, struct bytes payload)
{
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL)
        return err_set(ERR_MEMORY, "out of memory for proofs");
    struct err e = proven_decode(&answer->p, payload);
    if (!is_err(e))
        e = judge(a, answer);
    free(answer);
    return e;
}
