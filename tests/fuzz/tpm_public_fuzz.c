/* Any bytes as a TPMT_PUBLIC: parsed whole or refused, and a name comes with every accepted one. */
#include <stdlib.h>

#include "attest/tpm_public.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tpm_public p;
    if (is_err(tpm_public_parse(&p, bytes_of(data, len))))
        return 0;
    if (p.key == NULL || p.name.len < TPM_NAME_SHA256_LEN)
        abort();
    struct err e = tpm_public_check_ak(&p);
    (void)e;
    tpm_public_cleanup(&p);
    return 0;
}
