#include "http/tls_trust.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "common/file.h"
#include "common/text.h"

void tls_trust_cleanup(struct tls_trust *t)
{
    X509_STORE_free(t->roots);
    *t = TLS_TRUST_INIT;
}

static void free_bio(BIO **bio)
{
    BIO_free(*bio);
}

/* The next certificate; NULL at the end, and where one is damaged (then *damaged). */
static X509 *next_certificate(BIO *bio, bool *damaged)
{
    ERR_clear_error();
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    *damaged = certificate == NULL && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    return certificate;
}

static struct err add_all(X509_STORE *roots, BIO *bio, const char *path)
{
    bool damaged = false;
    size_t n = 0;
    for (X509 *c; (c = next_certificate(bio, &damaged)) != NULL; n++) {
        int added = X509_STORE_add_cert(roots, c);
        X509_free(c);
        if (added != 1)
            return err_set(ERR_MEMORY, "out of memory for a root");
    }
    if (damaged)
        return err_set(ERR_MALFORMED, "%s: certificate %zu is damaged", path, n + 1);
    if (n == 0)
        return err_set(ERR_MALFORMED,
                       "%s holds no certificate: give those of your CA, in PEM, in one file", path);
    return err_ok();
}

struct err tls_trust_load(struct tls_trust *t, const char *ca_path)
{
    BUF_AUTO pem = BUF_INIT;
    TRY(file_read(&pem, ca_path, TLS_TRUST_BUNDLE_MAX));
    __attribute__((cleanup(free_bio))) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509_STORE *roots = X509_STORE_new();
    if (bio == NULL || roots == NULL) {
        X509_STORE_free(roots);
        return err_set(ERR_MEMORY, "out of memory for roots");
    }
    struct err e = add_all(roots, bio, ca_path);
    if (is_err(e)) {
        X509_STORE_free(roots);
        return e;
    }
    X509_STORE_free(t->roots);
    t->roots = roots;
    t->ca_path = ca_path;
    return err_ok();
}

struct err tls_trust_pin(struct tls_trust *t, const char *hex)
{
    uint8_t pin[SHA256_LEN];
    if (t->n_pins == TLS_TRUST_PINS_MAX)
        return err_set(ERR_LIMIT, "more than %d pinned keys", TLS_TRUST_PINS_MAX);
    if (is_err(hex_decode(pin, sizeof pin, bytes_of_str(hex))))
        return err_set(ERR_MALFORMED,
                       "'%.80s' is no pin: give the SHA-256 of the key's DER "
                       "SubjectPublicKeyInfo, 64 lower-case hex digits",
                       hex);
    memcpy(t->pins[t->n_pins++], pin, SHA256_LEN);
    return err_ok();
}
