#include "attest/statement.h"

#include <string.h>

#include "attest/key_lines.h"
#include "attest/statement_gpu.h"
#include "common/text.h"

static const char *const kind_names[] = {"host", "boot", "identity", "quote", "stop"};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names };

const char *statement_kind_name(enum statement_kind kind)
{
    return (size_t)kind < N_KINDS ? kind_names[kind] : "unknown";
}

void blob_ref_of(struct blob_ref *out, struct bytes blob)
{
    out->size = blob.len;
    sha256(out->sha256, blob);
}

struct err blob_ref_check(const struct blob_ref *ref, struct bytes blob)
{
    struct blob_ref actual;
    blob_ref_of(&actual, blob);
    if (actual.size != ref->size)
        return err_set(ERR_UNTRUE, "a blob of %zu bytes where %llu are named", blob.len,
                       (unsigned long long)ref->size);
    if (memcmp(actual.sha256, ref->sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "the blob's SHA-256 is not the one named");
    return err_ok();
}

struct err line_blob(struct key_lines *l, struct blob_ref *out, const char *key)
{
    struct bytes size, hash;
    TRY(line_pair(l, &size, &hash, key));
    TRY(line_context(l, decimal_decode(&out->size, size, BLOB_MAX)));
    return line_context(l, hex_decode(out->sha256, SHA256_LEN, hash));
}

static struct err line_blobs(struct key_lines *l, struct blob_ref *out, size_t *n, size_t max,
                             const char *key)
{
    while (line_is_next(l, key)) {
        if (*n == max)
            return err_set(ERR_MALFORMED, "line %zu: more than %zu lines '%s'", l->line + 1, max,
                           key);
        TRY(line_blob(l, &out[*n], key));
        (*n)++;
    }
    return err_ok();
}

static struct err read_host(struct key_lines *l, struct statement *s)
{
    struct statement_host *h = &s->host;
    TRY(line_tpm_name(l, &s->ak_name, "ak-name"));
    TRY(line_blob(l, &h->ak_public, "ak-public"));
    h->ak_certified = line_is_next(l, "ak-certificate");
    if (h->ak_certified) {
        TRY(line_blob(l, &h->ak_certificate, "ak-certificate"));
        TRY(line_blobs(l, h->chain, &h->n_chain, STATEMENT_CHAIN_MAX, "ak-chain"));
        return lines_done(l);
    }
    TRY(line_blob(l, &h->ek_certificate, "ek-certificate"));
    TRY(line_blobs(l, h->chain, &h->n_chain, STATEMENT_CHAIN_MAX, "ek-chain"));
    TRY(line_blobs(l, h->activations, &h->n_activations, STATEMENT_ACTIVATIONS_MAX, "activation"));
    return lines_done(l);
}

static struct err read_event_log(struct key_lines *l, struct statement_boot *b)
{
    TRY(line_blob(l, &b->event_log, "event-log"));
    if (b->event_log.size > BOOT_EVENT_LOG_MAX)
        return err_set(ERR_MALFORMED, "line %zu: an event log of %llu bytes, over %d", l->line,
                       (unsigned long long)b->event_log.size, BOOT_EVENT_LOG_MAX);
    return err_ok();
}

/* Version 2 is there for its event log, version 3 for its GPUs. */
static struct err read_boot(struct key_lines *l, struct statement *s, unsigned version)
{
    struct statement_boot *b = &s->boot;
    TRY(line_tpm_name(l, &s->ak_name, "ak-name"));
    TRY(line_hex(l, b->boot_id, BOOT_ID_LEN, "boot-id"));
    TRY(line_decimal(l, &b->reset_count, UINT32_MAX, "reset-count"));
    TRY(line_decimal(l, &b->restart_count, UINT32_MAX, "restart-count"));
    uint8_t index[4];
    TRY(line_hex(l, index, sizeof index, "counter-index"));
    struct reader r = reader_of(bytes_of(index, sizeof index));
    b->counter_index = read_u32be(&r);
    TRY(line_base64(l, b->attest, &b->attest_len, ATTESTED_MAX, "counter-attest"));
    TRY(line_base64(l, b->signature, &b->signature_len, SIGNATURE_MAX, "counter-signature"));
    b->has_event_log = version == 2 || (version == 3 && line_is_next(l, "event-log"));
    if (b->has_event_log)
        TRY(read_event_log(l, b));
    if (version == 3)
        TRY(read_gpus(l, b));
    return lines_done(l);
}

static struct err read_identity(struct key_lines *l, struct statement *s)
{
    struct statement_identity *i = &s->identity;
    TRY(line_tpm_name(l, &s->ak_name, "ak-name"));
    TRY(line_hex(l, i->boot_id, BOOT_ID_LEN, "boot-id"));
    TRY(line_hex(l, i->spki_sha256, SHA256_LEN, "spki-sha256"));
    TRY(line_blob(l, &i->runtime_log, "runtime-log"));
    return lines_done(l);
}

/* The context takes the rest of the text and must be of this AK and of a kind that fits. */
static struct err read_context(struct key_lines *l, struct statement *s)
{
    struct statement_quote *q = &s->quote;
    struct bytes text = read_bytes(&l->r, reader_left(&l->r));
    TRY(context_parse(&q->context, text));
    memcpy(q->context_text, text.data, text.len);
    q->context_len = text.len;
    if (q->context.ak_name.len != s->ak_name.len ||
        memcmp(q->context.ak_name.bytes, s->ak_name.bytes, s->ak_name.len) != 0)
        return err_set(ERR_MALFORMED, "the context is of another ak-name than the statement");
    if ((q->context.kind == QUOTE_STOP) != (s->kind == STATEMENT_STOP))
        return err_set(ERR_MALFORMED, "the context's kind is not a %s statement's",
                       statement_kind_name(s->kind));
    return err_ok();
}

static struct err read_quote(struct key_lines *l, struct statement *s, unsigned version)
{
    struct statement_quote *q = &s->quote;
    if (s->kind == STATEMENT_STOP)
        TRY(line_decimal(l, &q->max_duration_s, UINT64_MAX, "max-duration"));
    TRY(line_tpm_name(l, &s->ak_name, "ak-name"));
    struct bytes pcrs;
    TRY(line_value(l, &pcrs, "pcrs"));
    TRY(line_context(l, base64_decode_exact(q->pcrs.values[0], sizeof q->pcrs.values, pcrs)));
    TRY(line_base64(l, q->attest, &q->attest_len, ATTESTED_MAX, "attest"));
    TRY(line_base64(l, q->signature, &q->signature_len, SIGNATURE_MAX, "signature"));
    if (version == 2)
        TRY(read_gpu_reports(l, q));
    TRY(line_literal(l, "context", ERR_MALFORMED));
    return read_context(l, s);
}

static bool read_first_line(struct key_lines *l, const char *kind, const char *version)
{
    struct reader peek = l->r;
    if (!read_literal(&peek, "blindllama-") || !read_literal(&peek, kind) ||
        !read_literal(&peek, version))
        return false;
    l->r = peek;
    l->line++;
    return true;
}

/* The first line, "blindllama-<kind>/v<version>". */
static struct err read_kind(struct key_lines *l, struct statement *s, unsigned *version)
{
    static const char *const versions[] = {"/v1\n", "/v2\n", "/v3\n"};
    static const unsigned newest[N_KINDS] = {1, 3, 1, 2, 1};
    for (size_t i = 0; i < N_KINDS; i++)
        for (unsigned v = 1; v <= newest[i]; v++)
            if (read_first_line(l, kind_names[i], versions[v - 1])) {
                s->kind = (enum statement_kind)i;
                *version = v;
                return err_ok();
            }
    return line_literal(l, "blindllama-<host, boot, identity, quote or stop>/v1", ERR_UNSUPPORTED);
}

static struct err read_body(struct key_lines *l, struct statement *s, unsigned version)
{
    switch (s->kind) {
    case STATEMENT_HOST:
        return read_host(l, s);
    case STATEMENT_BOOT:
        return read_boot(l, s, version);
    case STATEMENT_IDENTITY:
        return read_identity(l, s);
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        return read_quote(l, s, version);
    }
    return err_set(ERR_UNSUPPORTED, "a statement of kind %d", (int)s->kind);
}

struct err statement_parse(struct statement *out, struct bytes text)
{
    if (text.len > STATEMENT_MAX)
        return err_set(ERR_MALFORMED, "a statement of %zu bytes, over %d", text.len, STATEMENT_MAX);
    struct key_lines l = key_lines_of(text);
    struct statement s;
    unsigned version = 0;
    memset(&s, 0, sizeof s);
    TRY(err_context(read_kind(&l, &s, &version), "statement"));
    TRY(err_context(read_body(&l, &s, version), "%s statement", statement_kind_name(s.kind)));
    *out = s;
    return err_ok();
}
