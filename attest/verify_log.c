/*
 * Rule 10: the log. What the bundle shows is in the log that the policy and PCR 15 name; each quote
 * was made on a head of that same log which covers everything that the quote rests on; the logged
 * quote is young. Without the coverage a quote could be made in advance, or for a log shown to
 * nobody.
 */
#include "attest/verify_bundle.h"

#include <string.h>

static struct err check_inclusion(const struct bundle *b)
{
    for (size_t i = 0; i < b->evidence->n_statements; i++) {
        const struct evidence_statement *s = &b->evidence->statements[i];
        struct merkle_hash leaf = merkle_leaf(buf_bytes(&s->text));
        TRY(err_context(merkle_verify_inclusion(&leaf, s->index, b->checkpoint.size, &s->proof,
                                                &b->checkpoint.root),
                        "entry %llu", (unsigned long long)s->index));
    }
    return err_ok();
}

static const struct evidence_head *find_head(const struct evidence *e,
                                             const uint8_t sha256_of_note[SHA256_LEN])
{
    for (size_t i = 0; i < e->n_heads; i++) {
        uint8_t hash[SHA256_LEN];
        sha256(hash, buf_bytes(&e->heads[i].note));
        if (memcmp(hash, sha256_of_note, SHA256_LEN) == 0)
            return &e->heads[i];
    }
    return NULL;
}

/* The head in a quote's context is one that the log signed, and a prefix of the checkpoint. */
static struct err check_head(const struct bundle *b, const struct quote_context *c)
{
    const struct evidence_head *head = find_head(b->evidence, c->head_note);
    if (head == NULL)
        return err_set(ERR_UNTRUE, "the note of the head that the quote names is missing");
    struct checkpoint signed_head;
    TRY(checkpoint_verify(&signed_head, buf_bytes(&head->note), b->policy->log.name,
                          &b->policy->log));
    if (signed_head.size != c->head_size || !merkle_equal(&signed_head.root, &c->head_root))
        return err_set(ERR_UNTRUE, "the head in the context is not that of its signed note");
    return merkle_verify_consistency(c->head_size, &c->head_root, b->checkpoint.size,
                                     &b->checkpoint.root, &head->proof);
}

static struct err check_covered(const struct bundle *b, const struct quote_context *c, size_t i)
{
    uint64_t index = b->evidence->statements[i].index;
    if (index < c->head_size)
        return err_ok();
    return err_set(ERR_UNTRUE, "its head of size %llu does not cover the %s statement, entry %llu",
                   (unsigned long long)c->head_size, statement_kind_name(b->statements[i].kind),
                   (unsigned long long)index);
}

/* The logged quote rests on the boot, the identity and at least one host statement. */
static struct err check_logged_coverage(const struct bundle *b)
{
    const struct quote_context *c = &bundle_logged(b)->context;
    TRY(check_covered(b, c, b->boot));
    TRY(check_covered(b, c, b->identity));
    for (size_t i = 0; i < b->evidence->n_statements; i++)
        if (b->statements[i].kind == STATEMENT_HOST &&
            b->evidence->statements[i].index < c->head_size)
            return err_ok();
    return err_set(ERR_UNTRUE, "its head of size %llu covers no host statement",
                   (unsigned long long)c->head_size);
}

static struct err check_heads(const struct bundle *b)
{
    const struct quote_context *logged = &bundle_logged(b)->context;
    const struct quote_context *live = &bundle_live(b)->context;
    TRY(err_context(check_head(b, logged), "logged quote"));
    TRY(err_context(check_logged_coverage(b), "logged quote"));
    if (logged->head_size > b->evidence->statements[b->logged].index)
        return err_set(ERR_UNTRUE, "logged quote: it names a head that already holds it");
    TRY(err_context(check_head(b, live), "live quote"));
    for (size_t i = 0; i < b->evidence->n_statements; i++)
        TRY(err_context(check_covered(b, live, i), "live quote"));
    return err_ok();
}

/* Both clocks are of one boot (rule 6), so their difference is time that the TPM counted. */
static struct err check_age(const struct bundle *b)
{
    uint64_t age_ms = b->live_attest.clock_ms - b->logged_attest.clock_ms;
    if (age_ms > b->policy->max_age_s * 1000)
        return err_set(ERR_UNTRUE,
                       "the logged quote is %llu s old by the TPM's clock; the policy "
                       "allows %llu s",
                       (unsigned long long)(age_ms / 1000),
                       (unsigned long long)b->policy->max_age_s);
    return err_ok();
}

struct err bundle_check_log(struct bundle *b)
{
    if (strcmp(b->lanes.log_vkey, b->policy->log_vkey) != 0)
        return err_set(ERR_UNTRUE, "PCR 15 names another log than the policy");
    TRY(err_context(checkpoint_verify(&b->checkpoint, buf_bytes(&b->evidence->checkpoint),
                                      b->policy->log.name, &b->policy->log),
                    "checkpoint"));
    TRY(tlog_policy_check_quorum(&b->witnessed, &b->policy->witnesses,
                                 buf_bytes(&b->evidence->checkpoint)));
    TRY(check_inclusion(b));
    TRY(check_heads(b));
    return check_age(b);
}
