/*
 * Statements, the log's entries (docs/FORMATS.md section 2): formatting for the prover, strict
 * parsing for verifiers. What a statement claims is checked in verify.c.
 */
#ifndef ATTEST_STATEMENT_H
#define ATTEST_STATEMENT_H

#include "attest/attested.h"
#include "attest/context.h"

/* Limits in bytes and counts. */
enum {
    STATEMENT_MAX = 65535,
    STATEMENT_CHAIN_MAX = 8,
    STATEMENT_ACTIVATIONS_MAX = 16,
    SIGNATURE_MAX = 1024,
    BLOB_MAX = 16 * 1024 * 1024,
    BOOT_EVENT_LOG_MAX = 1024 * 1024, /* of a boot statement: an evidence bundle must hold it */
};

enum statement_kind {
    STATEMENT_HOST,
    STATEMENT_BOOT,
    STATEMENT_IDENTITY,
    STATEMENT_QUOTE,
    STATEMENT_STOP,
};

/* The size in a reference by hash alone, as a quote's context names its head; no statement can
 * state it. */
#define BLOB_SIZE_UNKNOWN UINT64_MAX

struct blob_ref {
    uint64_t size;
    uint8_t sha256[SHA256_LEN];
};

/* The key's TPM is known by the endorsement certificate, or the key by a certificate of its own. */
struct statement_host {
    struct blob_ref ak_public;
    bool ak_certified; /* which of the two is there */
    struct blob_ref ek_certificate, ak_certificate;
    struct blob_ref chain[STATEMENT_CHAIN_MAX]; /* its issuers */
    size_t n_chain;
    struct blob_ref activations[STATEMENT_ACTIVATIONS_MAX]; /* beside an ek_certificate only */
    size_t n_activations;
};

struct statement_boot {
    uint8_t boot_id[BOOT_ID_LEN];
    uint64_t reset_count, restart_count;
    uint32_t counter_index;
    uint8_t attest[ATTESTED_MAX];
    size_t attest_len;
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_len;
    bool has_event_log; /* version 2 */
    struct blob_ref event_log;
};

struct statement_identity {
    uint8_t boot_id[BOOT_ID_LEN];
    uint8_t spki_sha256[SHA256_LEN];
    struct blob_ref runtime_log;
};

struct statement_quote {
    struct pcr_values pcrs;
    uint8_t attest[ATTESTED_MAX];
    size_t attest_len;
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_len;
    uint8_t context_text[CONTEXT_MAX]; /* verbatim */
    size_t context_len;
    struct quote_context context;
    uint64_t max_duration_s; /* STATEMENT_STOP only */
};

struct statement {
    enum statement_kind kind;
    struct tpm_name ak_name;
    union {
        struct statement_host host;
        struct statement_boot boot;
        struct statement_identity identity;
        struct statement_quote quote; /* STATEMENT_QUOTE and STATEMENT_STOP */
    };
};

const char *statement_kind_name(enum statement_kind kind);

/* Appends the text. A quote's context is written from `context_text`, which the prover fills with
 * context_format; `context` is not looked at. */
void statement_format(struct buf *out, const struct statement *s);
/* ERR_MALFORMED with the line; ERR_UNSUPPORTED for another kind or version. A quote's context is
 * parsed too, and its AK name and kind must be the statement's. */
struct err statement_parse(struct statement *out, struct bytes text) MUST_USE;

void blob_ref_of(struct blob_ref *out, struct bytes blob);
/* ERR_UNTRUE unless size and hash agree. */
struct err blob_ref_check(const struct blob_ref *ref, struct bytes blob) MUST_USE;

#endif
