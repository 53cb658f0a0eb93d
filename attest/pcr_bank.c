#include "attest/pcr_bank.h"

#include <stdlib.h>
#include <string.h>

static const struct pcr_bank banks[] = {
    {TPM_ALG_SHA1_ID, "sha1", 20, EVP_sha1},
    {TPM_ALG_SHA256_ID, "sha256", 32, EVP_sha256},
    {TPM_ALG_SHA384_ID, "sha384", 48, EVP_sha384},
    {TPM_ALG_SHA512_ID, "sha512", 64, EVP_sha512},
};
enum { N_BANKS = sizeof banks / sizeof *banks };

const struct pcr_bank *pcr_bank_of(uint16_t alg)
{
    for (size_t i = 0; i < N_BANKS; i++)
        if (banks[i].alg == alg)
            return &banks[i];
    return NULL;
}

const struct pcr_bank *pcr_bank_named(struct bytes name)
{
    for (size_t i = 0; i < N_BANKS; i++)
        if (bytes_equal(name, bytes_of_str(banks[i].name)))
            return &banks[i];
    return NULL;
}

void pcr_bank_hash(const struct pcr_bank *bank, uint8_t *out, struct bytes data)
{
    static const uint8_t nothing;
    unsigned len = 0;
    if (EVP_Digest(data.len > 0 ? data.data : &nothing, data.len, out, &len, bank->md(), NULL) !=
            1 ||
        len != bank->len)
        abort(); /* as common/hash.h: a hash that cannot be computed ends the process */
}

void pcr_bank_extend(const struct pcr_bank *bank, uint8_t *pcr, const uint8_t *digest)
{
    uint8_t both[2 * PCR_DIGEST_MAX];
    memcpy(both, pcr, bank->len);
    memcpy(both + bank->len, digest, bank->len);
    pcr_bank_hash(bank, pcr, bytes_of(both, 2 * bank->len));
}
