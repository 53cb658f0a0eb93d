/* Any bytes as an AK's public area, a certificate for it and issuers: a profile's number, then u16
 * lengths with that many bytes each. */
#include "attest/ak_cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct reader r = reader_of(bytes_of(data, len));
    enum ak_profile profile = (enum ak_profile)(read_u8(&r) % N_AK_PROFILES);
    struct bytes area = read_prefixed_u16be(&r), leaf = read_prefixed_u16be(&r);
    struct bytes chain[EK_CHAIN_MAX];
    size_t n = 0;
    while (n < EK_CHAIN_MAX && reader_left(&r) > 0)
        chain[n++] = read_prefixed_u16be(&r);
    struct tpm_public ak;
    if (is_err(tpm_public_parse(&ak, area)))
        return 0;
    struct ak_cert cert;
    (void)is_err(ak_cert_verify(&cert, &ak, profile, leaf, chain, n));
    tpm_public_cleanup(&ak);
    return 0;
}
