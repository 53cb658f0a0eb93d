/*
 * Rule 1 over a whole bundle, and its host statements: what is parsed here is believed by nobody
 * yet.
 */
#include "attest/verify_bundle.h"

#include <stdlib.h>
#include <string.h>

void bundle_cleanup(struct bundle *b)
{
    evidence_cleanup(&b->own);
    rule_host_cleanup(&b->host);
    rule_gpus_cleanup(&b->gpus);
    free(b->statements);
    *b = BUNDLE_INIT;
}

const struct statement_quote *bundle_live(const struct bundle *b)
{
    return &b->live.quote;
}

const struct statement_quote *bundle_logged(const struct bundle *b)
{
    return &b->statements[b->logged].quote;
}

const struct statement_boot *bundle_boot(const struct bundle *b)
{
    return &b->statements[b->boot].boot;
}

const struct statement_identity *bundle_identity(const struct bundle *b)
{
    return &b->statements[b->identity].identity;
}

static struct err parse_statements(struct bundle *b)
{
    const struct evidence *e = b->evidence;
    b->statements = calloc(e->n_statements + 1, sizeof *b->statements);
    if (b->statements == NULL)
        return err_set(ERR_MEMORY, "out of memory for statements");
    for (size_t i = 0; i < e->n_statements; i++)
        TRY(err_context(statement_parse(&b->statements[i], buf_bytes(&e->statements[i].text)),
                        "entry %llu", (unsigned long long)e->statements[i].index));
    TRY(err_context(statement_parse(&b->live, buf_bytes(&e->quote)), "the live quote"));
    if (b->live.kind != STATEMENT_QUOTE)
        return err_set(ERR_UNTRUE, "the live quote is a statement of kind %s",
                       statement_kind_name(b->live.kind));
    return err_ok();
}

static struct err find_one(size_t *out, const struct bundle *b, enum statement_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < b->evidence->n_statements; i++)
        if (b->statements[i].kind == kind) {
            *out = i;
            n++;
        }
    if (n != 1)
        return err_set(ERR_UNTRUE, "%zu statements of kind %s, not exactly one", n,
                       statement_kind_name(kind));
    return err_ok();
}

static struct err check_kinds(struct bundle *b)
{
    TRY(find_one(&b->boot, b, STATEMENT_BOOT));
    TRY(find_one(&b->identity, b, STATEMENT_IDENTITY));
    TRY(find_one(&b->logged, b, STATEMENT_QUOTE));
    size_t n_hosts = 0;
    for (size_t i = 0; i < b->evidence->n_statements; i++) {
        n_hosts += b->statements[i].kind == STATEMENT_HOST;
        if (b->statements[i].kind == STATEMENT_STOP)
            return err_set(ERR_UNTRUE, "a stop statement: the host has announced that it stops");
        if (!tpm_name_equal(&b->statements[i].ak_name, &b->live.ak_name))
            return err_set(ERR_UNTRUE,
                           "entry %llu is of another attestation key than the live quote",
                           (unsigned long long)b->evidence->statements[i].index);
    }
    if (n_hosts == 0)
        return err_set(ERR_UNTRUE, "no host statement");
    return err_ok();
}

static struct err check_repeats(const struct evidence *e)
{
    for (size_t i = 0; i < e->n_statements; i++)
        for (size_t k = i + 1; k < e->n_statements; k++)
            if (e->statements[i].index == e->statements[k].index ||
                bytes_equal(buf_bytes(&e->statements[i].text), buf_bytes(&e->statements[k].text)))
                return err_set(ERR_UNTRUE, "entry %llu is there twice",
                               (unsigned long long)e->statements[k].index);
    for (size_t i = 0; i < e->n_heads; i++)
        for (size_t k = i + 1; k < e->n_heads; k++)
            if (bytes_equal(buf_bytes(&e->heads[i].note), buf_bytes(&e->heads[k].note)))
                return err_set(ERR_UNTRUE, "head %zu is there twice", k);
    return err_ok();
}

