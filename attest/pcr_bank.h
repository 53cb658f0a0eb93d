/*
 * PCR banks: the hashes a TPM may extend its PCRs with, by algorithm id and by name. SHA-1 is here
 * so that old lists can be read and printed; no rule accepts it (tpm_hash() does not know it).
 */
#ifndef ATTEST_PCR_BANK_H
#define ATTEST_PCR_BANK_H

#include "attest/tpm_public.h"

enum {
    PCR_COUNT = 24,      /* PCRs of a PC client TPM */
    PCR_DIGEST_MAX = 64, /* bytes: SHA-512 */
};

struct pcr_bank {
    uint16_t alg;     /* TPM_ALG_ID */
    const char *name; /* "sha1", "sha256", "sha384", "sha512" */
    size_t len;       /* bytes of a digest */
    const EVP_MD *(*md)(void);
};

/* NULL for a hash that is not one of the four. */
const struct pcr_bank *pcr_bank_of(uint16_t alg);
const struct pcr_bank *pcr_bank_named(struct bytes name);

/* H(data): `out` has room for bank->len bytes. */
void pcr_bank_hash(const struct pcr_bank *bank, uint8_t *out, struct bytes data);
/* TPM2_PCR_Extend: pcr = H(pcr || digest), both of bank->len bytes. */
void pcr_bank_extend(const struct pcr_bank *bank, uint8_t *pcr, const uint8_t *digest);

#endif
