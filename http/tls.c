#include "http/tls.h"

#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { CERTIFICATE_DAYS = 3650, CLOCK_SLACK_S = 3600 };

static struct err openssl_failed(const char *what)
{
    char reason[256];
    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    return err_set(ERR_IO, "%s: OpenSSL says: %s", what, reason);
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool fill_certificate(X509 *certificate, EVP_PKEY *key)
{
    uint8_t serial[16];
    random_bytes(serial, sizeof serial);
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, always 16 bytes */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool numbered =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    X509_NAME *name = X509_get_subject_name(certificate);
    return numbered && X509_set_version(certificate, X509_VERSION_3) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SLACK_S) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), CERTIFICATE_DAYS, 0, NULL) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"blindllama",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
           add_extension(certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

static struct err hash_spki(uint8_t out[SHA256_LEN], X509 *certificate)
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (len <= 0)
        return openssl_failed("cannot encode the TLS key");
    sha256(out, bytes_of(der, (size_t)len));
    OPENSSL_free(der);
    return err_ok();
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *offered, unsigned offered_len, void *context)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)context;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static struct err set_up_context(SSL_CTX *context)
{
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(context, 0) != 1 || SSL_CTX_set_max_early_data(context, 0) != 1)
        return openssl_failed("cannot set up TLS");
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(context, choose_alpn, NULL);
    return err_ok();
}

static struct err fill_context(SSL_CTX *context, EVP_PKEY *key, X509 *certificate)
{
    if (SSL_CTX_use_certificate(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, key) != 1)
        return openssl_failed("cannot set up TLS");
    return set_up_context(context);
}

struct err tls_identity_init(struct tls_identity *out)
{
    struct tls_identity t = {0};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    struct err e = err_ok();
    if (key == NULL || certificate == NULL || !fill_certificate(certificate, key))
        e = openssl_failed("cannot make the TLS key and its certificate");
    if (!is_err(e))
        e = hash_spki(t.spki_sha256, certificate);
    if (!is_err(e) && (t.context = SSL_CTX_new(TLS_server_method())) == NULL)
        e = openssl_failed("cannot set up TLS");
    if (!is_err(e))
        e = fill_context(t.context, key, certificate);
    EVP_PKEY_free(key);
    X509_free(certificate);
    if (is_err(e)) {
        tls_identity_cleanup(&t);
        return e;
    }
    *out = t;
    return err_ok();
}

void tls_identity_cleanup(struct tls_identity *t)
{
    SSL_CTX_free(t->context);
    *t = (struct tls_identity){0};
}

static struct err check_private(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err_errno("cannot open the TLS key %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(ERR_USAGE,
                       "the TLS key %s must be a file that its owner alone may read: "
                       "chmod 600 it",
                       path);
    return err_ok();
}

static struct err load_files(SSL_CTX *context, const char *certificate_path, const char *key_path)
{
    BUF_AUTO what = BUF_INIT;
    buf_printf(&what, "cannot use the TLS certificate %s", certificate_path);
    if (SSL_CTX_use_certificate_chain_file(context, certificate_path) != 1)
        return openssl_failed(buf_str(&what));
    buf_clear(&what);
    buf_printf(&what, "cannot use the TLS key %s with the certificate %s", key_path,
               certificate_path);
    if (SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return openssl_failed(buf_str(&what));
    return set_up_context(context);
}

struct err tls_identity_load(struct tls_identity *out, const char *certificate_path,
                             const char *key_path)
{
    TRY(check_private(key_path));
    struct tls_identity t = {.context = SSL_CTX_new(TLS_server_method())};
    struct err e = t.context != NULL ? load_files(t.context, certificate_path, key_path)
                                     : openssl_failed("cannot set up TLS");
    if (!is_err(e))
        e = hash_spki(t.spki_sha256, SSL_CTX_get0_certificate(t.context));
    if (is_err(e)) {
        tls_identity_cleanup(&t);
        return e;
    }
    *out = t;
    return err_ok();
}
