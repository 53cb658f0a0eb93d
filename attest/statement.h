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
    STATEMENT_GPUS_MAX = 16,
    GPU_CHAIN_MAX = 32768,
    GPU_REPORT_MAX = 8192, /* NVML's own limit */
    GPU_UUID_LEN = 40,     /* "GPU-", 32 hex digits and four hyphens */
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

/* What a host says of its GPUs' memory: nobody who opens the machine can read it; the same, but for
 * debuggers; or whoever can reach the bus or the memory can. */
enum gpu_memory { GPU_MEMORY_PROTECTED, GPU_MEMORY_DEVTOOLS, GPU_MEMORY_OPEN, N_GPU_MEMORIES };

struct statement_gpu {
    char uuid[GPU_UUID_LEN + 1];
    char vbios[32]; /* version; a word */
    enum gpu_memory memory;
    char name[96];
    struct blob_ref chain; /* GPU_MEMORY_PROTECTED only: gpu_chain.h */
};

struct statement_boot {
    uint8_t boot_id[BOOT_ID_LEN];
    uint64_t reset_count, restart_count;
    uint32_t counter_index;
    uint8_t attest[ATTESTED_MAX];
    size_t attest_len;
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_len;
    bool has_event_log; /* version 2, or 3 */
    struct blob_ref event_log;
    size_t n_gpus;                                 /* version 3: at least one */
    char gpu_driver[80];                           /* version; a word */
    struct statement_gpu gpus[STATEMENT_GPUS_MAX]; /* by uuid, bytewise */
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
    size_t n_gpu_reports;    /* STATEMENT_QUOTE version 2: at least one */
    struct blob_ref gpu_reports[STATEMENT_GPUS_MAX];
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
const char *gpu_memory_name(enum gpu_memory memory); /* "protected", "devtools", "open" */
/* "GPU-" and a UUID of lower-case hex digits, as NVML writes it. */
bool gpu_uuid_valid(struct bytes uuid);
/* Printable ASCII without a space, at least one byte: versions. */
bool gpu_word_valid(struct bytes word);

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
