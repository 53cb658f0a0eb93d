/* Any bytes as a leaf and its issuers: u16 lengths, then that many bytes each. */
#include "attest/ek_cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct reader r = reader_of(bytes_of(data, len));
    struct bytes leaf = read_prefixed_u16be(&r);
    struct bytes chain[EK_CHAIN_MAX];
    size_t n = 0;
    while (n < EK_CHAIN_MAX && reader_left(&r) > 0)
        chain[n++] = read_prefixed_u16be(&r);
    struct ek_cert ek;
    uint8_t root_sha256[SHA256_LEN];
    if (!is_err(ek_cert_verify(&ek, root_sha256, leaf, chain, n)))
        ek_cert_cleanup(&ek);
    return 0;
}
