/* One TLS 1.3 handshake a connection, whose key is noted; a second one fails, so nothing that is
 * sent can reach another peer than the one that was verified. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509.h>

#include "http/connection_tls.h"

static EVP_PKEY *key;
static X509 *certificate;

static int make_certificate(void **state)
{
    (void)state;
    key = EVP_EC_gen("prime256v1");
    certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
    X509_gmtime_adj(X509_getm_notAfter(certificate), -3600); /* dates do not matter */
    X509_set_pubkey(certificate, key);
    return X509_sign(certificate, key, EVP_sha256()) > 0 ? 0 : -1;
}

static int free_certificate(void **state)
{
    (void)state;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return 0;
}

static void count_secure(void *context)
{
    ++*(int *)context;
}

/* Both ends in memory, step by step until neither moves; true if both are done. */
static bool handshake(SSL_CTX *client_ctx, int server_version)
{
    SSL_CTX *server_ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(server_ctx, certificate);
    SSL_CTX_use_PrivateKey(server_ctx, key);
    SSL_CTX_set_max_proto_version(server_ctx, server_version);
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    BIO *a = NULL, *b = NULL;
    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    int c = 0, s = 0;
    for (int i = 0; i < 20 && (c != 1 || s != 1); i++) {
        c = SSL_do_handshake(client);
        s = SSL_do_handshake(server);
    }
    bool done = c == 1 && s == 1;
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(server_ctx);
    return done;
}

static void notes_the_key_of_its_one_handshake(void **state)
{
    (void)state;
    int n_secure = 0;
    struct tls_peer peer = {.on_secure = count_secure, .context = &n_secure};
    SSL_CTX *ctx = tls_client_new(&peer);
    assert_true(handshake(ctx, TLS1_3_VERSION));
    assert_true(peer.met && peer.secure);
    assert_int_equal(n_secure, 1);
    uint8_t *der = NULL, wanted[SHA256_LEN];
    int len = i2d_PUBKEY(key, &der);
    sha256(wanted, bytes_of(der, (size_t)len));
    OPENSSL_free(der);
    assert_memory_equal(peer.spki_sha256, wanted, SHA256_LEN);
    SSL_CTX_free(ctx);
}

static void refuses_a_second_handshake_even_with_the_same_key(void **state)
{
    (void)state;
    int n_secure = 0;
    struct tls_peer peer = {.on_secure = count_secure, .context = &n_secure};
    SSL_CTX *ctx = tls_client_new(&peer);
    assert_true(handshake(ctx, TLS1_3_VERSION));
    assert_false(handshake(ctx, TLS1_3_VERSION));
    assert_int_equal(n_secure, 1);
    SSL_CTX_free(ctx);
}

static void refuses_tls_1_2(void **state)
{
    (void)state;
    int n_secure = 0;
    struct tls_peer peer = {.on_secure = count_secure, .context = &n_secure};
    SSL_CTX *ctx = tls_client_new(&peer);
    assert_false(handshake(ctx, TLS1_2_VERSION));
    assert_false(peer.met);
    assert_int_equal(n_secure, 0);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_the_key_of_its_one_handshake),
        cmocka_unit_test(refuses_a_second_handshake_even_with_the_same_key),
        cmocka_unit_test(refuses_tls_1_2),
    };
    return cmocka_run_group_tests(tests, make_certificate, free_certificate);
}
