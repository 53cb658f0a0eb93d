/*
 * For tests: event logs made by hand. A log begins with make_spec_id (crypto-agile) or with its
 * first event (legacy).
 */
#ifndef TESTS_EVENTLOG_MAKE_H
#define TESTS_EVENTLOG_MAKE_H

#include <string.h>

#include "attest/eventlog.h"

static inline void append_u16le(struct buf *out, uint16_t v)
{
    buf_append_u8(out, (uint8_t)v);
    buf_append_u8(out, (uint8_t)(v >> 8));
}

static inline void append_u32le(struct buf *out, uint32_t v)
{
    append_u16le(out, (uint16_t)v);
    append_u16le(out, (uint16_t)(v >> 16));
}

/* A record of the legacy shape with the given digest. */
static inline void make_legacy_record(struct buf *out, uint32_t pcr, uint32_t type,
                                      const uint8_t digest[20], struct bytes data)
{
    append_u32le(out, pcr);
    append_u32le(out, type);
    buf_append(out, digest, 20);
    append_u32le(out, (uint32_t)data.len);
    buf_append_bytes(out, data);
}

/* A legacy event whose digest is its data's. */
static inline void make_legacy_event(struct buf *out, uint32_t pcr, uint32_t type,
                                     struct bytes data)
{
    uint8_t digest[20];
    pcr_bank_hash(pcr_bank_of(TPM_ALG_SHA1_ID), digest, data);
    make_legacy_record(out, pcr, type, digest, data);
}

static inline uint16_t alg_len(uint16_t alg)
{
    const struct pcr_bank *bank = pcr_bank_of(alg);
    return bank != NULL ? (uint16_t)bank->len : 32;
}

/* The header for these algorithms, with `vendor` after it. */
static inline void make_spec_id(struct buf *out, const uint16_t *algs, size_t n,
                                struct bytes vendor)
{
    static const uint8_t zero[20];
    BUF_AUTO data = BUF_INIT;
    buf_append(&data, "Spec ID Event03", 16);
    append_u32le(&data, 0);
    buf_append(&data, "\x00\x02\x00\x02", 4);
    append_u32le(&data, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        append_u16le(&data, algs[i]);
        append_u16le(&data, alg_len(algs[i]));
    }
    buf_append_u8(&data, (uint8_t)vendor.len);
    buf_append_bytes(&data, vendor);
    make_legacy_record(out, 0, EV_NO_ACTION, zero, buf_bytes(&data));
}

static inline void make_agile_head(struct buf *out, uint32_t pcr, uint32_t type, uint32_t n)
{
    append_u32le(out, pcr);
    append_u32le(out, type);
    append_u32le(out, n);
}

/* An event with digests of `measured` for each algorithm, and `data` beside them. */
static inline void make_agile_record(struct buf *out, uint32_t pcr, uint32_t type,
                                     const uint16_t *algs, size_t n, struct bytes measured,
                                     struct bytes data)
{
    make_agile_head(out, pcr, type, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        uint8_t digest[PCR_DIGEST_MAX] = {0};
        const struct pcr_bank *bank = pcr_bank_of(algs[i]);
        if (bank != NULL)
            pcr_bank_hash(bank, digest, measured);
        append_u16le(out, algs[i]);
        buf_append(out, digest, alg_len(algs[i]));
    }
    append_u32le(out, (uint32_t)data.len);
    buf_append_bytes(out, data);
}

static const uint16_t sha256_only[] = {TPM_ALG_SHA256_ID};

/* Where one hash is enough: SHA-256, and the digest is the data's. */
static inline void make_sha256_header(struct buf *out)
{
    make_spec_id(out, sha256_only, 1, (struct bytes){0});
}

static inline void make_sha256_event(struct buf *out, uint32_t pcr, uint32_t type,
                                     struct bytes data)
{
    make_agile_record(out, pcr, type, sha256_only, 1, data, data);
}

static inline void make_locality(struct buf *out, uint8_t locality)
{
    uint8_t data[17] = "StartupLocality";
    data[16] = locality;
    make_sha256_event(out, 0, EV_NO_ACTION, bytes_of(data, sizeof data));
}

#endif
