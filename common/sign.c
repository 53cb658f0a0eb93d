#include "common/sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

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

/* OpenSSL's context is for one message after another once it is made; making it costs a good part
 * of a signature. */
struct ed25519_key {
    EVP_PKEY *pair;
    EVP_MD_CTX *ctx;
};

struct ed25519_key *ed25519_key_new(const uint8_t seed[ED25519_SEED_LEN])
{
    struct ed25519_key *key = malloc(sizeof *key);
    must(key != NULL, "malloc");
    key->pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_SEED_LEN);
    key->ctx = EVP_MD_CTX_new();
    must(key->pair != NULL && key->ctx != NULL, "a signing context");
    must(EVP_DigestSignInit(key->ctx, NULL, NULL, NULL, key->pair) == 1, "EVP_DigestSignInit");
    return key;
}

void ed25519_key_free(struct ed25519_key *key)
{
    if (key == NULL)
        return;
    EVP_MD_CTX_free(key->ctx);
    EVP_PKEY_free(key->pair); /* which zeroes the secret */
    free(key);
}

void ed25519_key_sign(uint8_t out[ED25519_SIGNATURE_LEN], struct ed25519_key *key,
                      struct bytes message)
{
    size_t len = ED25519_SIGNATURE_LEN;
    must(EVP_DigestSign(key->ctx, out, &len, message.data, message.len) == 1, "EVP_DigestSign");
}

void ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_SEED_LEN],
                  struct bytes message)
{
    struct ed25519_key *key = ed25519_key_new(seed);
    ed25519_key_sign(out, key, message);
    ed25519_key_free(key);
}

/* The key that this thread verified with last, ready for the next message: whoever reads a log
 * verifies thousands of signatures of one key. */
struct verifier {
    uint8_t public_key[ED25519_PUBLIC_LEN];
    EVP_MD_CTX *ctx; /* NULL: no such key */
};

static tss_t verifiers;

static void verifier_free(void *verifier)
{
    EVP_MD_CTX_free(((struct verifier *)verifier)->ctx);
    free(verifier);
}

static void make_verifiers(void)
{
    must(tss_create(&verifiers, verifier_free) == thrd_success, "tss_create");
}

static struct verifier *verifier_of_thread(void)
{
    static once_flag once = ONCE_FLAG_INIT;
    call_once(&once, make_verifiers);
    struct verifier *v = tss_get(verifiers);
    if (v != NULL)
        return v;
    v = calloc(1, sizeof *v);
    must(v != NULL && tss_set(verifiers, v) == thrd_success, "tss_set");
    return v;
}

static void verifier_take(struct verifier *v, const uint8_t public_key[ED25519_PUBLIC_LEN])
{
    if (v->ctx != NULL && memcmp(v->public_key, public_key, ED25519_PUBLIC_LEN) == 0)
        return;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, ED25519_PUBLIC_LEN);
    EVP_MD_CTX_free(v->ctx);
    v->ctx = EVP_MD_CTX_new();
    must(v->ctx != NULL, "EVP_MD_CTX_new");
    if (key == NULL || EVP_DigestVerifyInit(v->ctx, NULL, NULL, NULL, key) != 1) {
        EVP_MD_CTX_free(v->ctx);
        v->ctx = NULL;
    }
    EVP_PKEY_free(key); /* the context holds it */
    memcpy(v->public_key, public_key, ED25519_PUBLIC_LEN);
}

struct err ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_LEN],
                          const uint8_t signature[ED25519_SIGNATURE_LEN], struct bytes message)
{
    struct verifier *v = verifier_of_thread();
    verifier_take(v, public_key);
    if (v->ctx == NULL ||
        EVP_DigestVerify(v->ctx, signature, ED25519_SIGNATURE_LEN, message.data, message.len) != 1)
        return err_set(ERR_UNTRUE, "the Ed25519 signature does not verify");
    return err_ok();
}
