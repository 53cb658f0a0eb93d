#include "attest/ak_file.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

enum { DER_SEQUENCE = 0x30, RSA_EXPONENT = 65537 };

static const char pem_begin[] = "-----BEGIN PUBLIC KEY-----";
static const char pem_end[] = "-----END PUBLIC KEY-----";

static struct err check_rsa(struct tpm_public *p)
{
    BIGNUM *e = NULL;
    bool usual = EVP_PKEY_get_bn_param(p->key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
                 BN_is_word(e, RSA_EXPONENT);
    BN_free(e);
    int bits = EVP_PKEY_get_bits(p->key);
    if (!usual || (bits != 2048 && bits != 3072 && bits != 4096))
        return err_set(ERR_UNSUPPORTED,
                       "RSA of %d bits; 2048, 3072 or 4096 with exponent 65537 are taken", bits);
    p->type = TPM_ALG_RSA_ID;
    p->key_bits = (uint16_t)bits;
    return err_ok();
}

static struct err check_ec(struct tpm_public *p)
{
    char group[32] = "";
    EVP_PKEY_get_group_name(p->key, group, sizeof group, NULL);
    if (strcmp(group, "prime256v1") == 0)
        p->curve = TPM_ECC_P256;
    else if (strcmp(group, "secp384r1") == 0)
        p->curve = TPM_ECC_P384;
    else
        return err_set(ERR_UNSUPPORTED, "a key that is not on P-256 or P-384");
    p->type = TPM_ALG_ECC_ID;
    return err_ok();
}

/* One PEM block and nothing else: of two keys in one file, the second would be lost silently. */
static bool is_one_block(struct bytes data)
{
    const uint8_t *end = memmem(data.data, data.len, pem_end, sizeof pem_end - 1);
    if (end == NULL)
        return false;
    for (const uint8_t *at = end + sizeof pem_end - 1; at < data.data + data.len; at++)
        if (*at != '\n' && *at != '\r')
            return false;
    return true;
}

static struct err read_pem(struct tpm_public *p, struct bytes data)
{
    if (!is_one_block(data))
        return err_set(ERR_MALFORMED, "not exactly one public key in PEM");
    BIO *bio = BIO_new_mem_buf(data.data, (int)data.len);
    if (bio == NULL)
        return err_set(ERR_MEMORY, "out of memory for a key");
    /* The empty password keeps OpenSSL from asking the terminal for one. */
    char no_password[] = "";
    p->key = PEM_read_bio_PUBKEY(bio, NULL, NULL, no_password);
    BIO_free(bio);
    if (p->key == NULL)
        return err_set(ERR_MALFORMED, "not a public key in PEM");
    if (EVP_PKEY_is_a(p->key, "RSA"))
        return check_rsa(p);
    if (EVP_PKEY_is_a(p->key, "EC"))
        return check_ec(p);
    return err_set(ERR_UNSUPPORTED, "a key that is neither RSA nor EC");
}

static bool is_pem(struct bytes data)
{
    return data.len >= sizeof pem_begin - 1 &&
           memcmp(data.data, pem_begin, sizeof pem_begin - 1) == 0;
}

/* TPM2B_PUBLIC is the size of what follows, then TPMT_PUBLIC, whose first bytes, its type, are no
 * such size. */
static struct bytes without_size(struct bytes data)
{
    struct reader r = reader_of(data);
    struct bytes inner = read_prefixed_u16be(&r);
    return reader_done(&r) ? inner : data;
}

static struct err parse(struct tpm_public *p, struct bytes data)
{
    if (data.len > AK_FILE_MAX)
        return err_set(ERR_LIMIT, "%zu bytes, over %d", data.len, AK_FILE_MAX);
    return is_pem(data) ? read_pem(p, data) : tpm_public_parse(p, without_size(data));
}

struct err ak_file_parse(struct tpm_public *out, struct bytes data)
{
    struct tpm_public p = {0};
    struct err e = parse(&p, data);
    if (is_err(e)) {
        tpm_public_cleanup(&p);
        return err_context(e, "attestation key");
    }
    *out = p;
    return err_ok();
}

static size_t coordinate_len(const struct tpm_public *ak)
{
    return ak->curve == TPM_ECC_P256 ? 32 : 48;
}

static bool is_raw(const struct tpm_public *ak, struct bytes data)
{
    if (ak->type == TPM_ALG_RSA_ID)
        return data.len == ak->key_bits / 8u;
    return data.len == 2 * coordinate_len(ak) || (data.len > 0 && data.data[0] == DER_SEQUENCE);
}

static void append_number(struct buf *out, const BIGNUM *n, size_t len)
{
    uint8_t bytes[48] = {0};
    BN_bn2binpad(n, bytes, (int)len);
    buf_append_u16be(out, (uint16_t)len);
    buf_append(out, bytes, len);
}

static struct err append_der(struct buf *out, struct bytes der, size_t len)
{
    const uint8_t *at = der.data;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)der.len);
    bool whole = sig != NULL && at == der.data + der.len;
    const BIGNUM *r = whole ? ECDSA_SIG_get0_r(sig) : NULL;
    const BIGNUM *s = whole ? ECDSA_SIG_get0_s(sig) : NULL;
    bool good = whole && !BN_is_negative(r) && !BN_is_negative(s) &&
                (size_t)BN_num_bytes(r) <= len && (size_t)BN_num_bytes(s) <= len;
    if (good) {
        append_number(out, r, len);
        append_number(out, s, len);
    }
    ECDSA_SIG_free(sig);
    return good ? err_ok() : err_set(ERR_MALFORMED, "signature: not one ECDSA signature in DER");
}

