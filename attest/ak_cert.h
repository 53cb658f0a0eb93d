/*
 * Certificates of attestation keys: what a cloud, or another party that has seen the TPM, says of a
 * key that it certified. What such a certificate looks like is the vendor's: a *profile*.
 */
#ifndef ATTEST_AK_CERT_H
#define ATTEST_AK_CERT_H

#include "attest/ek_cert.h"
#include "attest/tpm_public.h"

enum ak_profile {
    AK_PROFILE_TCG,   /* extended key usage 2.23.133.8.3, and the TPM named as the TCG wants it */
    AK_PROFILE_AZURE, /* extended key usage 2.23.133.8.3 */
    AK_PROFILE_GCP,   /* none, or 2.23.133.8.1; the extension that names the instance */
    N_AK_PROFILES,
};

/* "tcg", "azure", "gcp". */
const char *ak_profile_name(enum ak_profile profile);
/* ERR_UNSUPPORTED, naming those that there are. */
struct err ak_profile_parse(enum ak_profile *out, struct bytes name) MUST_USE;

struct ak_cert {
    uint8_t sha256[SHA256_LEN]; /* of the DER */
    char subject[256];          /* for people, as ek_cert's */
};

/* The path as ek_cert_verify's; the leaf for a key that signs and does neither encipher nor agree,
 * of the profile's shape, and for exactly the key `ak`. The root's hash is the policy's to judge:
 * call ak_cert_root first, since the profile follows from it. ERR_UNTRUE, ERR_MALFORMED. */
struct err ak_cert_verify(struct ak_cert *out, const struct tpm_public *ak, enum ak_profile profile,
                          struct bytes leaf, const struct bytes *chain, size_t n_chain) MUST_USE;
/* The hash of the certificate that the chain ends with. ERR_UNTRUE for an empty chain. */
struct err ak_cert_root(uint8_t root_sha256[SHA256_LEN], const struct bytes *chain,
                        size_t n_chain) MUST_USE;

#endif
