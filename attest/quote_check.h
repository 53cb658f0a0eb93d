/*
 * One quote on its own: whether a key signed it, over exactly these PCRs and this nonce. What the
 * values mean, and whose key it is, is not asked here.
 */
#ifndef ATTEST_QUOTE_CHECK_H
#define ATTEST_QUOTE_CHECK_H

#include "attest/attested.h"
#include "attest/pcr_file.h"

struct quote_input {
    struct bytes ak;        /* PEM, TPM2B_PUBLIC or TPMT_PUBLIC (ak_file.h) */
    struct bytes attest;    /* TPMS_ATTEST */
    struct bytes signature; /* TPMT_SIGNATURE or raw (ak_file.h) */
    struct bytes pcrs;      /* plain, or of tpm2-tools (pcr_file.h) */
    struct bytes nonce;     /* 1 to 64 bytes */
    const struct pcr_bank *bank;
    uint8_t select[PCR_SELECT_LEN];
};

struct quote_facts {
    struct attested attest;                    /* borrows from the input */
    struct tpm_name name;                      /* of the key; len 0 where the file does not tell */
    uint16_t scheme, hash;                     /* TPM_ALG_ID */
    uint8_t values[PCR_COUNT][PCR_DIGEST_MAX]; /* of the selected PCRs */
};

/* Checks, in this order: every form; a public area's attributes are an attestation key's; the
 * signature; magic, type, exact bank and selection; PCR digest; extraData. ERR_UNTRUE with the
 * first that does not hold, also for a SHA-1 bank; ERR_MALFORMED, ERR_UNSUPPORTED, ERR_LIMIT;
 * ERR_USAGE for an empty nonce or selection. */
struct err quote_check(struct quote_facts *out, const struct quote_input *in) MUST_USE;

#endif
