/*
 * Credential activation, the challenger's side, in software (TPM 2.0 Part 1, 24; Part 3, 12.6):
 * only a TPM that holds both the EK and a key of that name can answer. docs/FORMATS.md sections 5
 * and 6.
 */
#ifndef ATTEST_CREDENTIAL_H
#define ATTEST_CREDENTIAL_H

#include <openssl/evp.h>

#include "attest/tpm_public.h"
#include "transparency/note.h"

enum { CREDENTIAL_VALUE_LEN = 32, ACTIVATION_MAX = 1024 };

struct credential {
    uint8_t value[CREDENTIAL_VALUE_LEN]; /* the secret, never sent */
    struct buf id_object;                /* TPM2B_ID_OBJECT */
    struct buf secret;                   /* TPM2B_ENCRYPTED_SECRET */
};

#define CREDENTIAL_INIT ((struct credential){0})

/* A fresh random value for the EK (the TCG default templates: RSA-2048 and P-256 with SHA-256 and
 * AES-128-CFB, P-384 with SHA-384 and AES-256-CFB) and the AK name. ERR_UNSUPPORTED for other keys.
 */
struct err credential_make(struct credential *out, EVP_PKEY *ek,
                           const struct tpm_name *ak_name) MUST_USE;
void credential_cleanup(struct credential *c); /* wipes */

/* Hash("blindllama-activation-answer/v1\n" || ...), section 5. */
void activation_answer(uint8_t out[SHA256_LEN], struct bytes value, const struct tpm_name *ak_name,
                       const char *origin, const uint8_t spki_sha256[SHA256_LEN]);

/* What a key with a certificate of its own quotes over, in place of an activation: extraData =
 * Hash("blindllama-possession/v1\n" || ...), section 10. */
void possession_extra(uint8_t out[SHA256_LEN], struct bytes nonce, const struct tpm_name *ak_name,
                      const char *origin, const uint8_t spki_sha256[SHA256_LEN]);

/* The activation statement of section 6, inside a signed note. */
struct activation {
    uint8_t ek_certificate[SHA256_LEN];
    struct tpm_name ak_name;
    char origin[NOTE_NAME_MAX + 1];
    uint64_t time_s;
};
void activation_format(struct buf *out, const struct activation *a);
/* Parses a note's text. ERR_MALFORMED. */
struct err activation_parse(struct activation *out, struct bytes text) MUST_USE;

#endif
