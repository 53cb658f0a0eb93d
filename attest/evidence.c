/*
 * Evidence in memory and as JSON. The prover adds what it copies; the verifier's side is
 * evidence_parse.c.
 */
#include "attest/evidence.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

void evidence_cleanup(struct evidence *e)
{
    buf_cleanup(&e->checkpoint);
    for (size_t i = 0; i < e->n_statements; i++)
        buf_cleanup(&e->statements[i].text);
    for (size_t i = 0; i < e->n_heads; i++)
        buf_cleanup(&e->heads[i].note);
    for (size_t i = 0; i < e->n_blobs; i++)
        buf_cleanup(&e->blobs[i]);
    free(e->statements);
    free(e->heads);
    free(e->blobs);
    free(e->blob_hashes);
    buf_cleanup(&e->quote);
    *e = EVIDENCE_INIT;
}

/* A prover that cannot have a few KiB is in no state to go on (as for struct buf). */
static void *grow(void *list, size_t n, size_t item_len)
{
    void *grown = realloc(list, (n + 1) * item_len);
    if (grown == NULL)
        abort();
    return grown;
}

void evidence_set_checkpoint(struct evidence *e, struct bytes note)
{
    buf_clear(&e->checkpoint);
    buf_append_bytes(&e->checkpoint, note);
}

void evidence_add_statement(struct evidence *e, uint64_t index, struct bytes text,
                            const struct merkle_proof *proof)
{
    e->statements = grow(e->statements, e->n_statements, sizeof *e->statements);
    struct evidence_statement *s = &e->statements[e->n_statements++];
    *s = (struct evidence_statement){.index = index, .proof = *proof};
    buf_append_bytes(&s->text, text);
}

void evidence_add_head(struct evidence *e, struct bytes note, const struct merkle_proof *proof)
{
    e->heads = grow(e->heads, e->n_heads, sizeof *e->heads);
    struct evidence_head *h = &e->heads[e->n_heads++];
    *h = (struct evidence_head){.proof = *proof};
    buf_append_bytes(&h->note, note);
}

static bool holds_blob(const struct evidence *e, const uint8_t hash[SHA256_LEN])
{
    for (size_t i = 0; i < e->n_blobs; i++)
        if (memcmp(e->blob_hashes[i], hash, SHA256_LEN) == 0)
            return true;
    return false;
}

void evidence_add_blob(struct evidence *e, struct bytes blob)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, blob);
    if (holds_blob(e, hash))
        return;
    e->blobs = grow(e->blobs, e->n_blobs, sizeof *e->blobs);
    e->blob_hashes = grow(e->blob_hashes, e->n_blobs, sizeof *e->blob_hashes);
    e->blobs[e->n_blobs] = BUF_INIT;
    buf_append_bytes(&e->blobs[e->n_blobs], blob);
    memcpy(e->blob_hashes[e->n_blobs++], hash, SHA256_LEN);
}

void evidence_drop_blobs(struct evidence *e, size_t n)
{
    while (e->n_blobs > n)
        buf_cleanup(&e->blobs[--e->n_blobs]);
}

void evidence_set_quote(struct evidence *e, struct bytes statement, uint64_t nonce_index,
                        const struct merkle_proof *nonce_proof)
{
    buf_clear(&e->quote);
    buf_append_bytes(&e->quote, statement);
    e->nonce_index = nonce_index;
    e->nonce_proof = *nonce_proof;
}

struct err evidence_blob(const struct evidence *e, const struct blob_ref *ref, struct bytes *out)
{
    for (size_t i = 0; i < e->n_blobs; i++) {
        if (e->blobs[i].len != ref->size || memcmp(e->blob_hashes[i], ref->sha256, SHA256_LEN) != 0)
            continue;
        *out = buf_bytes(&e->blobs[i]);
        return err_ok();
    }
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(ref->sha256, SHA256_LEN));
    return err_set(ERR_NOT_FOUND, "the evidence lacks the blob of %llu bytes with SHA-256 %s",
                   (unsigned long long)ref->size, buf_str(&hex));
}

/* Statements and notes are UTF-8 by their formats; what is not is the prover's bug, and is written
 * as an empty string that every verifier refuses. */
static json_t *json_text(struct bytes text)
{
    json_t *value = text.len > 0 ? json_stringn((const char *)text.data, text.len) : NULL;
    return value != NULL ? value : json_string("");
}

static json_t *json_base64(struct bytes data)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_base64(&text, data);
    return json_text(buf_bytes(&text));
}

static json_t *json_proof(const struct merkle_proof *proof)
{
    json_t *list = json_array();
    for (size_t i = 0; i < proof->n_hashes; i++)
        json_array_append_new(list, json_base64(bytes_of(proof->hashes[i].bytes, SHA256_LEN)));
    return list;
}

static json_t *json_statements(const struct evidence *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_statements; i++) {
        const struct evidence_statement *s = &e->statements[i];
        json_t *item = json_object();
        json_object_set_new(item, "index", json_integer((json_int_t)s->index));
        json_object_set_new(item, "text", json_text(buf_bytes(&s->text)));
        json_object_set_new(item, "proof", json_proof(&s->proof));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *json_heads(const struct evidence *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_heads; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "note", json_text(buf_bytes(&e->heads[i].note)));
        json_object_set_new(item, "proof", json_proof(&e->heads[i].proof));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *json_blobs(const struct evidence *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_blobs; i++)
        json_array_append_new(list, json_base64(buf_bytes(&e->blobs[i])));
    return list;
}

static int append_text(const char *text, size_t len, void *out)
{
    buf_append(out, text, len);
    return 0;
}

void evidence_format_shared(struct buf *out, const struct evidence *e)
{
    json_t *root = json_object();
    json_object_set_new(root, "format", json_string("blindllama-evidence/v1"));
    json_object_set_new(root, "checkpoint", json_text(buf_bytes(&e->checkpoint)));
    json_object_set_new(root, "statements", json_statements(e));
    json_object_set_new(root, "heads", json_heads(e));
    json_object_set_new(root, "blobs", json_blobs(e));
    json_object_set_new(root, "quote", json_text(buf_bytes(&e->quote)));
    if (json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        abort(); /* only out of memory is left as a reason */
    json_decref(root);
    out->len--; /* the object goes on */
}

void evidence_format_nonce(struct buf *out, uint64_t index, const struct merkle_proof *proof)
{
    buf_printf(out, ",\"nonce\":{\"index\":%llu,\"proof\":[", (unsigned long long)index);
    for (size_t i = 0; i < proof->n_hashes; i++) {
        buf_append_str(out, i == 0 ? "\"" : ",\"");
        buf_append_base64(out, bytes_of(proof->hashes[i].bytes, SHA256_LEN));
        buf_append_str(out, "\"");
    }
    buf_append_str(out, "]}}");
}

void evidence_format(struct buf *out, const struct evidence *e)
{
    evidence_format_shared(out, e);
    evidence_format_nonce(out, e->nonce_index, &e->nonce_proof);
}
