#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <openssl/x509.h>

#include "http/tls.h"

struct pair {
    struct tls_identity identity;
    SSL_CTX *client_context;
    SSL *server, *client;
};

static int set_up(void **state)
{
    static struct pair p;
    p = (struct pair){0};
    *state = &p;
    if (is_err(tls_identity_init(&p.identity)))
        return 1;
    p.client_context = SSL_CTX_new(TLS_client_method());
    return p.client_context == NULL;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    SSL_free(p->server);
    SSL_free(p->client);
    SSL_CTX_free(p->client_context);
    tls_identity_cleanup(&p->identity);
    return 0;
}

static void join(struct pair *p)
{
    BIO *a, *b;
    assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
    SSL_free(p->server);
    SSL_free(p->client);
    p->server = SSL_new(p->identity.context);
    p->client = SSL_new(p->client_context);
    SSL_set_bio(p->server, a, a);
    SSL_set_bio(p->client, b, b);
    SSL_set_accept_state(p->server);
    SSL_set_connect_state(p->client);
}

/* True if both sides finished the handshake. */
static bool shakes_hands(struct pair *p)
{
    for (int i = 0; i < 20; i++) {
        int client = SSL_do_handshake(p->client), server = SSL_do_handshake(p->server);
        if (client == 1 && server == 1)
            return true;
    }
    return false;
}

static void the_certificate_bears_the_reported_key(void **state)
{
    struct pair *p = *state;
    join(p);
    assert_true(shakes_hands(p));
    assert_int_equal(SSL_version(p->client), TLS1_3_VERSION);
    X509 *certificate = SSL_get0_peer_certificate(p->client);
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    uint8_t hash[SHA256_LEN];
    sha256(hash, bytes_of(der, (size_t)len));
    assert_memory_equal(hash, p->identity.spki_sha256, SHA256_LEN);
    OPENSSL_free(der);
    assert_int_equal(X509_verify(certificate, X509_get0_pubkey(certificate)), 1);
    assert_true(X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0);
    assert_true(X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0);
}

static void refuses_tls_1_2(void **state)
{
    struct pair *p = *state;
    assert_int_equal(SSL_CTX_set_max_proto_version(p->client_context, TLS1_2_VERSION), 1);
    join(p);
    assert_false(shakes_hands(p));
}

static void speaks_http_1_1_only(void **state)
{
    struct pair *p = *state;
    static const unsigned char both[] = "\x02h2\x08http/1.1", h2[] = "\x02h2";
    assert_int_equal(SSL_CTX_set_alpn_protos(p->client_context, both, sizeof both - 1), 0);
    join(p);
    assert_true(shakes_hands(p));
    const unsigned char *chosen;
    unsigned len;
    SSL_get0_alpn_selected(p->client, &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    assert_int_equal(SSL_CTX_set_alpn_protos(p->client_context, h2, sizeof h2 - 1), 0);
    join(p);
    assert_false(shakes_hands(p));
}

static int count_session(SSL *ssl, SSL_SESSION *session)
{
    (void)session;
    ++*(int *)SSL_get_app_data(ssl);
    return 0;
}

static void hands_out_no_sessions(void **state)
{
    struct pair *p = *state;
    int n_sessions = 0;
    SSL_CTX_set_session_cache_mode(p->client_context, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(p->client_context, count_session);
    join(p);
    SSL_set_app_data(p->client, &n_sessions);
    assert_true(shakes_hands(p));
    char byte;
    assert_int_equal(SSL_write(p->server, "x", 1), 1);
    assert_int_equal(SSL_read(p->client, &byte, 1), 1); /* tickets would have come before it */
    assert_int_equal(n_sessions, 0);
}

static void each_identity_has_its_own_key(void **state)
{
    struct pair *p = *state;
    struct tls_identity other;
    assert_false(is_err(tls_identity_init(&other)));
    assert_memory_not_equal(other.spki_sha256, p->identity.spki_sha256, SHA256_LEN);
    tls_identity_cleanup(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_certificate_bears_the_reported_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_tls_1_2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(speaks_http_1_1_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hands_out_no_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_identity_has_its_own_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