static struct err append_raw(struct buf *out, const struct tpm_public *ak, struct bytes data)
{
    bool rsa = ak->type == TPM_ALG_RSA_ID;
    uint16_t scheme = rsa ? TPM_ALG_RSASSA_ID : TPM_ALG_ECDSA_ID, hash = TPM_ALG_SHA256_ID;
    if (ak->scheme != 0) {
        scheme = ak->scheme;
        hash = ak->scheme_hash;
    } else if (ak->curve == TPM_ECC_P384) {
        hash = TPM_ALG_SHA384_ID;
    }
    buf_append_u16be(out, scheme);
    buf_append_u16be(out, hash);
    size_t len = coordinate_len(ak);
    if (!rsa && data.len != 2 * len)
        return append_der(out, data, len);
    size_t part = rsa ? data.len : len;
    for (size_t at = 0; at < data.len; at += part) {
        buf_append_u16be(out, (uint16_t)part);
        buf_append(out, data.data + at, part);
    }
    return err_ok();
}

struct err ak_signature(struct buf *out, const struct tpm_public *ak, struct bytes data)
{
    BUF_AUTO signature = BUF_INIT;
    if (is_raw(ak, data))
        TRY(append_raw(&signature, ak, data));
    else
        buf_append_bytes(&signature, data);
    buf_append_bytes(out, buf_bytes(&signature));
    return err_ok();
}

struct err ak_take_scheme(struct tpm_public *ak, struct bytes signature)
{
    if (ak->scheme != 0)
        return err_ok();
    struct reader r = reader_of(signature);
    uint16_t scheme = read_u16be(&r), hash = read_u16be(&r);
    bool fits = ak->type == TPM_ALG_RSA_ID
                    ? scheme == TPM_ALG_RSASSA_ID || scheme == TPM_ALG_RSAPSS_ID
                    : scheme == TPM_ALG_ECDSA_ID;
    if (r.failed || !fits || tpm_hash(hash) == NULL)
        return err_set(ERR_UNTRUE,
                       "signature: scheme 0x%04x with hash 0x%04x; RSASSA, RSAPSS or ECDSA, as the "
                       "key is, with SHA-256, SHA-384 or SHA-512 are believed",
                       scheme, hash);
    ak->scheme = scheme;
    ak->scheme_hash = hash;
    return err_ok();
}
