#include "attest/credential.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "attest/kdf.h"

enum { SEED_MAX = 48, COORDINATE_MAX = 48, KEY_MAX = 32, RSA_LEN = 256 };

/* What the TCG's default EK templates fix (EK Credential Profile 2.4, annex B: L-1, L-2, H-3). */
struct template
{
    const char *group; /* NULL: RSA-2048 */
    const EVP_MD *md;  /* of the EK's name */
    const EVP_CIPHER *cipher;
    size_t key_len, coordinate_len;
};

static struct err find_template(struct template *out, EVP_PKEY *ek)
{
    char group[32] = "";
    if (EVP_PKEY_is_a(ek, "RSA") && EVP_PKEY_get_bits(ek) == 2048) {
        *out = (struct template){NULL, EVP_sha256(), EVP_aes_128_cfb128(), 16, 0};
        return err_ok();
    }
    if (EVP_PKEY_is_a(ek, "EC") && EVP_PKEY_get_group_name(ek, group, sizeof group, NULL) == 1) {
        if (strcmp(group, "prime256v1") == 0) {
            *out = (struct template){"prime256v1", EVP_sha256(), EVP_aes_128_cfb128(), 16, 32};
            return err_ok();
        }
        if (strcmp(group, "secp384r1") == 0) {
            *out = (struct template){"secp384r1", EVP_sha384(), EVP_aes_256_cfb128(), 32, 48};
            return err_ok();
        }
    }
    return err_set(ERR_UNSUPPORTED,
                   "credentials are made for endorsement keys RSA-2048, P-256 and P-384 only, not "
                   "for %s %s of %d bits",
                   EVP_PKEY_get0_type_name(ek), group, EVP_PKEY_get_bits(ek));
}

static struct err openssl_failed(const char *what)
{
    return err_set(ERR_UNSUPPORTED, "OpenSSL: %s failed", what);
}

/* Part 1, B.10.4: OAEP with the name's hash and the label "IDENTITY" with its NUL. */
static bool oaep_encrypt(EVP_PKEY_CTX *ctx, const struct template *t, uint8_t out[RSA_LEN],
                         size_t *out_len, const uint8_t *seed, size_t seed_len)
{
    static const char label[] = "IDENTITY";
    if (ctx == NULL || EVP_PKEY_encrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, t->md) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, t->md) != 1)
        return false;
    void *copy = OPENSSL_memdup(label, sizeof label);
    if (copy == NULL || EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, sizeof label) != 1) {
        OPENSSL_free(copy);
        return false;
    }
    return EVP_PKEY_encrypt(ctx, out, out_len, seed, seed_len) == 1;
}

static struct err share_rsa(struct buf *secret, uint8_t *seed, size_t seed_len, EVP_PKEY *ek,
                            const struct template *t)
{
    random_bytes(seed, seed_len);
    uint8_t encrypted[RSA_LEN];
    size_t len = sizeof encrypted;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
    bool good = oaep_encrypt(ctx, t, encrypted, &len, seed, seed_len);
    EVP_PKEY_CTX_free(ctx);
    if (!good)
        return openssl_failed("encrypting to the endorsement key");
    buf_append_u16be(secret, (uint16_t)len);
    buf_append(secret, encrypted, len);
    return err_ok();
}

/* Both coordinates of a public key, padded to the curve's length. */
static bool get_point(uint8_t x[COORDINATE_MAX], uint8_t y[COORDINATE_MAX], EVP_PKEY *key,
                      size_t len)
{
    BIGNUM *bx = NULL, *by = NULL;
    bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &bx) == 1 &&
                EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &by) == 1 &&
                BN_bn2binpad(bx, x, (int)len) == (int)len &&
                BN_bn2binpad(by, y, (int)len) == (int)len;
    BN_free(bx);
    BN_free(by);
    return good;
}

/* The x coordinate of the shared point (OpenSSL gives it padded). */
static bool ecdh(uint8_t *z, size_t len, EVP_PKEY *own, EVP_PKEY *peer)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    size_t z_len = len;
    bool good = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
                EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, z, &z_len) == 1 &&
                z_len == len;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* Part 1, C.6.4: the seed is KDFe of the one-pass Diffie-Hellman secret; the ephemeral point is
 * sent. */
static struct err share_ecc_with(struct buf *secret, uint8_t *seed, size_t seed_len, EVP_PKEY *ek,
                                 EVP_PKEY *ephemeral, const struct template *t)
{
    size_t n = t->coordinate_len;
    uint8_t x[COORDINATE_MAX], y[COORDINATE_MAX], ek_x[COORDINATE_MAX], ek_y[COORDINATE_MAX];
    uint8_t z[COORDINATE_MAX];
    if (!get_point(x, y, ephemeral, n) || !get_point(ek_x, ek_y, ek, n) ||
        !ecdh(z, n, ephemeral, ek))
        return openssl_failed("Diffie-Hellman with the endorsement key");
    struct err e =
        kdf_e(seed, seed_len, t->md, bytes_of(z, n), "IDENTITY", bytes_of(x, n), bytes_of(ek_x, n));
    OPENSSL_cleanse(z, sizeof z);
    TRY(e);
    buf_append_u16be(secret, (uint16_t)(2 * (2 + n)));
    buf_append_u16be(secret, (uint16_t)n);
    buf_append(secret, x, n);
    buf_append_u16be(secret, (uint16_t)n);
    buf_append(secret, y, n);
    return err_ok();
}

