#include "http/connection_tls.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/buf.h"

static bool is_pinned(struct tls_peer *peer)
{
    const struct tls_trust *t = peer->trust;
    for (size_t i = 0; i < t->n_pins; i++)
        if (memcmp(t->pins[i], peer->spki_sha256, SHA256_LEN) == 0)
            return true;
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(peer->spki_sha256, SHA256_LEN));
    snprintf(peer->distrust, sizeof peer->distrust,
             "its TLS key, of SPKI SHA-256 %s, is not the pinned one: if the other side has "
             "changed its key, pin the new one",
             buf_str(&hex));
    return false;
}

static bool leads_to_a_root(struct tls_peer *peer, X509_STORE_CTX *store)
{
    if (X509_verify_cert(store) == 1)
        return true;
    snprintf(peer->distrust, sizeof peer->distrust,
             "its certificate is not believed (%s): give the bundle of the CA that issued it in "
             "place of %.200s, or ask for the name that it is of",
             X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)), peer->trust->ca_path);
    return false;
}

static bool is_trusted(struct tls_peer *peer, X509_STORE_CTX *store)
{
    const struct tls_trust *t = peer->trust;
    if (t == NULL)
        return true;
    return (t->n_pins == 0 || is_pinned(peer)) &&
           (t->roots == NULL || leads_to_a_root(peer, store));
}

/*
 * In place of chains, names and dates: the attestation decides whether this key is the host's. The
 * second certificate on a connection is refused whoever's it is, so that a reconnection below can
 * never carry a request. A tls_trust comes on top of that.
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
        good = is_trusted(peer, store);
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

bool tls_client_expect(SSL *ssl, const struct tls_trust *trust, const char *host)
{
    if (trust == NULL || trust->roots == NULL)
        return true;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_verify_cert_store(ssl, trust->roots) == 1 &&
           (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
            X509_VERIFY_PARAM_set1_host(param, host, 0) == 1);
}
