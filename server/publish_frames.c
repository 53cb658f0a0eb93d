#include "server/publish_frames.h"

#include <stdlib.h>
#include <string.h>

static struct err malformed(const char *what)
{
    return err_set(ERR_MALFORMED, "channel: a frame on %s that is none", what);
}

static void append_numbers(struct buf *out, const uint64_t *list, size_t n)
{
    buf_append_u8(out, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        buf_append_u64be(out, list[i]);
}

static void read_numbers(uint64_t *list, size_t *n, struct reader *r)
{
    *n = read_u8(r);
    if (*n > WANTED_MAX)
        r->failed = true;
    for (size_t i = 0; i < *n && !r->failed; i++)
        list[i] = read_u64be(r);
}

static void append_bytes(struct buf *out, struct bytes v)
{
    buf_append_u32be(out, (uint32_t)v.len);
    buf_append_bytes(out, v);
}

static struct bytes read_long(struct reader *r)
{
    uint32_t len = read_u32be(r);
    return read_bytes(r, len);
}

static void append_list(struct buf *out, const struct bytes *list, size_t n)
{
    buf_append_u8(out, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        append_bytes(out, list[i]);
}

static size_t read_list(struct bytes *list, struct reader *r)
{
    size_t n = read_u8(r);
    if (n > LOG_CLIENT_BLOBS_MAX)
        r->failed = true;
    for (size_t i = 0; i < n && !r->failed; i++)
        list[i] = read_long(r);
    return n;
}

static void append_wanted(struct buf *out, const struct wanted *w)
{
    append_numbers(out, w->sizes, w->n_sizes);
    append_numbers(out, w->indices, w->n_indices);
}

static void read_wanted(struct wanted *out, struct reader *r)
{
    read_numbers(out->sizes, &out->n_sizes, r);
    read_numbers(out->indices, &out->n_indices, r);
}

void wanted_encode(struct buf *out, const struct wanted *w)
{
    append_wanted(out, w);
}

struct err wanted_decode(struct wanted *out, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct wanted w = {0};
    read_wanted(&w, &r);
    if (!reader_done(&r))
        return malformed("proofs");
    *out = w;
    return err_ok();
}

static void append_optional(struct buf *out, bool there, uint64_t value)
{
    buf_append_u8(out, there);
    buf_append_u64be(out, there ? value : 0);
}

static uint64_t read_optional(bool *there, struct reader *r)
{
    uint8_t is = read_u8(r);
    uint64_t value = read_u64be(r);
    if (is > 1 || (is == 0 && value != 0))
        r->failed = true;
    *there = is == 1;
    return value;
}

void submit_request_encode(struct buf *out, const struct submit_request *q)
{
    const struct log_submission *s = &q->submission;
    append_wanted(out, &q->wanted);
    buf_append_u64be(out, q->search_from);
    buf_append(out, s->spki_sha256, SHA256_LEN);
    append_optional(out, s->has_boot, s->boot);
    append_optional(out, s->has_identity, s->identity);
    append_bytes(out, s->host);
    append_list(out, s->host_blobs, s->n_host_blobs);
    append_bytes(out, s->statement);
    append_list(out, s->blobs, s->n_blobs);
}

struct err submit_request_decode(struct submit_request *out, struct bytes payload)
{
    struct reader r = reader_of(payload);
    struct log_submission *s = &out->submission;
    *out = (struct submit_request){0};
    read_wanted(&out->wanted, &r);
    out->search_from = read_u64be(&r);
    struct bytes spki = read_bytes(&r, SHA256_LEN);
    s->boot = read_optional(&s->has_boot, &r);
    s->identity = read_optional(&s->has_identity, &r);
    s->host = read_long(&r);
    s->n_host_blobs = read_list(out->host_blobs, &r);
    s->statement = read_long(&r);
    s->n_blobs = read_list(out->blobs, &r);
    if (!reader_done(&r))
        return malformed("a statement");
    memcpy(s->spki_sha256, spki.data, SHA256_LEN);
    s->host_blobs = out->host_blobs;
    s->blobs = out->blobs;
    return err_ok();
}

static void append_proof(struct buf *out, const struct merkle_proof *p)
{
    buf_append_u8(out, (uint8_t)p->n_hashes);
    buf_append(out, p->hashes, p->n_hashes * SHA256_LEN);
}

static void read_proof(struct merkle_proof *out, struct reader *r)
{
    out->n_hashes = read_u8(r);
    if (out->n_hashes > MERKLE_PROOF_MAX)
        r->failed = true;
    struct bytes hashes = read_bytes(r, r->failed ? 0 : out->n_hashes * SHA256_LEN);
    if (!r->failed && hashes.len > 0)
        memcpy(out->hashes, hashes.data, hashes.len);
}

static void append_proofs(struct buf *out, const struct merkle_proof *list, size_t n)
{
    buf_append_u8(out, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        append_proof(out, &list[i]);
}

static size_t read_proofs(struct merkle_proof *list, struct reader *r)
{
    size_t n = read_u8(r);
    if (n > WANTED_MAX)
        r->failed = true;
    for (size_t i = 0; i < n && !r->failed; i++)
        read_proof(&list[i], r);
    return n;
}

void proven_encode(struct buf *out, const struct proven *p)
{
    append_bytes(out, p->note);
    append_proofs(out, p->consistency, p->n_consistency);
    append_proofs(out, p->inclusion, p->n_inclusion);
    append_optional(out, p->submitted, p->index);
    if (p->submitted)
        append_proof(out, &p->own);
}

struct err proven_decode(struct proven *out, struct bytes payload)
{
    struct reader r = reader_of(payload);
    out->note = read_long(&r);
    out->n_consistency = read_proofs(out->consistency, &r);
    out->n_inclusion = read_proofs(out->inclusion, &r);
    out->index = read_optional(&out->submitted, &r);
    if (out->submitted)
        read_proof(&out->own, &r);
    return reader_done(&r) ? err_ok() : malformed("a checkpoint");
}
