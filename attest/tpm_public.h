/*
 * TPMT_PUBLIC (TPM 2.0 Part 2, 12.2.4), parsed by hand: the public area of an attestation or
 * endorsement key, its name and its OpenSSL key. No TSS.
 */
#ifndef ATTEST_TPM_PUBLIC_H
#define ATTEST_TPM_PUBLIC_H

#include <openssl/evp.h>

#include "common/buf.h"
#include "common/hash.h"

enum {
    TPM_ALG_RSA_ID = 0x0001,
    TPM_ALG_SHA1_ID = 0x0004,
    TPM_ALG_AES_ID = 0x0006,
    TPM_ALG_SHA256_ID = 0x000b,
    TPM_ALG_SHA384_ID = 0x000c,
    TPM_ALG_SHA512_ID = 0x000d,
    TPM_ALG_NULL_ID = 0x0010,
    TPM_ALG_OAEP_ID = 0x0017,
    TPM_ALG_RSASSA_ID = 0x0014,
    TPM_ALG_RSAPSS_ID = 0x0016,
    TPM_ALG_ECDSA_ID = 0x0018,
    TPM_ALG_ECDH_ID = 0x0019,
    TPM_ALG_ECC_ID = 0x0023,
};

/* Curves (Part 2, 6.4) and the attributes of an object (Part 2, 8.3) that matter here. */
enum {
    TPM_ECC_P256 = 0x0003,
    TPM_ECC_P384 = 0x0004,
};
enum {
    TPMA_FIXED_TPM = 1 << 1,
    TPMA_ST_CLEAR = 1 << 2,
    TPMA_FIXED_PARENT = 1 << 4,
    TPMA_SENSITIVE_DATA_ORIGIN = 1 << 5,
    TPMA_RESTRICTED = 1 << 16,
    TPMA_DECRYPT = 1 << 17,
    TPMA_SIGN = 1 << 18,
};

enum {
    TPM_PUBLIC_MAX = 1024, /* bytes of a TPMT_PUBLIC that is accepted */
    TPM_NAME_MAX = 2 + 64, /* algorithm and the longest digest */
    TPM_NAME_SHA256_LEN = 34,
    TPM_SIGNATURE_MAX = 1024, /* bytes of a TPMT_SIGNATURE that is accepted */
};

struct tpm_name {
    uint8_t bytes[TPM_NAME_MAX];
    size_t len;
};

struct tpm_public {
    uint16_t type; /* TPM_ALG_RSA_ID or TPM_ALG_ECC_ID */
    uint16_t name_alg;
    uint32_t attributes;
    uint16_t scheme, scheme_hash; /* TPM_ALG_NULL_ID where there is none */
    uint16_t key_bits;            /* RSA */
    uint16_t curve;               /* ECC: 3 is P-256, 4 is P-384 */
    struct tpm_name name;         /* recomputed: name_alg || H(TPMT_PUBLIC) */
    EVP_PKEY *key;
};

/* The digest of a TPM algorithm id: SHA-256, SHA-384 or SHA-512; NULL for everything else, SHA-1
 * included. */
const EVP_MD *tpm_hash(uint16_t alg);

/* The whole of `data` must be one TPMT_PUBLIC. RSA 2048 to 4096 and P-256, P-384 only.
 * ERR_MALFORMED, ERR_UNSUPPORTED. */
struct err tpm_public_parse(struct tpm_public *out, struct bytes data) MUST_USE;
void tpm_public_cleanup(struct tpm_public *p);

/* ERR_UNTRUE unless the attributes are an attestation key's: fixedTPM, fixedParent,
 * sensitiveDataOrigin, restricted and sign set, decrypt and stClear clear; scheme ECDSA, RSASSA or
 * RSAPSS with SHA-256, SHA-384 or SHA-512, fixed in the key. The message names the flaw. */
struct err tpm_public_check_ak(const struct tpm_public *p) MUST_USE;

/* TPMT_SIGNATURE (Part 2, 11.3.4) by `ak` over `message`: scheme and hash must be the key's own.
 * ERR_MALFORMED for bytes that are not one, ERR_UNTRUE if it does not verify. */
struct err tpm_signature_verify(const struct tpm_public *ak, struct bytes signature,
                                struct bytes message) MUST_USE;

#endif
