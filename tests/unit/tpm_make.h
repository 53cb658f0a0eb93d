/*
 * For tests: TPM structures made from software keys. No TPM is involved: what is made here is
 * well-formed, and no more than that.
 */
#ifndef TESTS_TPM_MAKE_H
#define TESTS_TPM_MAKE_H

#include <stdio.h>
#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "attest/attested.h"
#include "common/file.h"

enum {
    AK_ATTRIBUTES = TPMA_FIXED_TPM | TPMA_FIXED_PARENT | TPMA_SENSITIVE_DATA_ORIGIN |
                    TPMA_RESTRICTED | TPMA_SIGN | 1 << 6,
};

struct public_shape {
    uint16_t name_alg, scheme, scheme_hash;
    uint32_t attributes;
};
static const struct public_shape ecdsa_ak = {TPM_ALG_SHA256_ID, TPM_ALG_ECDSA_ID, TPM_ALG_SHA256_ID,
                                             AK_ATTRIBUTES};
static const struct public_shape rsassa_ak = {TPM_ALG_SHA256_ID, TPM_ALG_RSASSA_ID,
                                              TPM_ALG_SHA256_ID, AK_ATTRIBUTES};

static inline void make_head(struct buf *out, uint16_t type, const struct public_shape *s)
{
    buf_append_u16be(out, type);
    buf_append_u16be(out, s->name_alg);
    buf_append_u32be(out, s->attributes);
    buf_append_u16be(out, 0); /* no policy */
    buf_append_u16be(out, TPM_ALG_NULL_ID);
    buf_append_u16be(out, s->scheme);
    if (s->scheme != TPM_ALG_NULL_ID)
        buf_append_u16be(out, s->scheme_hash);
}

/* TPMT_PUBLIC of a software key, RSA or EC. */
static inline void make_public(struct buf *out, EVP_PKEY *key, const struct public_shape *s)
{
    BIGNUM *a = NULL, *b = NULL;
    uint8_t bytes[512];
    if (EVP_PKEY_is_a(key, "RSA")) {
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &a);
        make_head(out, TPM_ALG_RSA_ID, s);
        int len = BN_bn2bin(a, bytes);
        buf_append_u16be(out, (uint16_t)(len * 8));
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &b);
        buf_append_u32be(out, BN_is_word(b, 65537) ? 0 : (uint32_t)BN_get_word(b));
        buf_append_u16be(out, (uint16_t)len);
        buf_append(out, bytes, (size_t)len);
    } else {
        int len = EVP_PKEY_get_bits(key) / 8;
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &a);
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &b);
        make_head(out, TPM_ALG_ECC_ID, s);
        buf_append_u16be(out, len == 32 ? TPM_ECC_P256 : TPM_ECC_P384);
        buf_append_u16be(out, TPM_ALG_NULL_ID); /* KDF */
        BN_bn2binpad(a, bytes, len);
        buf_append_u16be(out, (uint16_t)len);
        buf_append(out, bytes, (size_t)len);
        BN_bn2binpad(b, bytes, len);
        buf_append_u16be(out, (uint16_t)len);
        buf_append(out, bytes, (size_t)len);
    }
    BN_free(a);
    BN_free(b);
}

/* TPMT_SIGNATURE of r and s as numbers, padded to `len`. */
static inline void make_ecdsa_signature(struct buf *out, uint16_t hash, const ECDSA_SIG *sig,
                                        int len)
{
    uint8_t bytes[66];
    buf_append_u16be(out, TPM_ALG_ECDSA_ID);
    buf_append_u16be(out, hash);
    const BIGNUM *numbers[2] = {ECDSA_SIG_get0_r(sig), ECDSA_SIG_get0_s(sig)};
    for (size_t i = 0; i < 2; i++) {
        BN_bn2binpad(numbers[i], bytes, len);
        buf_append_u16be(out, (uint16_t)len);
        buf_append(out, bytes, (size_t)len);
    }
}

static inline void make_rsa_signature(struct buf *out, uint16_t scheme, uint16_t hash,
                                      struct bytes value)
{
    buf_append_u16be(out, scheme);
    buf_append_u16be(out, hash);
    buf_append_u16be(out, (uint16_t)value.len);
    buf_append_bytes(out, value);
}

/* Signs as a TPM would: ECDSA, or RSA with the padding of `scheme`. */
static inline void make_signature(struct buf *out, EVP_PKEY *key, uint16_t scheme, uint16_t hash,
                                  struct bytes message)
{
    uint8_t value[1024];
    size_t len = sizeof value;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    if (EVP_DigestSignInit(md, &ctx, tpm_hash(hash), NULL, key) != 1)
        abort();
    if (scheme == TPM_ALG_RSAPSS_ID)
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
    if (EVP_DigestSign(md, value, &len, message.data, message.len) != 1)
        abort();
    EVP_MD_CTX_free(md);
    if (scheme != TPM_ALG_ECDSA_ID) {
        make_rsa_signature(out, scheme, hash, bytes_of(value, len));
        return;
    }
    const uint8_t *at = value;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    make_ecdsa_signature(out, hash, sig, EVP_PKEY_get_bits(key) / 8);
    ECDSA_SIG_free(sig);
}

static inline struct tpm_public parse_public(EVP_PKEY *key, const struct public_shape *s)
{
    BUF_AUTO bytes = BUF_INIT;
    make_public(&bytes, key, s);
    struct tpm_public p;
    if (is_err(tpm_public_parse(&p, buf_bytes(&bytes)))) {
        fprintf(stderr, "%s\n", err_message());
        abort();
    }
    return p;
}

/* A public key from PEM, from BL_SHARED_DIR. */
static inline EVP_PKEY *shared_key(const char *path)
{
    BUF_AUTO full = BUF_INIT;
    FILE *f = fopen(path_join(&full, BL_SHARED_DIR, path), "r");
    EVP_PKEY *key = f != NULL ? PEM_read_PUBKEY(f, NULL, NULL, NULL) : NULL;
    if (f != NULL)
        fclose(f);
    return key;
}

static inline struct err shared_file(struct buf *out, const char *path)
{
    BUF_AUTO full = BUF_INIT;
    return file_read(out, path_join(&full, BL_SHARED_DIR, path), 1 << 22);
}

#endif
