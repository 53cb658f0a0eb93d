/*
 * Whose TLS key a connection takes, where somebody asks for more than what is signed above it:
 * certificates that lead to roots and are of the name that was asked for, keys that are pinned, or
 * both.
 */
#ifndef HTTP_TLS_TRUST_H
#define HTTP_TLS_TRUST_H

#include <openssl/x509.h>

#include "common/err.h"
#include "common/hash.h"

enum { TLS_TRUST_PINS_MAX = 4, TLS_TRUST_BUNDLE_MAX = 4 * 1024 * 1024 };
/* The system's own bundle, as Debian's ca-certificates makes it. */
#define TLS_TRUST_SYSTEM "/etc/ssl/certs/ca-certificates.crt"

struct tls_trust {
    X509_STORE *roots;                            /* NULL: certificates do not matter */
    const char *ca_path;                          /* of the roots; borrowed */
    uint8_t pins[TLS_TRUST_PINS_MAX][SHA256_LEN]; /* SHA-256 of the DER SubjectPublicKeyInfo */
    size_t n_pins;                                /* 0: any key */
};
#define TLS_TRUST_INIT ((struct tls_trust){0})
void tls_trust_cleanup(struct tls_trust *t);

/* Reads every certificate of a PEM bundle as a root: all is in memory then. ERR_MALFORMED when it
 * holds none, or one that is damaged. */
struct err tls_trust_load(struct tls_trust *t, const char *ca_path) MUST_USE;
/* One key more: 64 hex digits. ERR_MALFORMED, ERR_LIMIT. */
struct err tls_trust_pin(struct tls_trust *t, const char *hex) MUST_USE;

#endif