static bool ref_is(const struct blob_ref *ref, const uint8_t sha256[SHA256_LEN])
{
    return memcmp(ref->sha256, sha256, SHA256_LEN) == 0;
}

static bool boot_names(const struct statement_boot *boot, const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < boot->n_gpus; i++)
        if (boot->gpus[i].memory == GPU_MEMORY_PROTECTED && ref_is(&boot->gpus[i].chain, sha256))
            return true;
    return boot->has_event_log && ref_is(&boot->event_log, sha256);
}

static bool quote_names(const struct statement_quote *q, const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < q->n_gpu_reports; i++)
        if (ref_is(&q->gpu_reports[i], sha256))
            return true;
    return false;
}

static bool statement_names(const struct statement *s, const uint8_t sha256[SHA256_LEN])
{
    if (s->kind == STATEMENT_IDENTITY)
        return ref_is(&s->identity.runtime_log, sha256);
    if (s->kind == STATEMENT_BOOT)
        return boot_names(&s->boot, sha256);
    if (s->kind == STATEMENT_QUOTE)
        return quote_names(&s->quote, sha256);
    if (s->kind != STATEMENT_HOST)
        return false;
    for (size_t i = 0; i < s->host.n_chain; i++)
        if (ref_is(&s->host.chain[i], sha256))
            return true;
    for (size_t i = 0; i < s->host.n_activations; i++)
        if (ref_is(&s->host.activations[i], sha256))
            return true;
    return ref_is(&s->host.ak_public, sha256) ||
           ref_is(s->host.ak_certified ? &s->host.ak_certificate : &s->host.ek_certificate, sha256);
}

static struct err check_blobs(const struct bundle *b)
{
    const struct evidence *e = b->evidence;
    for (size_t i = 0; i < e->n_blobs; i++) {
        bool named = statement_names(&b->live, e->blob_hashes[i]);
        for (size_t k = 0; k < e->n_statements && !named; k++)
            named = statement_names(&b->statements[k], e->blob_hashes[i]);
        if (!named)
            return err_set(ERR_UNTRUE, "blob %zu is left over: no statement names it", i);
    }
    return err_ok();
}

static struct err check_heads(const struct bundle *b)
{
    for (size_t i = 0; i < b->evidence->n_heads; i++) {
        uint8_t hash[SHA256_LEN];
        sha256(hash, buf_bytes(&b->evidence->heads[i].note));
        if (memcmp(hash, bundle_live(b)->context.head_note, SHA256_LEN) != 0 &&
            memcmp(hash, bundle_logged(b)->context.head_note, SHA256_LEN) != 0)
            return err_set(ERR_UNTRUE, "head %zu is left over: no quote's context names it", i);
    }
    return err_ok();
}

struct err bundle_take(struct bundle *b, const struct evidence *e)
{
    b->evidence = e;
    TRY(parse_statements(b));
    TRY(check_kinds(b));
    TRY(check_repeats(b->evidence));
    TRY(check_blobs(b));
    return check_heads(b);
}

struct err bundle_parse(struct bundle *b, struct bytes json)
{
    TRY(evidence_parse(&b->own, json));
    return bundle_take(b, &b->own);
}

struct err bundle_blob_source(void *context, const struct blob_ref *ref, struct buf *out)
{
    struct bytes blob;
    const struct bundle *b = context;
    TRY(evidence_blob(b->evidence, ref, &blob));
    buf_append_bytes(out, blob);
    return err_ok();
}

struct err bundle_hosts(struct bundle *b)
{
    for (size_t i = 0; i < b->evidence->n_statements; i++) {
        if (b->statements[i].kind != STATEMENT_HOST)
            continue;
        TRY(err_context(
            rule_host_add(&b->host, &b->statements[i], b->policy, bundle_blob_source, b),
            "entry %llu", (unsigned long long)b->evidence->statements[i].index));
    }
    return err_ok();
}
