#include "attest/tpm_public.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>

enum { RSA_MAX_LEN = 512, COORDINATE_MAX = 48 };

const EVP_MD *tpm_hash(uint16_t alg)
{
    switch (alg) {
    case TPM_ALG_SHA256_ID:
        return EVP_sha256();
    case TPM_ALG_SHA384_ID:
        return EVP_sha384();
    case TPM_ALG_SHA512_ID:
        return EVP_sha512();
    default:
        return NULL;
    }
}

/* TPMT_SYM_DEF_OBJECT (Part 2, 11.1.7). */
static struct err read_symmetric(struct reader *r)
{
    uint16_t alg = read_u16be(r);
    if (r->failed || alg == TPM_ALG_NULL_ID)
        return err_ok();
    if (alg != TPM_ALG_AES_ID)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: symmetric algorithm 0x%04x, not AES", alg);
    read_u16be(r); /* key bits */
    read_u16be(r); /* mode */
    return err_ok();
}

static bool scheme_known(uint16_t type, uint16_t scheme)
{
    if (type == TPM_ALG_RSA_ID)
        return scheme == TPM_ALG_RSASSA_ID || scheme == TPM_ALG_RSAPSS_ID ||
               scheme == TPM_ALG_OAEP_ID;
    return scheme == TPM_ALG_ECDSA_ID || scheme == TPM_ALG_ECDH_ID;
}

/* TPMT_RSA_SCHEME and TPMT_ECC_SCHEME (Part 2, 11.2.4.2 and 11.2.5.6): those with one hash. */
static struct err read_scheme(struct tpm_public *p, struct reader *r)
{
    p->scheme = read_u16be(r);
    p->scheme_hash = TPM_ALG_NULL_ID;
    if (r->failed || p->scheme == TPM_ALG_NULL_ID)
        return err_ok();
    if (!scheme_known(p->type, p->scheme))
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: scheme 0x%04x of key type 0x%04x", p->scheme,
                       p->type);
    p->scheme_hash = read_u16be(r);
    if (!r->failed && tpm_hash(p->scheme_hash) == NULL)
        return err_set(ERR_UNSUPPORTED,
                       "TPMT_PUBLIC: scheme hash 0x%04x, not SHA-256, -384 or -512",
                       p->scheme_hash);
    return err_ok();
}

/* An EVP_PKEY from the pushed parameters. OpenSSL refuses a point that is not on its curve. */
static EVP_PKEY *import_key(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;
    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *import_rsa(struct bytes modulus)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
    EVP_PKEY *key = NULL;
    if (build != NULL && n != NULL &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_ulong(build, OSSL_PKEY_PARAM_RSA_E, 65537) == 1)
        key = import_key("RSA", build);
    BN_free(n);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *import_ecc(const char *group, const uint8_t *point, size_t len)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (build != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, len) == 1)
        key = import_key("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

/* TPMS_RSA_PARMS (Part 2, 12.2.3.5) and the modulus. */
static struct err read_rsa(struct tpm_public *p, struct reader *r)
{
    TRY(read_symmetric(r));
    TRY(read_scheme(p, r));
    p->key_bits = read_u16be(r);
    uint32_t exponent = read_u32be(r);
    struct bytes modulus = read_prefixed_u16be(r);
    if (!reader_done(r))
        return err_ok(); /* the caller says so */
    if (p->key_bits != 2048 && p->key_bits != 3072 && p->key_bits != 4096)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: RSA of %u bits, not 2048, 3072 or 4096",
                       p->key_bits);
    /* 0 stands for 2^16 + 1. */
    if (exponent != 0 && exponent != 65537)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: RSA exponent %u, not 65537",
                       (unsigned)exponent);
    size_t len = p->key_bits / 8;
    if (modulus.len != len || (modulus.data[0] & 0x80) == 0 || (modulus.data[len - 1] & 1) == 0)
        return err_set(ERR_MALFORMED,
                       "TPMT_PUBLIC: the RSA modulus is not an odd number of %u bits", p->key_bits);
    p->key = import_rsa(modulus);
    if (p->key == NULL)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: OpenSSL refuses the RSA modulus");
    return err_ok();
}

static void put_coordinate(uint8_t *out, size_t len, struct bytes v)
{
    memset(out, 0, len - v.len);
    memcpy(out + len - v.len, v.data, v.len);
}

