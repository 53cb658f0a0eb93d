/*
 * Quotes: the context that says what a quote is for, the TPM's signature over it, and the
 * statement.
 */
#include "server/attester_internal.h"

#include <string.h>
#include <time.h>

static bool is_this_boots(const struct attester *a, const uint8_t boot_id[BOOT_ID_LEN])
{
    return memcmp(boot_id, a->lanes.boot_id, BOOT_ID_LEN) == 0;
}

/* What the log refused counts: an auditor finds that it is missing. */
static uint64_t next_period(const struct attester *a)
{
    const struct history *h = &a->history;
    uint64_t next = h->has_quote && is_this_boots(a, h->quote_boot_id) ? h->quote_period + 1 : 0;
    for (size_t i = 0; i < a->queue.n_refused; i++) {
        const struct statement *s = a->queue.refused[i].statement;
        const struct quote_context *c = &s->quote.context;
        bool quote = s->kind == STATEMENT_QUOTE || s->kind == STATEMENT_STOP;
        if (quote && is_this_boots(a, c->boot_id) && c->period >= next)
            next = c->period + 1;
    }
    return next;
}

static void fill_context(struct quote_context *c, const struct attester *a, enum quote_kind kind)
{
    bool demand = kind == QUOTE_DEMAND;
    const struct history *h = demand ? &a->shown.history : &a->history;
    const struct checkpoint *head = demand ? &a->shown.head : &a->head;
    *c = (struct quote_context){
        .kind = kind,
        .ak_name = a->ak_name,
        .head_size = head->size,
        .head_root = head->root,
        .has_previous = h->has_quote,
        .previous_index = h->quote_index,
        .previous_leaf = h->quote_leaf,
        .time_s = (uint64_t)time(NULL),
    };
    memcpy(c->boot_id, a->lanes.boot_id, BOOT_ID_LEN);
    memcpy(c->origin, head->origin, sizeof c->origin);
    memcpy(c->spki_sha256, a->lanes.spki_sha256, SHA256_LEN);
    sha256(c->head_note, buf_bytes(demand ? &a->shown.head_note : &a->head_note));
    c->period = demand ? h->quote_period + 1 : next_period(a);
}

static struct err sign_context(struct attester *a, struct statement_quote *q)
{
    uint8_t extra[SHA256_LEN];
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    context_hash(extra, bytes_of(q->context_text, q->context_len));
    TRY(tpm_quote(a->tpm, &attest, &signature, &q->pcrs, extra));
    if (q->context.kind != QUOTE_STOP)
        TRY(attester_add_reports(a, q, extra));
    if (attest.len > sizeof q->attest || signature.len > sizeof q->signature)
        return err_set(ERR_LIMIT, "the TPM's quote is larger than a statement allows");
    memcpy(q->attest, attest.data, attest.len);
    q->attest_len = attest.len;
    memcpy(q->signature, signature.data, signature.len);
    q->signature_len = signature.len;
    return err_ok();
}

/* A suspended host comes back with another restart count, which the boot statement must have. */
static struct err check_counts(const struct attester *a, const struct statement_quote *q)
{
    struct attested parsed;
    TRY(attested_parse(&parsed, bytes_of(q->attest, q->attest_len)));
    if (parsed.reset_count != a->history.boot.reset_count ||
        parsed.restart_count != a->history.boot.restart_count)
        return err_set(ERR_UNTRUE, "the TPM was reset or resumed while it was quoting");
    return err_ok();
}

struct err attester_make_quote(struct attester *a, struct statement *out, enum quote_kind kind,
                               uint64_t n_nonces, const struct merkle_hash *nonce_root)
{
    TRY(attester_ensure_boot(a));
    *out = (struct statement){
        .kind = kind == QUOTE_STOP ? STATEMENT_STOP : STATEMENT_QUOTE,
        .ak_name = a->ak_name,
    };
    struct statement_quote *q = &out->quote;
    fill_context(&q->context, a, kind);
    q->context.n_nonces = n_nonces;
    if (nonce_root)
        q->context.nonce_root = *nonce_root;
    BUF_AUTO text = BUF_INIT;
    context_format(&text, &q->context);
    if (text.len > sizeof q->context_text)
        return err_set(ERR_LIMIT, "the quote context has %zu bytes, more than %zu", text.len,
                       sizeof q->context_text);
    memcpy(q->context_text, text.data, text.len);
    q->context_len = text.len;
    TRY(sign_context(a, q));
    TRY(check_counts(a, q));
    return attester_check_pcrs(a, &q->pcrs);
}

/* The head's note is kept as a blob: the context names it by hash. So are the GPUs' reports. */
static struct err commit_quote(struct attester *a, const struct statement *s)
{
    BUF_AUTO note = BUF_INIT;
    buf_append_bytes(&note, buf_bytes(&a->head_note)); /* commit replaces it */
    struct bytes blobs[STATEMENT_BLOBS_MAX];
    size_t n = 0;
    blobs[n++] = buf_bytes(&note);
    for (size_t i = 0; i < s->quote.n_gpu_reports; i++)
        blobs[n++] = buf_bytes(&a->gpus.reports[i]);
    return attester_commit(a, s, blobs, n);
}

struct err attester_log_quote(struct attester *a)
{
    struct statement s;
    TRY(attester_ensure_boot(a));
    if (!attester_may_quote(a)) /* a new boot goes to the log first */
        return err_ok();
    a->next_quote_ms = boottime_ms() + a->options->quote_interval_s * 1000;
    TRY(attester_make_quote(a, &s, QUOTE_PERIODIC, 0, NULL));
    TRY(commit_quote(a, &s));
    return a->remote.on ? err_ok() : channel_send(a->channel, CHANNEL_QUOTED, 0, (struct bytes){0});
}

struct err attester_log_stop(struct attester *a, uint32_t max_duration_s)
{
    struct statement s;
    TRY(attester_make_quote(a, &s, QUOTE_STOP, 0, NULL));
    s.quote.max_duration_s = max_duration_s;
    return commit_quote(a, &s);
}
