#include "http/connection_tls.h"

#include <stdio.h>
#include <sys/socket.h>

#include <openssl/x509.h>

/*
 * In place of chains, names and dates: the attestation decides whether this key is the host's. The
 * second certificate on a connection is refused whoever's it is, so that a reconnection below can
 * never carry a request.
 */
static int on_certificate(X509_STORE_CTX *store, void *context)
{
    struct tls_peer *peer = context;
    X509 *cert = X509_STORE_CTX_get0_cert(store);
    uint8_t *der = NULL;
    int len = cert != NULL ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : 0;
    bool good = len > 0 && !peer->met;
    if (good) {
        peer->met = true;
        sha256(peer->spki_sha256, bytes_of(der, (size_t)len));
    }
    OPENSSL_free(der);
    X509_STORE_CTX_set_error(store, good ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
    return good;
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct tls_peer *peer = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    /* libevent may begin the handshake on a socket that failed to connect. */
    struct sockaddr_storage other;
    socklen_t len = sizeof other;
    if (!peer->started && getpeername(SSL_get_fd(ssl), (struct sockaddr *)&other, &len) == 0)
        peer->started = true;
    if ((where & SSL_CB_ALERT) != 0 && (where & SSL_CB_READ) != 0 && (value >> 8) == SSL3_AL_FATAL)
        snprintf(peer->alert, sizeof peer->alert, "%s", SSL_alert_desc_string_long(value));
    if ((where & SSL_CB_HANDSHAKE_DONE) != 0 && !peer->secure) {
        peer->secure = true;
        peer->on_secure(peer->context);
    }
}

SSL_CTX *tls_client_new(struct tls_peer *peer)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_app_data(ctx, peer);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_certificate, peer);
    SSL_CTX_set_info_callback(ctx, on_info);
    return ctx;
}
