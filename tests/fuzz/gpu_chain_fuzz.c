/* Any bytes as a GPU's certificates, in DER and in PEM. */
#include <stdlib.h>

#include "attest/gpu_chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct gpu_chain chain;
    BUF_AUTO der = BUF_INIT;
    if (!is_err(gpu_chain_verify(&chain, bytes_of(data, len))))
        gpu_chain_cleanup(&chain);
    if (!is_err(gpu_chain_from_pem(&der, bytes_of(data, len))) && der.len == 0)
        abort();
    return 0;
}
