/*
 * A GPU's attestation report, as NVML gives it (nvmlDeviceGetConfComputeGpuAttestationReport): an
 * SPDM 1.1 GET_MEASUREMENTS request and the MEASUREMENTS response to it (DMTF
 * DSP0274 1.1.x, 10.11), one behind the other; the response's opaque data are NVIDIA's fields (u16
 * type, u16 length, data, little-endian). ECDSA P-384 with SHA-384 over all but the signature
 * itself, r || s big-endian. Layout and field numbers: the attestation verifier that NVIDIA
 * publishes (nvtrust, guest_tools/gpu_verifiers).
 */
#ifndef ATTEST_GPU_REPORT_H
#define ATTEST_GPU_REPORT_H

#include <openssl/evp.h>

#include "common/buf.h"

enum { GPU_REPORT_NONCE_LEN = 32, GPU_REPORT_SIGNATURE_LEN = 96 };

struct gpu_report {
    struct bytes nonce;        /* the request's; borrowed, as the next two are */
    struct bytes signed_bytes; /* what the signature is over */
    struct bytes signature;
    char driver[80]; /* version */
    char vbios[15];  /* version, as NVML writes it: "96.00.9F.00.01" */
};

/* Every field lies within, every measurement is counted, driver and VBIOS are there once, nothing
 * is left over. ERR_MALFORMED; ERR_UNSUPPORTED for another version of SPDM; ERR_LIMIT above
 * GPU_REPORT_MAX bytes. */
struct err gpu_report_parse(struct gpu_report *out, struct bytes data) MUST_USE;

/* The report answers this nonce, and the key has signed it. ERR_UNTRUE. */
struct err gpu_report_check(const struct gpu_report *r, EVP_PKEY *key, struct bytes nonce) MUST_USE;

#endif
