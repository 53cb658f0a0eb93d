/*
 * What the log knows of this host: its newest statements, found from the log's end backwards.
 */
#include "server/attester_internal.h"

#include <string.h>

void history_take(struct history *h, const struct statement *s, uint64_t index, struct bytes text)
{
    switch (s->kind) {
    case STATEMENT_HOST:
        h->has_host = true;
        h->host_index = index;
        h->host = s->host;
        break;
    case STATEMENT_BOOT:
        h->has_boot = true;
        h->boot_index = index;
        h->boot = s->boot;
        break;
    case STATEMENT_IDENTITY:
        h->has_identity = true;
        h->identity_index = index;
        h->identity = s->identity;
        break;
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        h->has_quote = true;
        h->quote_index = index;
        h->quote_leaf = merkle_leaf(text);
        h->quote_period = s->quote.context.period;
        h->quote_stop = s->kind == STATEMENT_STOP;
        h->quote_head_size = s->quote.context.head_size;
        memcpy(h->quote_boot_id, s->quote.context.boot_id, BOOT_ID_LEN);
        break;
    }
}

static bool known(const struct history *h, enum statement_kind kind)
{
    switch (kind) {
    case STATEMENT_HOST:
        return h->has_host;
    case STATEMENT_BOOT:
        return h->has_boot;
    case STATEMENT_IDENTITY:
        return h->has_identity;
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        return h->has_quote;
    }
    return true;
}

static bool is_ours(const struct attester *a, const struct statement *s)
{
    return s->ak_name.len == a->ak_name.len &&
           memcmp(s->ak_name.bytes, a->ak_name.bytes, a->ak_name.len) == 0;
}

struct err attester_read_history(const struct attester *a, struct history *h, uint64_t size)
{
    for (uint64_t i = size; i-- > 0;) {
        if (h->has_host && h->has_boot && h->has_identity && h->has_quote)
            break;
        BUF_AUTO text = BUF_INIT;
        struct statement s;
        TRY(store_entry_read(a->log, i, &text));
        struct err e = statement_parse(&s, buf_bytes(&text));
        if (is_err(e))
            return err_context(e, "log.db: entry %llu is not a statement of this version",
                               (unsigned long long)i);
        if (is_ours(a, &s) && !known(h, s.kind))
            history_take(h, &s, i, buf_bytes(&text));
    }
    return err_ok();
}

static bool identity_is_logged(const struct attester *a, size_t n_identities)
{
    BUF_AUTO text = BUF_INIT;
    attester_runtime_text(&text, a, n_identities);
    return a->history.has_identity &&
           !is_err(blob_ref_check(&a->history.identity.runtime_log, buf_bytes(&text)));
}

struct err attester_check_history(const struct attester *a)
{
    /* Only the last identity event may be without its statement (attester_internal.h). */
    size_t n = a->lanes.n_identities;
    if (n < 2 || identity_is_logged(a, n) || identity_is_logged(a, n - 1))
        return err_ok();
    return err_set(ERR_UNTRUE,
                   "entries were removed from log.db: the runtime log has %zu identities of this "
                   "boot, and the log lacks the statement of the one before the last. Put the "
                   "newest log.db back",
                   n);
}

struct err boot_counter_value(uint64_t *out, const struct statement_boot *boot)
{
    struct attested a;
    TRY(attested_parse(&a, bytes_of(boot->attest, boot->attest_len)));
    struct reader r = reader_of(a.nv_contents);
    uint64_t value = read_u64be(&r);
    if (a.type != ATTESTED_NV || !reader_done(&r))
        return err_set(ERR_MALFORMED, "a boot statement certifies no counter");
    *out = value;
    return err_ok();
}
