#include "attest/gpu_chain.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "attest/cert_path.h"
#include "attest/ek_cert.h"
#include "attest/statement.h"

void gpu_chain_cleanup(struct gpu_chain *c)
{
    EVP_PKEY_free(c->key);
    *c = (struct gpu_chain){0};
}

static struct err check_leaf(X509 *leaf, const void *context)
{
    (void)context;
    char group[32] = "";
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    if ((X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0)
        return err_set(ERR_UNTRUE, "its key may not sign");
    if (key == NULL || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1 ||
        strcmp(group, "secp384r1") != 0)
        return err_set(ERR_UNTRUE, "its key is not P-384");
    return err_ok();
}

/* One certificate off the front. */
static struct err next_certificate(struct bytes *out, struct reader *r)
{
    const uint8_t *at = r->at;
    X509 *cert = d2i_X509(NULL, &at, (long)reader_left(r));
    ERR_clear_error();
    if (cert == NULL)
        return err_set(ERR_MALFORMED, "GPU certificates: not X.509 in DER, one behind the other");
    X509_free(cert);
    *out = read_bytes(r, (size_t)(at - r->at));
    return err_ok();
}

static struct err split(struct bytes certs[EK_CHAIN_MAX + 1], size_t *n, struct bytes der)
{
    struct reader r = reader_of(der);
    if (der.len > GPU_CHAIN_MAX)
        return err_set(ERR_LIMIT, "GPU certificates: %zu bytes, over %d", der.len, GPU_CHAIN_MAX);
    for (*n = 0; reader_left(&r) > 0; (*n)++) {
        if (*n == EK_CHAIN_MAX + 1)
            return err_set(ERR_LIMIT, "GPU certificates: more than %d", EK_CHAIN_MAX + 1);
        TRY(next_certificate(&certs[*n], &r));
    }
    if (*n < 2)
        return err_set(ERR_MALFORMED, "GPU certificates: %zu, not the GPU's own and its issuers",
                       *n);
    return err_ok();
}

struct err gpu_chain_verify(struct gpu_chain *out, struct bytes der)
{
    struct bytes certs[EK_CHAIN_MAX + 1];
    size_t n = 0;
    CERT_AUTO *leaf = NULL;
    struct gpu_chain chain = {0};
    TRY(split(certs, &n, der));
    const struct cert_path path = {.what = "GPU certificate",
                                   .leaf = certs[0],
                                   .chain = certs + 1,
                                   .n_chain = n - 1,
                                   .check = check_leaf};
    TRY(cert_path_verify(&leaf, chain.root, &path));
    chain.key = X509_get_pubkey(leaf);
    if (chain.key == NULL)
        return err_set(ERR_MEMORY, "out of memory for a GPU's key");
    *out = chain;
    return err_ok();
}

static struct err append_der(struct buf *out, X509 *cert)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    if (len <= 0)
        return err_set(ERR_MEMORY, "a GPU's certificate cannot be encoded");
    buf_append(out, der, (size_t)len);
    OPENSSL_free(der);
    return err_ok();
}

struct err gpu_chain_from_pem(struct buf *out, struct bytes pem)
{
    BUF_AUTO der = BUF_INIT;
    if (pem.len > GPU_CHAIN_MAX)
        return err_set(ERR_LIMIT, "GPU certificates: %zu bytes of PEM, over %d", pem.len,
                       GPU_CHAIN_MAX);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    struct err e = bio != NULL ? err_ok() : err_set(ERR_MEMORY, "out of memory for certificates");
    X509 *cert;
    while (!is_err(e) && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        e = append_der(&der, cert);
        X509_free(cert);
    }
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    TRY(e);
    if (!ended || der.len == 0)
        return err_set(ERR_MALFORMED, "GPU certificates: not X.509 in PEM");
    buf_append_bytes(out, buf_bytes(&der));
    return err_ok();
}
