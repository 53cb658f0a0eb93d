/*
 * Who this host is: the TPM with its attestation key, the EK certificate, and the issuers up to a
 * root.
 */
#include "server/attester_internal.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "common/file.h"

enum { CERTIFICATE_FILE_MAX = 65536 };

static void free_x509(X509 **certificate)
{
    X509_free(*certificate);
}

static void free_bio(BIO **bio)
{
    BIO_free(*bio);
}

static X509 *parse_certificate(BIO *bio, const struct buf *data)
{
    if (data->len > 0 && data->data[0] == 0x30)
        return d2i_X509_bio(bio, NULL);
    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

/* Behind the certificate only white space may follow: a second one, or what is left of a second one
 * that was joined without a newline, would be lost without a word. */
static struct err check_alone(BIO *bio, const char *path)
{
    char rest[256];
    int n;
    while ((n = BIO_read(bio, rest, sizeof rest)) > 0)
        for (int i = 0; i < n; i++)
            if (strchr(" \t\r\n", rest[i]) == NULL || rest[i] == '\0')
                return err_set(ERR_MALFORMED,
                               "%s holds more than one certificate: give each issuer's in a file "
                               "of its own, nearest first",
                               path);
    return err_ok();
}

/* Exactly one certificate, PEM or DER, as DER. */
static struct err read_certificate(struct buf *der, const char *path)
{
    BUF_AUTO data = BUF_INIT;
    TRY(file_read(&data, path, CERTIFICATE_FILE_MAX));
    __attribute__((cleanup(free_bio))) BIO *bio = BIO_new_mem_buf(data.data, (int)data.len);
    if (!bio)
        return err_set(ERR_MEMORY, "out of memory");
    __attribute__((cleanup(free_x509))) X509 *certificate = parse_certificate(bio, &data);
    if (!certificate)
        return err_set(ERR_MALFORMED, "%s is no X.509 certificate in PEM or DER", path);
    TRY(check_alone(bio, path));
    uint8_t *encoded = NULL;
    int len = i2d_X509(certificate, &encoded);
    if (len <= 0)
        return err_set(ERR_MALFORMED, "%s cannot be encoded", path);
    buf_append(der, encoded, (size_t)len);
    OPENSSL_free(encoded);
    if (der->len > EK_CERT_MAX)
        return err_set(ERR_LIMIT, "%s is larger than the %d bytes allowed", path, EK_CERT_MAX);
    return err_ok();
}

struct err attester_load_chain(struct attester *a)
{
    for (size_t i = 0; i < a->options->n_ek_chain; i++) {
        TRY(read_certificate(&a->chain[i], a->options->ek_chain[i]));
        a->n_chain = i + 1;
    }
    return err_ok();
}

struct bytes attester_certificate(const struct attester *a)
{
    return buf_bytes(a->options->ak_certified ? &a->ak_certificate : &a->ek_certificate);
}

/* A chain that no verifier will take is reported now, not by every client. */
static struct err check_chain(const struct attester *a)
{
    struct bytes chain[EK_CHAIN_MAX];
    for (size_t i = 0; i < a->n_chain; i++)
        chain[i] = buf_bytes(&a->chain[i]);
    struct ek_cert certificate;
    uint8_t root[SHA256_LEN];
    struct err e =
        ek_cert_verify(&certificate, root, buf_bytes(&a->ek_certificate), chain, a->n_chain);
    if (is_err(e))
        return err_context(e, "the EK certificate in the TPM does not lead through the issuer "
                              "certificates given");
    ek_cert_cleanup(&certificate);
    return err_ok();
}

struct err attester_open_tpm(struct attester *a)
{
    TRY(tpm_open(&a->tpm, a->options->tcti));
    if (a->options->ak_certified) /* its chain is checked once the key is known */
        return tpm_ak_certificate(a->tpm, a->options->ak_profile, &a->ak_certificate);
    TRY(tpm_ek_certificate(a->tpm, &a->ek_certificate));
    return check_chain(a);
}

static struct err check_own_chain(const struct attester *a, const struct tpm_public *ak)
{
    struct bytes chain[EK_CHAIN_MAX];
    for (size_t i = 0; i < a->n_chain; i++)
        chain[i] = buf_bytes(&a->chain[i]);
    struct ak_cert certificate;
    return err_context(ak_cert_verify(&certificate, ak, a->options->ak_profile,
                                      buf_bytes(&a->ak_certificate), chain, a->n_chain),
                       "the attestation key's certificate in the TPM does not lead through the "
                       "issuer certificates given");
}

struct err attester_load_tpm_keys(struct attester *a)
{
    const struct attester_options *o = a->options;
    TRY(o->ak_certified ? tpm_keys_certified(a->tpm, o->ak_profile, &a->ak_public)
                        : tpm_keys(a->tpm, &a->ak_public));
    __attribute__((cleanup(tpm_public_cleanup))) struct tpm_public ak = {0};
    TRY(tpm_public_parse(&ak, buf_bytes(&a->ak_public)));
    a->ak_name = ak.name;
    return o->ak_certified ? check_own_chain(a, &ak) : err_ok();
}
