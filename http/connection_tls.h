/*
 * The TLS side of a connection: TLS 1.3 only, no resumption, one handshake, the peer's key noted.
 */
#ifndef HTTP_CONNECTION_TLS_H
#define HTTP_CONNECTION_TLS_H

#include <openssl/ssl.h>

#include "common/hash.h"

struct tls_peer {
    bool started;                    /* TCP is there, the handshake has begun */
    bool secure;                     /* it is done */
    bool met;                        /* a certificate was seen: no other one will be taken */
    uint8_t spki_sha256[SHA256_LEN]; /* once met */
    char alert[64];                  /* what the peer complained of, or "" */
    void (*on_secure)(void *context);
    void *context;
};

/* A context whose handshakes report to `peer`, which must outlive it. NULL if OpenSSL cannot. */
SSL_CTX *tls_client_new(struct tls_peer *peer);

#endif
