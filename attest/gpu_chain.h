/*
 * The certificates of a GPU's attestation key: X.509, DER, one behind the other, the GPU's own
 * first and the root last (docs/FORMATS.md section 2.2). NVML gives them as PEM.
 */
#ifndef ATTEST_GPU_CHAIN_H
#define ATTEST_GPU_CHAIN_H

#include <openssl/evp.h>

#include "common/buf.h"
#include "common/hash.h"

struct gpu_chain {
    EVP_PKEY *key;            /* P-384: what reports are signed with */
    uint8_t root[SHA256_LEN]; /* of the last certificate; the policy's to judge */
};
void gpu_chain_cleanup(struct gpu_chain *c);

/* Two to nine certificates, at most GPU_CHAIN_MAX bytes; the path holds by the rules of
 * cert_path.h, and the first is for a P-384 key that signs. ERR_UNTRUE, ERR_MALFORMED, ERR_LIMIT.
 */
struct err gpu_chain_verify(struct gpu_chain *out, struct bytes der) MUST_USE;

/* Appends the DER of each PEM certificate, in their order. ERR_MALFORMED where there is none, or
 * something else. */
struct err gpu_chain_from_pem(struct buf *out, struct bytes pem) MUST_USE;

#endif
