#include "common/sign.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "OpenSSL: %s failed\n", what);
    abort();
}

void ed25519_public(uint8_t out[ED25519_PUBLIC_LEN], const uint8_t seed[ED25519_SEED_LEN])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_SEED_LEN);
    size_t len = ED25519_PUBLIC_LEN;
    must(key != NULL, "EVP_PKEY_new_raw_private_key");
    must(EVP_PKEY_get_raw_public_key(key, out, &len) == 1, "EVP_PKEY_get_raw_public_key");
    EVP_PKEY_free(key);
}

void ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_SEED_LEN],
                  struct bytes message)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_SEED_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = ED25519_SIGNATURE_LEN;
    must(key != NULL && ctx != NULL, "a signing context");
    must(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1, "EVP_DigestSignInit");
    must(EVP_DigestSign(ctx, out, &len, message.data, message.len) == 1, "EVP_DigestSign");
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
}

struct err ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_LEN],
                          const uint8_t signature[ED25519_SIGNATURE_LEN], struct bytes message)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, ED25519_PUBLIC_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx != NULL, "EVP_MD_CTX_new");
    bool good =
        key != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
        EVP_DigestVerify(ctx, signature, ED25519_SIGNATURE_LEN, message.data, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    if (!good)
        return err_set(ERR_UNTRUE, "the Ed25519 signature does not verify");
    return err_ok();
}
