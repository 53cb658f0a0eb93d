/*
 * Quotes and stops in a replay. A quote counts when its key is believed, its boot and identity are
 * in the log before it, and it was made on a head of this log that covers them and the quote before
 * it.
 */
#include "attest/replay_state.h"

#include <stdlib.h>
#include <string.h>

#include "attest/report.h"

/* What the steps pass on. */
struct quote_check {
    struct replay_entry_now *now;
    const struct statement_quote *q;
    struct attested a;
    struct rule_boot_pcrs pcrs;
    bool authentic; /* signed by the key over this context: the chain goes on from it */
};

static struct err step_believed(struct quote_check *c)
{
    const struct replay_host *h = c->now->host;
    if (h == NULL || !h->facts.known)
        return err_set(ERR_UNTRUE, "no true host statement of this key comes before it");
    return rule_host_bound(h->surveyed.known ? &h->surveyed : &h->facts, c->now->r->policy);
}

static struct err step_signature(struct quote_check *c)
{
    return rule_quote_signature(&c->now->host->facts.ak, c->q);
}

static struct err step_quote(struct quote_check *c)
{
    return rule_quote(&c->a, &c->now->host->facts.ak, c->q);
}

static struct err check_previous(const struct replay_host *h, const struct quote_context *c)
{
    const struct replay_quote *last = &h->quote;
    if (c->has_previous != last->known)
        return err_set(ERR_UNTRUE, last->known
                                       ? "it names no previous quote; the host has logged one"
                                       : "it names a previous quote; the host has none");
    if (last->known &&
        (c->previous_index != last->index || !merkle_equal(&c->previous_leaf, &last->leaf)))
        return err_set(ERR_UNTRUE, "its `previous` is not the host's last quote, entry %llu",
                       (unsigned long long)last->index);
    if (c->period < h->boot.n_quotes)
        return err_set(ERR_UNTRUE, "period %llu; the host's next in this boot is %llu",
                       (unsigned long long)c->period, (unsigned long long)h->boot.n_quotes);
    return err_ok();
}

static struct err step_context(struct quote_check *c)
{
    const struct replay_host *h = c->now->host;
    enum quote_kind kind = c->now->s->kind == STATEMENT_STOP ? QUOTE_STOP : QUOTE_PERIODIC;
    uint8_t extra[SHA256_LEN];
    context_hash(extra, bytes_of(c->q->context_text, c->q->context_len));
    TRY(attested_check_extra(&c->a, bytes_of(extra, SHA256_LEN)));
    if (c->q->context.kind == QUOTE_DEMAND)
        return err_set(ERR_UNTRUE, "a demand quote; those are not logged");
    c->authentic = true;
    if (!h->boot.known)
        return err_set(ERR_UNTRUE, "no true boot statement of this host comes before it");
    TRY(rule_context(c->q, &c->a, kind, h->boot.boot_id, c->now->r->policy->log.name));
    return check_previous(h, &c->q->context);
}

/* An unsafe clock is a finding: within one boot, which is where clocks are compared, it runs on. */
static struct err step_counters(struct quote_check *c)
{
    struct replay_boot *boot = &c->now->host->boot;
    TRY(rule_counts(&c->a, &boot->counter, boot->clock_ms));
    if (c->a.safe != 1 && !boot->unsafe)
        replay_find(c->now->r, c->now->host, FINDING_WARNING, "UNSAFE-CLOCK", c->now->index,
                    "the TPM's clock may have gone back: it lost power without a shutdown");
    boot->unsafe |= c->a.safe != 1;
    return err_ok();
}

static struct err step_lanes(struct quote_check *c)
{
    const struct replay_identity *identity = &c->now->host->identity;
    if (!identity->known)
        return err_set(ERR_UNTRUE, "no true identity of this boot comes before it");
    return rule_lanes_quoted(&identity->lanes, c->q);
}

static struct err step_boot(struct quote_check *c)
{
    const struct replay_host *h = c->now->host;
    struct replay *r = c->now->r;
    TRY(rule_boot_values(&c->pcrs, &c->q->pcrs, &h->boot.log, r->policy, h->facts.test));
    return rule_gpus_quoted(&h->boot.gpus, h->identity.lanes.gpu,
                            c->now->s->kind == STATEMENT_QUOTE, c->q, &c->a, r->policy,
                            replay_blob_source, r);
}

