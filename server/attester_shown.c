/*
 * What clients are shown: the log as of one checkpoint, whose cosignatures they may ask for.
 */
#include "server/attester_internal.h"

void shown_cleanup(struct shown *s)
{
    buf_cleanup(&s->note);
    buf_cleanup(&s->head_note);
}

/* What is newest of all is also the newest under a head that covers it; the rest is looked for. */
static struct err history_at(const struct attester *a, struct history *out, uint64_t size)
{
    *out = a->history;
    out->has_host = out->has_host && out->host_index < size;
    out->has_boot = out->has_boot && out->boot_index < size;
    out->has_identity = out->has_identity && out->identity_index < size;
    out->has_quote = out->has_quote && out->quote_index < size;
    return attester_read_history(a, out, size);
}

/* Whether a verifier would take it: one quote of this boot and identity that rests on all three
 * statements, of which boot and identity are the ones that still hold. */
bool attester_covers_quote(const struct attester *a, const struct history *h)
{
    if (!h->has_host || !h->has_boot || !h->has_identity || !h->has_quote || h->quote_stop)
        return false;
    if (h->boot_index != a->history.boot_index || h->identity_index != a->history.identity_index)
        return false;
    return h->quote_head_size > h->host_index && h->quote_head_size > h->boot_index &&
           h->quote_head_size > h->identity_index;
}

static struct err show(struct attester *a, const struct history *h, uint64_t size)
{
    struct shown now = {.history = *h};
    struct err e = store_cosigned(a->log, size, &now.note);
    if (!is_err(e))
        e = store_checkpoint_at(a->log, size, &now.head_note);
    if (!is_err(e))
        e = checkpoint_verify(&now.head, buf_bytes(&now.head_note), a->options->origin,
                              &a->signer.key);
    if (is_err(e)) {
        shown_cleanup(&now);
        return e;
    }
    shown_cleanup(&a->shown);
    a->shown = now;
    return err_ok();
}

struct err attester_choose_shown(struct attester *a)
{
    struct history h;
    if (a->witnessed_size > 0) {
        TRY(history_at(a, &h, a->witnessed_size));
        if (attester_covers_quote(a, &h))
            return show(a, &h, a->witnessed_size);
    }
    return show(a, &a->history, a->head.size);
}
