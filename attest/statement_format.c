/*
 * Statements as text, for the prover: the exact inverse of statement_parse.
 */
#include <assert.h>

#include "attest/statement.h"

static void hex_line(struct buf *out, const char *key, const uint8_t *data, size_t len)
{
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(data, len));
    buf_append_str(out, "\n");
}

static void base64_line(struct buf *out, const char *key, const uint8_t *data, size_t len)
{
    buf_printf(out, "%s ", key);
    buf_append_base64(out, bytes_of(data, len));
    buf_append_str(out, "\n");
}

static void decimal_line(struct buf *out, const char *key, uint64_t v)
{
    buf_printf(out, "%s %llu\n", key, (unsigned long long)v);
}

static void blob_line(struct buf *out, const char *key, const struct blob_ref *ref)
{
    buf_printf(out, "%s %llu ", key, (unsigned long long)ref->size);
    buf_append_hex(out, bytes_of(ref->sha256, SHA256_LEN));
    buf_append_str(out, "\n");
}

static void format_host(struct buf *out, const struct statement_host *h)
{
    assert(h->n_chain <= STATEMENT_CHAIN_MAX && h->n_activations <= STATEMENT_ACTIVATIONS_MAX);
    blob_line(out, "ak-public", &h->ak_public);
    if (h->ak_certified)
        blob_line(out, "ak-certificate", &h->ak_certificate);
    else
        blob_line(out, "ek-certificate", &h->ek_certificate);
    for (size_t i = 0; i < h->n_chain; i++)
        blob_line(out, h->ak_certified ? "ak-chain" : "ek-chain", &h->chain[i]);
    for (size_t i = 0; i < h->n_activations; i++)
        blob_line(out, "activation", &h->activations[i]);
}

static void format_gpus(struct buf *out, const struct statement_boot *b)
{
    assert(b->n_gpus <= STATEMENT_GPUS_MAX);
    buf_printf(out, "gpu-driver %s\n", b->gpu_driver);
    for (size_t i = 0; i < b->n_gpus; i++) {
        const struct statement_gpu *gpu = &b->gpus[i];
        buf_printf(out, "gpu %s %s %s %s\n", gpu->uuid, gpu->vbios, gpu_memory_name(gpu->memory),
                   gpu->name);
        if (gpu->memory == GPU_MEMORY_PROTECTED)
            blob_line(out, "gpu-chain", &gpu->chain);
    }
}

static void format_boot(struct buf *out, const struct statement_boot *b)
{
    hex_line(out, "boot-id", b->boot_id, BOOT_ID_LEN);
    decimal_line(out, "reset-count", b->reset_count);
    decimal_line(out, "restart-count", b->restart_count);
    buf_printf(out, "counter-index %08x\n", (unsigned)b->counter_index);
    base64_line(out, "counter-attest", b->attest, b->attest_len);
    base64_line(out, "counter-signature", b->signature, b->signature_len);
    if (b->has_event_log)
        blob_line(out, "event-log", &b->event_log);
    if (b->n_gpus > 0)
        format_gpus(out, b);
}

static void format_identity(struct buf *out, const struct statement_identity *i)
{
    hex_line(out, "boot-id", i->boot_id, BOOT_ID_LEN);
    hex_line(out, "spki-sha256", i->spki_sha256, SHA256_LEN);
    blob_line(out, "runtime-log", &i->runtime_log);
}

static void format_quote(struct buf *out, const struct statement_quote *q)
{
    base64_line(out, "pcrs", q->pcrs.values[0], sizeof q->pcrs.values);
    base64_line(out, "attest", q->attest, q->attest_len);
    base64_line(out, "signature", q->signature, q->signature_len);
    assert(q->n_gpu_reports <= STATEMENT_GPUS_MAX);
    for (size_t i = 0; i < q->n_gpu_reports; i++)
        blob_line(out, "gpu-report", &q->gpu_reports[i]);
    buf_append_str(out, "context\n");
    buf_append(out, q->context_text, q->context_len);
}

static unsigned version_of(const struct statement *s)
{
    if (s->kind == STATEMENT_BOOT)
        return s->boot.n_gpus > 0 ? 3 : s->boot.has_event_log ? 2 : 1;
    return s->kind == STATEMENT_QUOTE && s->quote.n_gpu_reports > 0 ? 2 : 1;
}

void statement_format(struct buf *out, const struct statement *s)
{
    buf_printf(out, "blindllama-%s/v%u\n", statement_kind_name(s->kind), version_of(s));
    if (s->kind == STATEMENT_STOP)
        decimal_line(out, "max-duration", s->quote.max_duration_s);
    hex_line(out, "ak-name", s->ak_name.bytes, s->ak_name.len);
    switch (s->kind) {
    case STATEMENT_HOST:
        format_host(out, &s->host);
        break;
    case STATEMENT_BOOT:
        format_boot(out, &s->boot);
        break;
    case STATEMENT_IDENTITY:
        format_identity(out, &s->identity);
        break;
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        format_quote(out, &s->quote);
        break;
    }
}
