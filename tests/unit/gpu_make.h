/*
 * For tests: the certificates and reports of GPUs that hold what attest/gpu_report.h and
 * gpu_chain.h ask for.
 */
#ifndef TESTS_GPU_MAKE_H
#define TESTS_GPU_MAKE_H

#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>

#include "tests/unit/cert_make.h"

/* Keys of a maker, an intermediate authority, and two GPUs. */
struct gpu_keys {
    EVP_PKEY *root, *issuer, *gpus[2];
    struct buf root_certificate;
};

static inline void gpu_keys_init(struct gpu_keys *k)
{
    *k = (struct gpu_keys){.root = EVP_EC_gen("P-384"), .issuer = EVP_EC_gen("P-384")};
    for (size_t i = 0; i < 2; i++)
        k->gpus[i] = EVP_EC_gen("P-384");
    const struct cert_shape root = {.subject = "Fake GPU root",
                                    .issuer = "Fake GPU root",
                                    .key = k->root,
                                    .signer = k->root,
                                    .constraints = "critical,CA:TRUE",
                                    .usage = "critical,keyCertSign",
                                    .md = EVP_sha384()};
    make_cert(&k->root_certificate, &root);
}

static inline void gpu_keys_cleanup(struct gpu_keys *k)
{
    EVP_PKEY_free(k->root);
    EVP_PKEY_free(k->issuer);
    for (size_t i = 0; i < 2; i++)
        EVP_PKEY_free(k->gpus[i]);
    buf_cleanup(&k->root_certificate);
}

/* The GPU's own certificate in DER, of a shape that a test may have changed. */
static inline struct cert_shape gpu_leaf_shape(const struct gpu_keys *k, size_t gpu)
{
    return (struct cert_shape){.subject = gpu == 0 ? "Fake GPU 0" : "Fake GPU 1",
                               .issuer = "Fake GPU issuer",
                               .key = k->gpus[gpu],
                               .signer = k->issuer,
                               .usage = "critical,digitalSignature",
                               .md = EVP_sha384()};
}

static inline void make_gpu_issuers(struct buf *der, const struct gpu_keys *k)
{
    const struct cert_shape issuer = {.subject = "Fake GPU issuer",
                                      .issuer = "Fake GPU root",
                                      .key = k->issuer,
                                      .signer = k->root,
                                      .constraints = "critical,CA:TRUE",
                                      .usage = "critical,keyCertSign",
                                      .md = EVP_sha384()};
    make_cert(der, &issuer);
    buf_append_bytes(der, buf_bytes(&k->root_certificate));
}

static inline void make_gpu_chain(struct buf *der, const struct gpu_keys *k, size_t gpu)
{
    const struct cert_shape leaf = gpu_leaf_shape(k, gpu);
    make_cert(der, &leaf);
    make_gpu_issuers(der, k);
}

static inline void append_u16(struct buf *out, unsigned v)
{
    buf_append_u8(out, (uint8_t)v);
    buf_append_u8(out, (uint8_t)(v >> 8));
}

static inline void append_field(struct buf *out, unsigned type, struct bytes data)
{
    append_u16(out, type);
    append_u16(out, (unsigned)data.len);
    buf_append_bytes(out, data);
}

/* What a report says; a test changes it before it is signed. */
struct gpu_report_shape {
    uint8_t nonce[32];
    const char *driver;
    uint8_t vbios[8]; /* as it stands in the report */
    EVP_PKEY *key;
};

enum { GPU_REPORT_RESPONSE_AT = 37 }; /* behind the request */

/* Two measurements, NVIDIA's fields of which two are known, no signature yet. */
static inline void make_gpu_report_body(struct buf *out, const struct gpu_report_shape *s)
{
    BUF_AUTO record = BUF_INIT, opaque = BUF_INIT, driver = BUF_INIT;
    uint8_t measurement[51] = {0x01, 48, 0};
    for (uint8_t i = 1; i <= 2; i++) {
        buf_append_u8(&record, i);
        buf_append_u8(&record, 1);
        append_u16(&record, sizeof measurement);
        memset(measurement + 3, i, 48);
        buf_append(&record, measurement, sizeof measurement);
    }
    buf_append_str(&driver, s->driver);
    buf_append_u8(&driver, 0);
    append_field(&opaque, 6, bytes_of(s->vbios, sizeof s->vbios));
    append_field(&opaque, 14, bytes_of("\xb1\x03\0\0", 4));
    append_field(&opaque, 3, buf_bytes(&driver));
    buf_append(out, "\x11\xe0\x01\xff", 4);
    buf_append(out, s->nonce, sizeof s->nonce);
    buf_append_u8(out, 0);
    buf_append(out, "\x11\x60\x00\x00\x02", 5);
    append_u16(out, (unsigned)record.len);
    buf_append_u8(out, 0);
    buf_append_bytes(out, buf_bytes(&record));
    for (unsigned i = 0; i < 32; i++)
        buf_append_u8(out, 0x77);
    append_u16(out, (unsigned)opaque.len);
    buf_append_bytes(out, buf_bytes(&opaque));
}

/* r || s, 48 bytes each. */
static inline void append_gpu_signature(struct buf *out, EVP_PKEY *key, struct bytes message)
{
    uint8_t der[160], raw[96];
    size_t len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha384(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, der, &len, message.data, message.len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    if (BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 48) != 48 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 48, 48) != 48)
        abort();
    ECDSA_SIG_free(sig);
    buf_append(out, raw, sizeof raw);
}

static inline void make_gpu_report(struct buf *out, const struct gpu_report_shape *s)
{
    BUF_AUTO body = BUF_INIT;
    make_gpu_report_body(&body, s);
    append_gpu_signature(&body, s->key, buf_bytes(&body));
    buf_append_bytes(out, buf_bytes(&body));
}

/* NVML's "96.00.9F.00.01", as it stands in reports. */
#define GPU_VBIOS                                                                                  \
    {                                                                                              \
        0x00, 0x9f, 0x00, 0x96, 0x01, 0, 0, 0                                                      \
    }

#endif
