#include "attest/gpu_report.h"

#include <stdio.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ecdsa.h>

#include "attest/statement.h"

enum {
    SPDM_1_1 = 0x11,
    GET_MEASUREMENTS = 0xe0,
    MEASUREMENTS = 0x60,
    SIGNATURE_WANTED = 1,     /* in Param1 of the request */
    ALL_MEASUREMENTS = 0xff,  /* Param2 of the request */
    DMTF_SPECIFICATION = 1,   /* of a measurement block */
    FIELD_DRIVER_VERSION = 3, /* of the opaque data */
    FIELD_VBIOS_VERSION = 6,
    VBIOS_LEN = 8, /* bytes of that field */
};

static struct err malformed(const char *what)
{
    return err_set(ERR_MALFORMED, "GPU report: %s", what);
}

/* SPDMVersion, RequestResponseCode */
static struct err read_header(struct reader *r, uint8_t code, const char *what)
{
    uint8_t version = read_u8(r), got = read_u8(r);
    if (r->failed)
        return malformed("it is cut off");
    if (version != SPDM_1_1)
        return err_set(ERR_UNSUPPORTED, "GPU report: SPDM version 0x%02x, not 0x11 (1.1)", version);
    if (got != code)
        return err_set(ERR_MALFORMED, "GPU report: message 0x%02x where a %s is due", got, what);
    return err_ok();
}

static struct err read_request(struct gpu_report *out, struct reader *r)
{
    TRY(read_header(r, GET_MEASUREMENTS, "GET_MEASUREMENTS"));
    uint8_t attributes = read_u8(r), operation = read_u8(r);
    out->nonce = read_bytes(r, GPU_REPORT_NONCE_LEN);
    read_u8(r); /* the slot of the certificates: who has signed shows in the signature */
    if (r->failed)
        return malformed("the request is cut off");
    if ((attributes & SIGNATURE_WANTED) == 0 || operation != ALL_MEASUREMENTS)
        return malformed("the request is not for all measurements and a signature");
    return err_ok();
}

/* Index, MeasurementSpecification, MeasurementSize, Measurement: what was measured is compared with
 * nothing here, but each block is one. */
static struct err read_measurements(struct bytes record, unsigned n_blocks)
{
    struct reader r = reader_of(record);
    for (unsigned i = 0; i < n_blocks; i++) {
        uint8_t index = read_u8(&r), specification = read_u8(&r);
        read_bytes(&r, read_u16le(&r));
        if (!r.failed && (index == 0 || specification != DMTF_SPECIFICATION))
            return malformed("a measurement that is not of DMTF's kind");
    }
    if (n_blocks == 0 || !reader_done(&r))
        return malformed("the measurements do not fill their record");
    return err_ok();
}

/* Text up to a NUL at its end, which may be there. */
static struct err take_driver(struct gpu_report *out, struct bytes data)
{
    size_t len = data.len > 0 && data.data[data.len - 1] == '\0' ? data.len - 1 : data.len;
    struct bytes text = bytes_of(data.data, len);
    if (out->driver[0] != '\0' || !gpu_word_valid(text) || len >= sizeof out->driver)
        return malformed("the driver's version is no word, or is there twice");
    memcpy(out->driver, text.data, len);
    return err_ok();
}

/* A little-endian number: its low 32 bits, most significant byte first, then the byte above. */
static struct err take_vbios(struct gpu_report *out, struct bytes data)
{
    const uint8_t *v = data.data;
    if (out->vbios[0] != '\0' || data.len != VBIOS_LEN)
        return malformed("the VBIOS version is not of 8 bytes, or is there twice");
    snprintf(out->vbios, sizeof out->vbios, "%02X.%02X.%02X.%02X.%02X", v[3], v[2], v[1], v[0],
             v[4]);
    return err_ok();
}

static struct err read_opaque(struct gpu_report *out, struct bytes opaque)
{
    struct reader r = reader_of(opaque);
    while (reader_left(&r) > 0) {
        uint16_t type = read_u16le(&r);
        struct bytes data = read_bytes(&r, read_u16le(&r));
        if (r.failed)
            return malformed("the opaque data are cut off");
        if (type == FIELD_DRIVER_VERSION)
            TRY(take_driver(out, data));
        if (type == FIELD_VBIOS_VERSION)
            TRY(take_vbios(out, data));
    }
    if (out->driver[0] == '\0' || out->vbios[0] == '\0')
        return malformed("the versions of driver and VBIOS are not both there");
    return err_ok();
}

static struct err read_response(struct gpu_report *out, struct reader *r)
{
    TRY(read_header(r, MEASUREMENTS, "MEASUREMENTS"));
    read_bytes(r, 2);
    unsigned n_blocks = read_u8(r);
    size_t record_len = read_u16le(r);
    record_len |= (size_t)read_u8(r) << 16;
    struct bytes record = read_bytes(r, record_len);
    read_bytes(r, GPU_REPORT_NONCE_LEN); /* the GPU's own */
    struct bytes opaque = read_bytes(r, read_u16le(r));
    if (r->failed)
        return malformed("the response is cut off");
    TRY(read_measurements(record, n_blocks));
    return read_opaque(out, opaque);
}

struct err gpu_report_parse(struct gpu_report *out, struct bytes data)
{
    struct gpu_report report = {0};
    struct reader r = reader_of(data);
    if (data.len > GPU_REPORT_MAX)
        return err_set(ERR_LIMIT, "GPU report: %zu bytes, over %d", data.len, GPU_REPORT_MAX);
    TRY(read_request(&report, &r));
    TRY(read_response(&report, &r));
    report.signed_bytes = bytes_of(data.data, (size_t)(r.at - data.data));
    report.signature = read_bytes(&r, GPU_REPORT_SIGNATURE_LEN);
    if (!reader_done(&r))
        return malformed("the signature is not of 96 bytes at its end");
    *out = report;
    return err_ok();
}

/* r || s as the SEQUENCE that OpenSSL takes. */
static int encode_signature(uint8_t **der, struct bytes signature)
{
    const int half = GPU_REPORT_SIGNATURE_LEN / 2;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.data, half, NULL);
    BIGNUM *s = BN_bin2bn(signature.data + half, half, NULL);
    int len = -1;
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* they are sig's */
        len = i2d_ECDSA_SIG(sig, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len;
}

static struct err check_signature(const struct gpu_report *r, EVP_PKEY *key)
{
    uint8_t *der = NULL;
    int len = encode_signature(&der, r->signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ready =
        len > 0 && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha384(), NULL, key) == 1;
    bool good = ready && EVP_DigestVerify(ctx, der, (size_t)len, r->signed_bytes.data,
                                          r->signed_bytes.len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    if (!ready)
        return err_set(ERR_MEMORY, "OpenSSL cannot verify a GPU's signature");
    return good ? err_ok() : err_set(ERR_UNTRUE, "GPU report: the GPU's key has not signed it");
}

struct err gpu_report_check(const struct gpu_report *r, EVP_PKEY *key, struct bytes nonce)
{
    if (!bytes_equal(r->nonce, nonce))
        return err_set(ERR_UNTRUE, "GPU report: it answers another nonce");
    return check_signature(r, key);
}