static struct err check_note(struct quote_check *c)
{
    const struct quote_context *x = &c->q->context;
    struct replay *r = c->now->r;
    BUF_AUTO note = BUF_INIT;
    TRY(err_context(r->blob(r->blob_context, x->head_note, &note), "the signed note of its head"));
    uint8_t hash[SHA256_LEN];
    sha256(hash, buf_bytes(&note));
    if (memcmp(hash, x->head_note, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "the signed note of its head is not the one it names");
    struct checkpoint head;
    bool verified = replay_head_is_verified(r, x->head_size, hash);
    TRY(err_context(
        verified ? checkpoint_read(&head, buf_bytes(&note))
                 : checkpoint_verify(&head, buf_bytes(&note), r->policy->log.name, &r->policy->log),
        "the signed note of its head"));
    if (head.size != x->head_size || !merkle_equal(&head.root, &x->head_root))
        return err_set(ERR_UNTRUE, "the head in its context is not that of the signed note");
    return err_ok();
}

/* Whether the log's key has signed the head. Then it signed two histories, which no host can make
 * it do. */
static struct err find_fork(struct quote_check *c)
{
    struct err e = check_note(c);
    if (!is_err(e))
        replay_find(c->now->r, NULL, FINDING_ERROR, "FORK", c->now->index,
                    "the log's key has signed a head of size %llu that is not of these entries",
                    (unsigned long long)c->q->context.head_size);
    return rule_refuses(e) ? err_ok() : e;
}

static struct err check_head(struct quote_check *c)
{
    const struct quote_context *x = &c->q->context;
    unsigned long long size = x->head_size;
    bool early = x->head_size > c->now->index;
    if (!early && merkle_equal(&x->head_root, &c->now->r->roots[x->head_size]))
        return err_ok();
    TRY(find_fork(c));
    if (early)
        return err_set(ERR_UNTRUE, "its head of size %llu is not of the entries before it", size);
    return err_set(ERR_UNTRUE, "its head of size %llu is not this log's: another history", size);
}

static struct err check_covers(uint64_t head_size, uint64_t index, const char *what)
{
    if (index < head_size)
        return err_ok();
    return err_set(ERR_UNTRUE, "its head of size %llu does not cover the %s, entry %llu",
                   (unsigned long long)head_size, what, (unsigned long long)index);
}

static struct err step_log(struct quote_check *c)
{
    const struct quote_context *x = &c->q->context;
    const struct replay_host *h = c->now->host;
    TRY(check_head(c));
    TRY(check_note(c));
    TRY(check_covers(x->head_size, h->index, "host statement"));
    TRY(check_covers(x->head_size, h->boot.index, "boot statement"));
    return check_covers(x->head_size, h->identity.index, "identity");
}

static const struct {
    const char *code;
    struct err (*check)(struct quote_check *c);
} steps[] = {
    {"AK", step_believed},       {"SIGNATURE", step_signature},
    {"QUOTE", step_quote},       {"CONTEXT", step_context},
    {"COUNTERS", step_counters}, {"LANES", step_lanes},
    {"BOOT", step_boot},         {"LOG", step_log},
};

/* Twice the interval leaves room for a slow TPM, and for nothing else. A boot's first quote is due
 * from its boot statement on. */
static void find_gap(struct quote_check *c)
{
    const struct replay_host *h = c->now->host;
    uint64_t interval_s = h->identity.lanes.quote_interval_s;
    bool announced = h->quote.is_true && h->quote.stop;
    uint64_t from_ms = h->quote.is_true ? h->quote.clock_ms : h->boot.counter.clock_ms;
    uint64_t gap_ms = c->a.clock_ms - from_ms;
    char gap[32];
    if (gap_ms <= 2 * interval_s * 1000)
        return;
    report_duration(gap, gap_ms);
    if (!announced)
        replay_find(c->now->r, c->now->host, FINDING_WARNING, "GAP", c->now->index,
                    "no quote for %s before it; the interval is %llu s", gap,
                    (unsigned long long)interval_s);
    else if (gap_ms / 1000 <= h->quote.max_duration_s)
        replay_find(c->now->r, c->now->host, FINDING_NOTE, "GAP", c->now->index,
                    "no quote for %s before it, as announced (at most %llu s)", gap,
                    (unsigned long long)h->quote.max_duration_s);
    else
        replay_find(c->now->r, c->now->host, FINDING_WARNING, "GAP", c->now->index,
                    "no quote for %s before it; at most %llu s were announced", gap,
                    (unsigned long long)h->quote.max_duration_s);
}

/* The key counts what it signs: the log refused a quote for good, and the host says so. */
static void find_skipped(struct quote_check *c)
{
    unsigned long long made = c->q->context.period, logged = c->now->host->boot.n_quotes;
    if (made > logged)
        replay_find(c->now->r, c->now->host, FINDING_WARNING, "SKIPPED", c->now->index,
                    "%llu quotes that this host made before it in this boot are not in the log",
                    made - logged);
}

static void find_changes(struct quote_check *c)
{
    const struct replay_quote *last = &c->now->host->quote;
    for (unsigned i = 0; last->is_true && i < N_BOOT_PCRS; i++)
        if (memcmp(last->pcrs.values[i], c->q->pcrs.values[i], SHA256_LEN) != 0)
            replay_find(c->now->r, c->now->host, FINDING_WARNING, "PCR-CHANGED", c->now->index,
                        "PCR %u changed since the quote before, without a reset", i);
}

static void mark_seen(bool *seen, const struct policy_hash *list, size_t n,
                      const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < n; i++)
        seen[i] |= memcmp(list[i].sha256, sha256, SHA256_LEN) == 0;
}

