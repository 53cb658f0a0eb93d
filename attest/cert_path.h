/*
 * X.509 paths for certificates of TPMs' keys, of endorsement and of attestation keys alike, and of
 * GPUs': from the leaf to the root that its chain ends with. For ek_cert.c, ak_cert.c and
 * gpu_chain.c only; limits are those of ek_cert.h.
 */
#ifndef ATTEST_CERT_PATH_H
#define ATTEST_CERT_PATH_H

#include <openssl/x509v3.h>

#include "common/buf.h"
#include "common/hash.h"

/* What a kind of leaf must be, beside what all must be. */
typedef struct err cert_leaf_check(X509 *leaf, const void *context);

struct cert_path {
    const char *what; /* "EK certificate", for messages */
    struct bytes leaf;
    const struct bytes *chain; /* issuers, nearest first, root last; (n_chain), 1 to EK_CHAIN_MAX */
    size_t n_chain;
    cert_leaf_check *check;
    const void *context;
};

/* Signatures, basic constraints, path length, key usage and kinds of key on the whole path;
 * critical extensions understood; no SHA-1 signature but the root's over itself; every certificate
 * given is in the path. The leaf: version 3, no CA, RSA 2048 to 4096, P-256 or P-384, its key usage
 * given and no CA's, and, where its subject is empty, a critical subjectAltName that names the TPM.
 * Validity dates are not looked at. `leaf` is the caller's to X509_free. ERR_UNTRUE,
 * ERR_MALFORMED. */
struct err cert_path_verify(X509 **leaf, uint8_t root_sha256[SHA256_LEN],
                            const struct cert_path *p) MUST_USE;

/* Whether the certificate has an extended key usage at all, and this one. */
bool cert_has_usages(X509 *cert);
bool cert_has_usage(X509 *cert, const char *oid);

void cert_free(X509 **cert);
#define CERT_AUTO __attribute__((cleanup(cert_free))) X509

#endif
