/*
 * The key derivation functions of TPM 2.0 (Part 1, 11.4.10): KDFa, counter mode on HMAC (SP
 * 800-108), and KDFe, for ECDH secrets (SP 800-56A). Output lengths are in bytes.
 */
#ifndef ATTEST_KDF_H
#define ATTEST_KDF_H

#include <openssl/evp.h>

#include "common/buf.h"

/* `label` counts with its NUL, as the specification has it. */
struct err kdf_a(uint8_t *out, size_t len, const EVP_MD *md, struct bytes key, const char *label,
                 struct bytes context_u, struct bytes context_v) MUST_USE;
struct err kdf_e(uint8_t *out, size_t len, const EVP_MD *md, struct bytes z, const char *label,
                 struct bytes party_u, struct bytes party_v) MUST_USE;

#endif
