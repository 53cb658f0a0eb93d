/*
 * The server's TLS identity: an ECDSA P-256 key that is made in memory, lives as long as the
 * process and never reaches a disk, in a self-signed certificate; or a key that lasts, from files.
 * Nobody is meant to trust the certificate: clients compare its SPKI with the attested one
 * (docs/FORMATS.md section 9, rule 11).
 *
 * TLS 1.3 only, ALPN http/1.1, no tickets, no resumption, no early data.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include <openssl/ssl.h>

#include "common/hash.h"

struct tls_identity {
    SSL_CTX *context;
    uint8_t spki_sha256[SHA256_LEN]; /* of the DER SubjectPublicKeyInfo */
};

struct err tls_identity_init(struct tls_identity *out) MUST_USE;
/* One that others certified, from PEM files: the certificate with its issuers behind it, and its
 * private key, a regular file without rights for group or others. */
struct err tls_identity_load(struct tls_identity *out, const char *certificate_path,
                             const char *key_path) MUST_USE;
void tls_identity_cleanup(struct tls_identity *t);

#endif
