/*
 * Ed25519 (RFC 8032): the signatures of checkpoints, cosignatures, releases and activations.
 */
#ifndef COMMON_SIGN_H
#define COMMON_SIGN_H

#include "common/buf.h"

enum { ED25519_SEED_LEN = 32, ED25519_PUBLIC_LEN = 32, ED25519_SIGNATURE_LEN = 64 };

void ed25519_public(uint8_t out[ED25519_PUBLIC_LEN], const uint8_t seed[ED25519_SEED_LEN]);
void ed25519_sign(uint8_t out[ED25519_SIGNATURE_LEN], const uint8_t seed[ED25519_SEED_LEN],
                  struct bytes message);

/* A key that is made ready once, for who signs often: making it ready costs as much as signing. */
struct ed25519_key; /* opaque */
struct ed25519_key *ed25519_key_new(const uint8_t seed[ED25519_SEED_LEN]);
void ed25519_key_free(struct ed25519_key *key);
/* By one thread at a time. */
void ed25519_key_sign(uint8_t out[ED25519_SIGNATURE_LEN], struct ed25519_key *key,
                      struct bytes message);

/* ERR_UNTRUE if the signature is not the key's over the message. */
struct err ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_LEN],
                          const uint8_t signature[ED25519_SIGNATURE_LEN],
                          struct bytes message) MUST_USE;

#endif
