/*
 * The evidence bundle (docs/FORMATS.md section 4): the JSON that a host answers to a nonce with.
 * Parsing is strict and bounded; nothing in it is believed before verify.c has checked it.
 */
#ifndef ATTEST_EVIDENCE_H
#define ATTEST_EVIDENCE_H

#include "attest/statement.h"
#include "transparency/merkle.h"

enum {
    EVIDENCE_MAX = 8 * 1024 * 1024,
    EVIDENCE_STATEMENTS_MAX = 64,
    EVIDENCE_HEADS_MAX = 8,
    EVIDENCE_BLOBS_MAX = 256,
};

struct evidence_statement {
    uint64_t index;
    struct buf text;
    struct merkle_proof proof;
};

struct evidence_head {
    struct buf note;
    struct merkle_proof proof; /* consistency, from it to `checkpoint` */
};

struct evidence {
    struct buf checkpoint; /* signed note */
    struct evidence_statement *statements;
    size_t n_statements;
    struct evidence_head *heads;
    size_t n_heads;
    struct buf *blobs;
    uint8_t (*blob_hashes)[SHA256_LEN]; /* (n_blobs): of each blob */
    size_t n_blobs;
    struct buf quote; /* a quote statement of kind demand */
    uint64_t nonce_index;
    struct merkle_proof nonce_proof;
};

#define EVIDENCE_INIT ((struct evidence){0})
void evidence_cleanup(struct evidence *e);

/* For the prover: each copies its bytes. */
void evidence_set_checkpoint(struct evidence *e, struct bytes note);
void evidence_add_statement(struct evidence *e, uint64_t index, struct bytes text,
                            const struct merkle_proof *proof);
void evidence_add_head(struct evidence *e, struct bytes note, const struct merkle_proof *proof);
void evidence_add_blob(struct evidence *e, struct bytes blob); /* once per content */
void evidence_drop_blobs(struct evidence *e, size_t n);        /* all but the first `n` */
void evidence_set_quote(struct evidence *e, struct bytes statement, uint64_t nonce_index,
                        const struct merkle_proof *nonce_proof);
/* Compact JSON, in two parts: what all bundles of one quote begin with, and the end that each nonce
 * has of its own. evidence_format is both, for the nonce in `e`. */
void evidence_format_shared(struct buf *out, const struct evidence *e);
void evidence_format_nonce(struct buf *out, uint64_t index, const struct merkle_proof *proof);
void evidence_format(struct buf *out, const struct evidence *e);

/* One JSON object and nothing behind it, its keys exactly those of the format, each once; base64
 * and numbers in their one form; no blob twice. ERR_MALFORMED (with the key), ERR_LIMIT. */
struct err evidence_parse(struct evidence *out, struct bytes json) MUST_USE;
/* The blob that the reference names; ERR_NOT_FOUND. Borrowed. */
struct err evidence_blob(const struct evidence *e, const struct blob_ref *ref,
                         struct bytes *out) MUST_USE;

#endif
