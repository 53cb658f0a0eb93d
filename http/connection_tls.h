/*
 * The TLS side of a connection: TLS 1.3 only, no resumption, one handshake, the peer's key noted,
 * and refused where a tls_trust does not take it.
 */
#ifndef HTTP_CONNECTION_TLS_H
#define HTTP_CONNECTION_TLS_H

#include <openssl/ssl.h>

#include "common/hash.h"
#include "http/tls_trust.h"

struct tls_peer {
    bool started;                    /* TCP is there, the handshake has begun */
    bool secure;                     /* it is done */
    bool met;                        /* a certificate was seen: no other one will be taken */
    uint8_t spki_sha256[SHA256_LEN]; /* once met */
    char alert[64];                  /* what the peer complained of, or "" */
    const struct tls_trust *trust;   /* what its key must be, beside; NULL: any */
    char distrust[400];              /* why it is not, or "" */
    void (*on_secure)(void *context);
    void *context;
};

/* A context whose handshakes report to `peer`, which must outlive it. NULL if OpenSSL cannot. */
SSL_CTX *tls_client_new(struct tls_peer *peer);
/* For an SSL of that context: the name or address that a certificate must be of, where roots are
 * asked for. */
bool tls_client_expect(SSL *ssl, const struct tls_trust *trust, const char *host);

#endif
