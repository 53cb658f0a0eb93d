/*
 * NV indices that hold something to read: certificates and templates, of any size.
 */
#include "attest/tpm_internal.h"

#include <stdio.h>

enum {
    NV_MAX = 8192,
    NV_CHUNK_DEFAULT = 512, /* when the TPM does not say how much it reads at once */
};

/* How much TPM2_NV_Read gives at once. */
static uint16_t nv_chunk(struct tpm *t)
{
    ESYS_AUTO TPMS_CAPABILITY_DATA *data = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc,
               Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  TPM2_CAP_TPM_PROPERTIES, TPM2_PT_NV_BUFFER_MAX, 1, NULL, &data));
    if (rc != TSS2_RC_SUCCESS || data->data.tpmProperties.count != 1 ||
        data->data.tpmProperties.tpmProperty[0].property != TPM2_PT_NV_BUFFER_MAX)
        return NV_CHUNK_DEFAULT;
    uint32_t max = data->data.tpmProperties.tpmProperty[0].value;
    return (uint16_t)(max < TPM2_MAX_NV_BUFFER_SIZE ? max : TPM2_MAX_NV_BUFFER_SIZE);
}

/* Some indices are read with their own (empty) password, others by the owner alone. */
static struct err read_all(struct tpm *t, ESYS_TR handle, uint32_t index, struct buf *out)
{
    ESYS_AUTO TPM2B_NV_PUBLIC *public_area = NULL;
    TSS2_RC rc;
    char what[64];
    snprintf(what, sizeof what, "TPM2_NV_Read of NV index 0x%08x", (unsigned)index);
    TPM_REPEAT(rc, Esys_NV_ReadPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                      &public_area, NULL));
    TRY(tpm_error(t, rc, what));
    size_t size = public_area->nvPublic.dataSize;
    bool own = (public_area->nvPublic.attributes & TPMA_NV_AUTHREAD) != 0;
    if (size > NV_MAX)
        return err_set(ERR_LIMIT, "TPM %s: NV index 0x%08x holds %zu bytes, more than %d", t->name,
                       (unsigned)index, size, NV_MAX);
    uint16_t chunk = nv_chunk(t);
    while (out->len < size) {
        ESYS_AUTO TPM2B_MAX_NV_BUFFER *part = NULL;
        uint16_t want = (uint16_t)(size - out->len < chunk ? size - out->len : chunk);
        TPM_REPEAT(rc,
                   Esys_NV_Read(t->esys, own ? handle : ESYS_TR_RH_OWNER, handle, ESYS_TR_PASSWORD,
                                ESYS_TR_NONE, ESYS_TR_NONE, want, (uint16_t)out->len, &part));
        TRY(tpm_error(t, rc, what));
        if (part->size != want)
            return err_set(ERR_IO, "TPM %s: TPM2_NV_Read gave %u bytes instead of %u", t->name,
                           part->size, want);
        buf_append(out, part->buffer, part->size);
    }
    return err_ok();
}

struct err tpm_nv_read(struct tpm *t, uint32_t index, struct buf *out)
{
    ESYS_TR handle;
    BUF_AUTO read = BUF_INIT;
    TRY(tpm_nv_open(t, index, &handle));
    struct err e = read_all(t, handle, index, &read);
    tpm_nv_close(t, &handle);
    TRY(e);
    buf_append_bytes(out, buf_bytes(&read));
    return err_ok();
}

/* The index may be larger than the certificate: the length in the DER's first bytes decides. */
struct err tpm_nv_certificate(struct tpm *t, uint32_t index, struct buf *der)
{
    BUF_AUTO read = BUF_INIT;
    TRY(tpm_nv_read(t, index, &read));
    struct reader r = reader_of(buf_bytes(&read));
    size_t len = 0;
    if (read_u8(&r) == 0x30 && read_u8(&r) == 0x82)
        len = (size_t)read_u16be(&r) + 4;
    if (r.failed || len < 256 || len > read.len)
        return err_set(ERR_MALFORMED, "TPM %s: NV index 0x%08x holds no certificate in DER",
                       t->name, (unsigned)index);
    buf_append(der, read.data, len);
    return err_ok();
}
