/* Any bytes as a key file, and the same bytes as a signature by a key of each type: parsed whole or
 * refused; a raw signature becomes a well-formed TPMT_SIGNATURE. */
#include <stdlib.h>

#include "attest/ak_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void as_key(struct bytes data)
{
    struct tpm_public p;
    if (is_err(ak_file_parse(&p, data)))
        return;
    if (p.key == NULL || (p.key_bits == 0) != (p.type == TPM_ALG_ECC_ID))
        abort();
    tpm_public_cleanup(&p);
}

static void as_signature(struct bytes data)
{
    struct tpm_public keys[] = {{.type = TPM_ALG_RSA_ID, .key_bits = 2048},
                                {.type = TPM_ALG_ECC_ID, .curve = TPM_ECC_P256},
                                {.type = TPM_ALG_ECC_ID, .curve = TPM_ECC_P384}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        BUF_AUTO signature = BUF_INIT;
        if (is_err(ak_signature(&signature, &keys[i], data)))
            continue;
        struct err e = ak_take_scheme(&keys[i], buf_bytes(&signature));
        if (!is_err(e) && tpm_hash(keys[i].scheme_hash) == NULL)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    as_key(bytes_of(data, len));
    as_signature(bytes_of(data, len));
    return 0;
}
