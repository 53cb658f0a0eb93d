/*
 * Endorsement key certificates (TCG EK Credential Profile 2.4): from a TPM's certificate to a root
 * that a policy names by its hash.
 */
#ifndef ATTEST_EK_CERT_H
#define ATTEST_EK_CERT_H

#include <openssl/evp.h>

#include "common/buf.h"
#include "common/hash.h"

enum { EK_CHAIN_MAX = 8, EK_CERT_MAX = 8192 };

struct ek_cert {
    EVP_PKEY *key;              /* RSA 2048 to 4096, P-256 or P-384 */
    uint8_t sha256[SHA256_LEN]; /* of the leaf's DER */
    char subject[256];          /* manufacturer, model, version where given; for people */
};

/* Verifies leaf -> chain -> root: signatures, basic constraints, path length, key usage
 * (keyEncipherment or keyAgreement), EKU 2.23.133.8.1 where an EKU is given, critical extensions
 * understood (a critical subjectAltName with an empty subject is), no SHA-1 signature. Validity
 * dates are not compared with a clock: many TPMs carry certificates that have run out, and a replay
 * has no clock. The root is the chain's last certificate (or the leaf's issuer when chain has one
 * entry); `root_sha256` gets the hash of its DER, for the policy to judge. ERR_UNTRUE,
 * ERR_MALFORMED. */
struct err ek_cert_verify(struct ek_cert *out, uint8_t root_sha256[SHA256_LEN], struct bytes leaf,
                          const struct bytes *chain, size_t n_chain) MUST_USE;
void ek_cert_cleanup(struct ek_cert *c);

#endif
