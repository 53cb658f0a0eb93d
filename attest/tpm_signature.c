/*
 * TPMT_SIGNATURE (TPM 2.0 Part 2, 11.3.4): strict parsing, and verification by OpenSSL with the
 * scheme and hash that the key fixes, never those that the signature claims.
 */
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "attest/tpm_public.h"

/* The signature as OpenSSL takes it, appended to `out`: RSA bytes as they are. */
static struct err read_rsa(struct buf *out, struct reader *r, const struct tpm_public *ak)
{
    struct bytes value = read_prefixed_u16be(r);
    if (!reader_done(r))
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: not one RSA signature");
    if (value.len != ak->key_bits / 8u)
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: %zu bytes by a key of %u bits", value.len,
                       ak->key_bits);
    buf_append_bytes(out, value);
    return err_ok();
}

/* r and s as the DER of ECDSA-Sig-Value. */
static struct err ecdsa_der(struct buf *out, struct bytes r, struct bytes s)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r_number = BN_bin2bn(r.data, (int)r.len, NULL);
    BIGNUM *s_number = BN_bin2bn(s.data, (int)s.len, NULL);
    if (sig == NULL || r_number == NULL || s_number == NULL) {
        ECDSA_SIG_free(sig);
        BN_free(r_number);
        BN_free(s_number);
        return err_set(ERR_MEMORY, "out of memory for a signature");
    }
    ECDSA_SIG_set0(sig, r_number, s_number); /* takes both */
    uint8_t *der = NULL;
    int len = i2d_ECDSA_SIG(sig, &der);
    if (len > 0)
        buf_append(out, der, (size_t)len);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    return len > 0 ? err_ok() : err_set(ERR_MEMORY, "out of memory for a signature");
}

static struct err read_ecdsa(struct buf *out, struct reader *r, const struct tpm_public *ak)
{
    struct bytes r_bytes = read_prefixed_u16be(r), s_bytes = read_prefixed_u16be(r);
    if (!reader_done(r))
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: not one ECDSA signature");
    size_t len = ak->curve == TPM_ECC_P256 ? 32 : 48;
    if (r_bytes.len == 0 || r_bytes.len > len || s_bytes.len == 0 || s_bytes.len > len)
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: r and s of %zu and %zu bytes, not 1 to %zu",
                       r_bytes.len, s_bytes.len, len);
    return ecdsa_der(out, r_bytes, s_bytes);
}

static bool set_padding(EVP_PKEY_CTX *ctx, const struct tpm_public *ak, int salt_len)
{
    if (ak->scheme == TPM_ALG_RSASSA_ID)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    if (ak->scheme == TPM_ALG_RSAPSS_ID)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt_len) == 1;
    return true;
}

static struct err verify(const struct tpm_public *ak, struct bytes signature, struct bytes message,
                         int salt_len)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL; /* belongs to md */
    bool ready = md != NULL &&
                 EVP_DigestVerifyInit(md, &ctx, tpm_hash(ak->scheme_hash), NULL, ak->key) == 1 &&
                 set_padding(ctx, ak, salt_len);
    bool good = ready &&
                EVP_DigestVerify(md, signature.data, signature.len, message.data, message.len) == 1;
    EVP_MD_CTX_free(md);
    if (!ready)
        return err_set(ERR_UNSUPPORTED, "OpenSSL cannot verify with this key and scheme");
    if (!good)
        return err_set(ERR_UNTRUE, "the signature is not the attestation key's over these bytes");
    return err_ok();
}

/* The salt of PSS is as long as the digest (FIPS 186-5, and TPMs that follow it) or the longest
 * that fits (Part 1, B.7); no other length is taken. */
static struct err verify_any_salt(const struct tpm_public *ak, struct bytes signature,
                                  struct bytes message)
{
    struct err e = verify(ak, signature, message, RSA_PSS_SALTLEN_DIGEST);
    if (e.code == ERR_UNTRUE && ak->scheme == TPM_ALG_RSAPSS_ID)
        e = verify(ak, signature, message, RSA_PSS_SALTLEN_MAX);
    return e;
}

struct err tpm_signature_verify(const struct tpm_public *ak, struct bytes signature,
                                struct bytes message)
{
    if (signature.len > TPM_SIGNATURE_MAX)
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: %zu bytes, over %d", signature.len,
                       TPM_SIGNATURE_MAX);
    struct reader r = reader_of(signature);
    uint16_t scheme = read_u16be(&r), hash = read_u16be(&r);
    if (r.failed)
        return err_set(ERR_MALFORMED, "TPMT_SIGNATURE: truncated");
    bool ecdsa = ak->scheme == TPM_ALG_ECDSA_ID && ak->type == TPM_ALG_ECC_ID;
    bool rsa = (ak->scheme == TPM_ALG_RSASSA_ID || ak->scheme == TPM_ALG_RSAPSS_ID) &&
               ak->type == TPM_ALG_RSA_ID;
    if ((!ecdsa && !rsa) || tpm_hash(ak->scheme_hash) == NULL)
        return err_set(ERR_UNTRUE, "the key has no signing scheme fixed in it (0x%04x, 0x%04x)",
                       ak->scheme, ak->scheme_hash);
    if (scheme != ak->scheme || hash != ak->scheme_hash)
        return err_set(ERR_UNTRUE,
                       "the signature says scheme 0x%04x with hash 0x%04x, the key has "
                       "0x%04x with 0x%04x",
                       scheme, hash, ak->scheme, ak->scheme_hash);
    BUF_AUTO value = BUF_INIT;
    TRY(ecdsa ? read_ecdsa(&value, &r, ak) : read_rsa(&value, &r, ak));
    return verify_any_salt(ak, buf_bytes(&value), message);
}
