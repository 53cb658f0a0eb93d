/*
 * What NVML knows of GPUs that CUDA does not: versions of driver and VBIOS, and confidential
 * computing. The driver's libnvidia-ml.so.1 is opened at run time, so that one program runs with
 * and without it. No header of NVIDIA's is needed: the few structures are written out in nvml.c.
 *
 * Errors: ERR_NOT_FOUND (no library, no such GPU), ERR_UNSUPPORTED (a library that lacks a
 * function), ERR_IO (NVML's own, with its reason). For one thread at a time.
 */
#ifndef KERNELS_CUDA_NVML_H
#define KERNELS_CUDA_NVML_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct nvml;

enum { NVML_NONCE_LEN = 32 };

/* Of the whole machine, as the driver was started. */
enum nvml_confidential {
    NVML_CONFIDENTIAL_OFF,
    NVML_CONFIDENTIAL_ON,
    NVML_CONFIDENTIAL_DEVTOOLS, /* on, and debuggers are let in */
};

struct nvml_gpu {
    char name[96], vbios[32];
};

struct err nvml_open(struct nvml **out) MUST_USE;
void nvml_close(struct nvml *n);

struct err nvml_driver_version(struct nvml *n, char out[80]) MUST_USE;
/* OFF, too, where the driver or the GPUs know nothing of it. */
struct err nvml_confidential(struct nvml *n, enum nvml_confidential *out) MUST_USE;

/* `uuid` as NVML writes it: "GPU-" and 36 characters. */
struct err nvml_describe(struct nvml *n, struct nvml_gpu *out, const char *uuid) MUST_USE;
/* Appends the certificates of the GPU's attestation key: PEM, its own first. Confidential only. */
struct err nvml_certificates(struct nvml *n, struct buf *out, const char *uuid) MUST_USE;
/* Appends a report that the GPU signs now, over this nonce. Confidential only. */
struct err nvml_report(struct nvml *n, struct buf *out, const char *uuid,
                       const uint8_t nonce[NVML_NONCE_LEN]) MUST_USE;

#endif
