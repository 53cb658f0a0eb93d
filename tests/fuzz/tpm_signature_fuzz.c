/* Any bytes as a TPMT_SIGNATURE by keys whose private part does not exist here: never true. */
#include <stdlib.h>

#include "attest/tpm_public.h"
#include "tests/unit/swtpm_vectors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tpm_public ak;
    if (ak.key == NULL) {
        BUF_AUTO public = BUF_INIT;
        from_hex(&public, swtpm_ak_public);
        if (is_err(tpm_public_parse(&ak, buf_bytes(&public))))
            abort();
    }
    struct err e = tpm_signature_verify(&ak, bytes_of(data, len), bytes_of_str("never signed"));
    if (!is_err(e))
        abort();
    return 0;
}
