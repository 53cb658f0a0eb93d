/*
 * The runtime log: what this project extended into PCRs 13, 14 and 15 (docs/FORMATS.md section 1).
 * Parsing checks the form; runtime_log_replay computes the PCRs; lanes_check checks that every
 * event is known and in its place. Data is believed only once the replay equals quoted PCRs.
 */
#ifndef ATTEST_RUNTIME_LOG_H
#define ATTEST_RUNTIME_LOG_H

#include "attest/attested.h"

enum {
    RUNTIME_LOG_MAX = 4 * 1024 * 1024,
    RUNTIME_RECORDS_MAX = 4096,
    RUNTIME_KIND_MAX = 64,
    RUNTIME_DATA_MAX = 32768,
    PCR_MODEL = 13,
    PCR_CODE = 14,
    PCR_IDENTITY = 15,
};

struct runtime_record {
    unsigned pcr; /* 13, 14 or 15 */
    char kind[RUNTIME_KIND_MAX + 1];
    struct bytes data; /* into the log's own memory */
};

struct runtime_log {
    struct runtime_record *records;
    size_t n_records;
    struct buf *memory; /* one per record, holds its data */
    size_t text_len;    /* bytes of the records' lines */
};

#define RUNTIME_LOG_INIT ((struct runtime_log){0})
void runtime_log_cleanup(struct runtime_log *log);

/* The whole text. ERR_MALFORMED with the line, ERR_LIMIT. */
struct err runtime_log_parse(struct runtime_log *out, struct bytes text) MUST_USE;
/* Only the first line, to start a file. */
void runtime_log_format_header(struct buf *out);
void runtime_log_format_record(struct buf *out, unsigned pcr, const char *kind, struct bytes data);
/* Copies; ERR_USAGE for a pcr, kind or data that the format does not allow, ERR_LIMIT. */
struct err runtime_log_append(struct runtime_log *log, unsigned pcr, const char *kind,
                              struct bytes data) MUST_USE;

/* The digest extended for a record, with any hash (EVP_sha256(), ...): `out` has room for
 * EVP_MD_get_size(md) bytes. */
void runtime_event_digest(uint8_t *out, const EVP_MD *md, const char *kind, struct bytes data);

/* PCRs 13, 14 and 15 from zero over the first `n` records, SHA-256 bank: out[0] is PCR 13. */
void runtime_log_replay(uint8_t out[3][SHA256_LEN], const struct runtime_log *log, size_t n);

/* What the lanes say, once every event is known and in order. Strings are into the log. */
struct lanes {
    struct bytes model_id;
    uint8_t model_manifest[SHA256_LEN], code_manifest[SHA256_LEN];
    struct bytes numerics, profile;
    uint8_t server_binary[SHA256_LEN];
    uint8_t boot_id[16];
    struct bytes log_vkey;
    uint64_t quote_interval_s, max_context, max_requests;
    uint8_t spki_sha256[SHA256_LEN]; /* last identity event */
    size_t n_identities;
    bool model_capped, code_capped;
};
/* ERR_UNTRUE naming the record and the flaw. With `complete`, all three lanes must be complete
 * (both caps, at least one identity); without, a prefix of each lane is accepted (a prover after
 * a crash). */
struct err lanes_check(struct lanes *out, const struct runtime_log *log, bool complete) MUST_USE;

/* Manifest of lane 13 or 14 as text (section 1). */
void lane_manifest(struct buf *out, const struct runtime_log *log, unsigned pcr);

#endif