static struct err share_ecc(struct buf *secret, uint8_t *seed, size_t seed_len, EVP_PKEY *ek,
                            const struct template *t)
{
    EVP_PKEY *ephemeral = EVP_EC_gen(t->group);
    if (ephemeral == NULL)
        return openssl_failed("making an ephemeral key");
    struct err e = share_ecc_with(secret, seed, seed_len, ek, ephemeral, t);
    EVP_PKEY_free(ephemeral);
    return e;
}

/* AES-CFB with an IV of zeros. */
static struct err encrypt(uint8_t *out, const struct template *t, const uint8_t *key,
                          struct bytes plain)
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    bool good = ctx != NULL && EVP_EncryptInit_ex(ctx, t->cipher, NULL, key, iv) == 1 &&
                EVP_EncryptUpdate(ctx, out, &len, plain.data, (int)plain.len) == 1 &&
                (size_t)len == plain.len;
    EVP_CIPHER_CTX_free(ctx);
    return good ? err_ok() : openssl_failed("AES-CFB");
}

/* Part 1, 24.5: the value, encrypted under a key for this AK name, and an HMAC over both. */
static struct err protect(struct buf *id_object, const struct template *t, struct bytes seed,
                          const struct tpm_name *ak_name, const uint8_t *value)
{
    size_t digest_len = (size_t)EVP_MD_get_size(t->md);
    struct bytes name = bytes_of(ak_name->bytes, ak_name->len), none = {0};
    uint8_t key[KEY_MAX], hmac_key[EVP_MAX_MD_SIZE], mac[EVP_MAX_MD_SIZE];
    uint8_t plain[2 + CREDENTIAL_VALUE_LEN] = {0, CREDENTIAL_VALUE_LEN}; /* TPM2B_DIGEST */
    memcpy(plain + 2, value, CREDENTIAL_VALUE_LEN);
    BUF_AUTO identity = BUF_INIT; /* encIdentity || name */
    uint8_t encrypted[sizeof plain];
    struct err e = kdf_a(key, t->key_len, t->md, seed, "STORAGE", name, none);
    if (!is_err(e))
        e = kdf_a(hmac_key, digest_len, t->md, seed, "INTEGRITY", none, none);
    if (!is_err(e))
        e = encrypt(encrypted, t, key, bytes_of(plain, sizeof plain));
    if (!is_err(e)) {
        buf_append(&identity, encrypted, sizeof encrypted);
        buf_append_bytes(&identity, name);
        if (HMAC(t->md, hmac_key, (int)digest_len, identity.data, identity.len, mac, NULL) == NULL)
            e = openssl_failed("HMAC");
    }
    OPENSSL_cleanse(plain, sizeof plain);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(hmac_key, sizeof hmac_key);
    TRY(e);
    buf_append_u16be(id_object, (uint16_t)(2 + digest_len + sizeof encrypted));
    buf_append_u16be(id_object, (uint16_t)digest_len);
    buf_append(id_object, mac, digest_len);
    buf_append(id_object, encrypted, sizeof encrypted);
    return err_ok();
}

static struct err make(struct credential *c, EVP_PKEY *ek, const struct tpm_name *ak_name)
{
    struct template t = {0};
    TRY(find_template(&t, ek));
    uint8_t seed[SEED_MAX];
    size_t seed_len = (size_t)EVP_MD_get_size(t.md);
    random_bytes(c->value, sizeof c->value);
    struct err e = t.group == NULL ? share_rsa(&c->secret, seed, seed_len, ek, &t)
                                   : share_ecc(&c->secret, seed, seed_len, ek, &t);
    if (!is_err(e))
        e = protect(&c->id_object, &t, bytes_of(seed, seed_len), ak_name, c->value);
    OPENSSL_cleanse(seed, sizeof seed);
    return e;
}

struct err credential_make(struct credential *out, EVP_PKEY *ek, const struct tpm_name *ak_name)
{
    struct credential c = CREDENTIAL_INIT;
    struct err e = make(&c, ek, ak_name);
    if (is_err(e)) {
        credential_cleanup(&c);
        return e;
    }
    *out = c;
    OPENSSL_cleanse(c.value, sizeof c.value);
    return err_ok();
}

void credential_cleanup(struct credential *c)
{
    OPENSSL_cleanse(c->value, sizeof c->value);
    buf_cleanup(&c->id_object);
    buf_cleanup(&c->secret);
}
