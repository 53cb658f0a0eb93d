/*
 * TPMS_ATTEST (TPM 2.0 Part 2, 10.12.8), parsed by hand: what a TPM signs for TPM2_Quote and
 * TPM2_NV_Certify. Parsing checks the magic, that the type is one of the two, every length, and
 * that nothing is left over.
 */
#ifndef ATTEST_ATTESTED_H
#define ATTEST_ATTESTED_H

#include "attest/tpm_public.h"

enum {
    ATTESTED_MAX = 1024, /* bytes of a TPMS_ATTEST that is accepted */
    ATTESTED_QUOTE = 0x8018,
    ATTESTED_NV = 0x8014,
    N_PCRS = 16, /* PCRs 0 to 15 are what we quote */
};

/* The SHA-256 values of PCRs 0 to 15. */
struct pcr_values {
    uint8_t values[N_PCRS][SHA256_LEN];
};

struct attested {
    uint16_t type;
    struct bytes signer;     /* qualified name; borrowed */
    struct bytes extra_data; /* borrowed */
    uint64_t clock_ms;
    uint32_t reset_count, restart_count;
    uint8_t safe; /* 0 or 1 */
    uint64_t firmware;
    /* ATTESTED_QUOTE */
    uint16_t pcr_bank; /* the only selection's hash algorithm */
    uint8_t pcr_select[3];
    struct bytes pcr_digest; /* borrowed */
    /* ATTESTED_NV */
    struct bytes nv_name; /* borrowed */
    uint16_t nv_offset;
    struct bytes nv_contents; /* borrowed */
};

/* ERR_MALFORMED (with the field), ERR_UNTRUE for a wrong magic, ERR_UNSUPPORTED for another type.
 */
struct err attested_parse(struct attested *out, struct bytes data) MUST_USE;

/* The parts of attested_check_quote, each ERR_UNTRUE when it does not hold.
 * A quote whose one selection is exactly `select` of `bank`: */
struct err attested_check_selection(const struct attested *a, uint16_t bank,
                                    const uint8_t select[3]) MUST_USE;
/* whose PCR digest, with the hash of `ak`'s scheme, is that of the values, ascending by PCR: */
struct err attested_check_digest(const struct attested *a, const struct tpm_public *ak,
                                 struct bytes values) MUST_USE;
/* whose extraData is exactly `extra` (compared in constant time). */
struct err attested_check_extra(const struct attested *a, struct bytes extra) MUST_USE;

/* ERR_UNTRUE unless it is a quote over exactly PCRs 0-15 of the SHA-256 bank whose digest, with the
 * hash of `ak`'s scheme, is that of `pcrs`, and whose extraData is `extra`. */
struct err attested_check_quote(const struct attested *a, const struct tpm_public *ak,
                                const struct pcr_values *pcrs,
                                const uint8_t extra[SHA256_LEN]) MUST_USE;

#endif