/* A true quote: what it rests on counts from here. */
static void accept(struct quote_check *c)
{
    struct replay *r = c->now->r;
    struct replay_host *h = c->now->host;
    find_gap(c);
    find_skipped(c);
    find_changes(c);
    h->boot.quoted = h->identity.quoted = true;
    h->n_quotes++;
    h->covered = c->q->context.head_size;
    h->quote.is_true = true;
    h->quote.clock_ms = c->a.clock_ms;
    h->quote.stop = c->now->s->kind == STATEMENT_STOP;
    h->quote.max_duration_s = c->q->max_duration_s;
    h->quote.pcrs = c->q->pcrs;
    r->n_quotes++;
    h->zero |= c->pcrs.zero;
    h->ignored |= c->pcrs.ignored;
    h->explained |= c->pcrs.explained;
    h->gpu |= h->identity.lanes.gpu;
    h->gpu_open |= h->identity.lanes.gpu && !rule_gpus_protected(&h->boot.gpus, r->policy);
    mark_seen(r->models, r->policy->models, r->policy->n_models, h->identity.lanes.model_manifest);
    mark_seen(r->codes, r->policy->codes, r->policy->n_codes, h->identity.lanes.code_manifest);
}

/* True or not, what the key has signed is what its next quote names. */
static void follow(struct quote_check *c)
{
    struct replay_host *h = c->now->host;
    h->quote.known = true;
    h->quote.index = c->now->index;
    h->quote.leaf = c->now->leaf;
    if (!h->boot.known || memcmp(h->boot.boot_id, c->q->context.boot_id, BOOT_ID_LEN) != 0)
        return;
    h->boot.n_quotes = c->q->context.period + 1;
    if (c->a.clock_ms > h->boot.clock_ms)
        h->boot.clock_ms = c->a.clock_ms;
}

static void describe(struct quote_check *c)
{
    const struct quote_context *x = &c->q->context;
    char clock[32];
    report_duration(clock, c->a.clock_ms - c->now->host->boot.counter.clock_ms);
    if (c->now->s->kind == STATEMENT_STOP)
        replay_fact(c->now,
                    "stop for at most %llu s; quote %llu of the boot, %s into it, on head %llu",
                    (unsigned long long)c->q->max_duration_s, (unsigned long long)x->period, clock,
                    (unsigned long long)x->head_size);
    else
        replay_fact(c->now, "quote %llu of the boot, %s into it, on head %llu",
                    (unsigned long long)x->period, clock, (unsigned long long)x->head_size);
}

struct err replay_take_quote(struct replay_entry_now *now)
{
    struct quote_check c = {.now = now, .q = &now->s->quote};
    struct err e = err_ok();
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !is_err(e); i++) {
        now->code = steps[i].code;
        e = steps[i].check(&c);
    }
    if (!is_err(e)) {
        accept(&c);
        describe(&c);
    }
    if (c.authentic)
        follow(&c);
    return e;
}