/* TPMS_ECC_PARMS (Part 2, 12.2.3.6) and the point. */
static struct err read_ecc(struct tpm_public *p, struct reader *r)
{
    TRY(read_symmetric(r));
    TRY(read_scheme(p, r));
    p->curve = read_u16be(r);
    uint16_t kdf = read_u16be(r);
    if (!r->failed && kdf != TPM_ALG_NULL_ID)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: an ECC key with KDF 0x%04x", kdf);
    struct bytes x = read_prefixed_u16be(r), y = read_prefixed_u16be(r);
    if (!reader_done(r))
        return err_ok(); /* the caller says so */
    if (p->curve != TPM_ECC_P256 && p->curve != TPM_ECC_P384)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: curve 0x%04x, not P-256 or P-384", p->curve);
    size_t len = p->curve == TPM_ECC_P256 ? 32 : 48;
    if (x.len == 0 || x.len > len || y.len == 0 || y.len > len)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: coordinates of %zu and %zu bytes, not %zu",
                       x.len, y.len, len);
    uint8_t point[1 + 2 * COORDINATE_MAX] = {POINT_CONVERSION_UNCOMPRESSED};
    put_coordinate(point + 1, len, x);
    put_coordinate(point + 1 + len, len, y);
    p->key = import_ecc(len == 32 ? "prime256v1" : "secp384r1", point, 1 + 2 * len);
    if (p->key == NULL)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: the point is not on the curve");
    return err_ok();
}

/* Part 1, 16: the name is the name algorithm and its digest of the public area. */
static void set_name(struct tpm_public *p, struct bytes data)
{
    p->name.bytes[0] = (uint8_t)(p->name_alg >> 8);
    p->name.bytes[1] = (uint8_t)p->name_alg;
    unsigned len = 0;
    if (EVP_Digest(data.data, data.len, p->name.bytes + 2, &len, tpm_hash(p->name_alg), NULL) == 1)
        p->name.len = 2 + len;
}

/* Everything up to the parameters. */
static struct err read_head(struct tpm_public *p, struct reader *r)
{
    const uint32_t reserved = 0xfff0f009;
    p->type = read_u16be(r);
    p->name_alg = read_u16be(r);
    p->attributes = read_u32be(r);
    struct bytes policy = read_prefixed_u16be(r);
    if (r->failed)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: truncated before the parameters");
    if (p->type != TPM_ALG_RSA_ID && p->type != TPM_ALG_ECC_ID)
        return err_set(ERR_UNSUPPORTED, "TPMT_PUBLIC: key type 0x%04x, not RSA or ECC", p->type);
    if (tpm_hash(p->name_alg) == NULL)
        return err_set(ERR_UNSUPPORTED,
                       "TPMT_PUBLIC: name algorithm 0x%04x, not SHA-256, -384 or "
                       "-512",
                       p->name_alg);
    if ((p->attributes & reserved) != 0)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: reserved attribute bits are set (0x%08x)",
                       (unsigned)p->attributes);
    if (policy.len != 0 && policy.len != (size_t)EVP_MD_get_size(tpm_hash(p->name_alg)))
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: a policy digest of %zu bytes", policy.len);
    return err_ok();
}

static struct err parse(struct tpm_public *p, struct bytes data)
{
    if (data.len > TPM_PUBLIC_MAX)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: %zu bytes, over %d", data.len, TPM_PUBLIC_MAX);
    struct reader r = reader_of(data);
    TRY(read_head(p, &r));
    TRY(p->type == TPM_ALG_RSA_ID ? read_rsa(p, &r) : read_ecc(p, &r));
    if (r.failed)
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: truncated");
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "TPMT_PUBLIC: %zu bytes are left over", reader_left(&r));
    set_name(p, data);
    if (p->name.len == 0)
        return err_set(ERR_MEMORY, "TPMT_PUBLIC: the name could not be computed");
    return err_ok();
}

struct err tpm_public_parse(struct tpm_public *out, struct bytes data)
{
    struct tpm_public p = {0};
    struct err e = parse(&p, data);
    if (is_err(e)) {
        tpm_public_cleanup(&p);
        return e;
    }
    *out = p;
    return err_ok();
}

void tpm_public_cleanup(struct tpm_public *p)
{
    EVP_PKEY_free(p->key);
    *p = (struct tpm_public){0};
}

struct err tpm_public_check_ak(const struct tpm_public *p)
{
    static const struct {
        uint32_t bit;
        bool set;
        const char *name;
    } wanted[] = {
        {TPMA_FIXED_TPM, true, "fixedTPM"},
        {TPMA_FIXED_PARENT, true, "fixedParent"},
        {TPMA_SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin"},
        {TPMA_RESTRICTED, true, "restricted"},
        {TPMA_SIGN, true, "sign"},
        {TPMA_DECRYPT, false, "decrypt"},
        {TPMA_ST_CLEAR, false, "stClear"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (((p->attributes & wanted[i].bit) != 0) != wanted[i].set)
            return err_set(ERR_UNTRUE, "not an attestation key: %s is %s", wanted[i].name,
                           wanted[i].set ? "clear" : "set");
    bool signs = p->scheme == TPM_ALG_ECDSA_ID || p->scheme == TPM_ALG_RSASSA_ID ||
                 p->scheme == TPM_ALG_RSAPSS_ID;
    if (!signs || tpm_hash(p->scheme_hash) == NULL)
        return err_set(ERR_UNTRUE,
                       "not an attestation key: scheme 0x%04x with hash 0x%04x is not a "
                       "signing scheme fixed in the key",
                       p->scheme, p->scheme_hash);
    return err_ok();
}
