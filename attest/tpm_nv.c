/*
 * NV indices: the boot counter, which survives TPM2_Clear's reset of the other counts in value: an
 * index that is defined again starts above every counter that the TPM ever held.
 */
#include "attest/tpm_internal.h"

#include <string.h>

enum { COUNTER_LEN = 8 };

static const TPMA_NV COUNTER_ATTRIBUTES = TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT |
                                          TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD |
                                          TPMA_NV_AUTHREAD | TPMA_NV_NO_DA;

struct err tpm_nv_open(struct tpm *t, uint32_t index, ESYS_TR *out)
{
    TSS2_RC rc;
    TPM_REPEAT(
        rc, Esys_TR_FromTPMPublic(t->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, out));
    if (tpm_base_code(rc) == TPM2_RC_HANDLE)
        return err_set(ERR_NOT_FOUND, "TPM %s has no NV index 0x%08x", t->name, index);
    return tpm_error(t, rc, "TPM2_NV_ReadPublic");
}

void tpm_nv_close(struct tpm *t, ESYS_TR *handle)
{
    Esys_TR_Close(t->esys, handle);
}

/* An index that somebody else made with other attributes would prove nothing. */
static struct err check_counter(struct tpm *t, ESYS_TR handle, uint32_t index, bool *written)
{
    ESYS_AUTO TPM2B_NV_PUBLIC *found = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_NV_ReadPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                      &found, NULL));
    TRY(tpm_error(t, rc, "TPM2_NV_ReadPublic of the boot counter"));
    *written = found->nvPublic.attributes & TPMA_NV_WRITTEN;
    if ((found->nvPublic.attributes & ~(TPMA_NV)TPMA_NV_WRITTEN) != COUNTER_ATTRIBUTES ||
        found->nvPublic.dataSize != COUNTER_LEN)
        return err_set(ERR_UNTRUE,
                       "TPM %s: NV index 0x%08x is not our boot counter (attributes 0x%08x): "
                       "another program uses it",
                       t->name, index, found->nvPublic.attributes);
    return err_ok();
}

static struct err define_counter(struct tpm *t, uint32_t index, ESYS_TR *out)
{
    const TPM2B_AUTH no_auth = {0};
    const TPM2B_NV_PUBLIC public_area = {
        .nvPublic = {.nvIndex = index,
                     .nameAlg = TPM2_ALG_SHA256,
                     .attributes = COUNTER_ATTRIBUTES,
                     .dataSize = COUNTER_LEN},
    };
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_NV_DefineSpace(t->esys, ESYS_TR_RH_OWNER, tpm_auth(t), ESYS_TR_NONE,
                                       ESYS_TR_NONE, &no_auth, &public_area, out));
    return tpm_error(t, rc, "TPM2_NV_DefineSpace of the boot counter");
}

static struct err increment(struct tpm *t, ESYS_TR handle, uint32_t index)
{
    bool written;
    TRY(check_counter(t, handle, index, &written));
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_NV_Increment(t->esys, ESYS_TR_RH_OWNER, handle, tpm_auth(t), ESYS_TR_NONE,
                                     ESYS_TR_NONE));
    return tpm_error(t, rc, "TPM2_NV_Increment of the boot counter");
}

struct err tpm_counter_increment(struct tpm *t, uint32_t index)
{
    ESYS_TR handle;
    struct err e = tpm_nv_open(t, index, &handle);
    if (e.code == ERR_NOT_FOUND)
        e = define_counter(t, index, &handle);
    TRY(e);
    e = increment(t, handle, index);
    tpm_nv_close(t, &handle);
    return e;
}

static struct err read_counter(struct tpm *t, ESYS_TR handle, uint32_t index, uint64_t *value)
{
    bool written;
    TRY(check_counter(t, handle, index, &written));
    if (!written)
        return err_set(ERR_NOT_FOUND, "TPM %s: the boot counter has never been incremented",
                       t->name);
    ESYS_AUTO TPM2B_MAX_NV_BUFFER *data = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_NV_Read(t->esys, handle, handle, tpm_auth(t), ESYS_TR_NONE, ESYS_TR_NONE,
                                COUNTER_LEN, 0, &data));
    TRY(tpm_error(t, rc, "TPM2_NV_Read of the boot counter"));
    struct reader r = reader_of(bytes_of(data->buffer, data->size));
    uint64_t read = read_u64be(&r);
    if (!reader_done(&r))
        return err_set(ERR_IO, "TPM %s: the boot counter is not 8 bytes", t->name);
    *value = read;
    return err_ok();
}

struct err tpm_counter_read(struct tpm *t, uint32_t index, uint64_t *value)
{
    ESYS_TR handle;
    TRY(tpm_nv_open(t, index, &handle));
    struct err e = read_counter(t, handle, index, value);
    tpm_nv_close(t, &handle);
    return e;
}

static struct err certify(struct tpm *t, ESYS_TR handle, const uint8_t extra[SHA256_LEN],
                          struct buf *attest, struct buf *signature)
{
    TPM2B_DATA qualifying = {.size = SHA256_LEN};
    memcpy(qualifying.buffer, extra, SHA256_LEN);
    const TPMT_SIG_SCHEME of_the_key = {.scheme = TPM2_ALG_NULL};
    ESYS_AUTO TPM2B_ATTEST *certified = NULL;
    ESYS_AUTO TPMT_SIGNATURE *signed_by = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_NV_Certify(t->esys, t->ak, handle, handle, tpm_auth(t), ESYS_TR_PASSWORD,
                                   ESYS_TR_NONE, &qualifying, &of_the_key, COUNTER_LEN, 0,
                                   &certified, &signed_by));
    TRY(tpm_error(t, rc, "TPM2_NV_Certify of the boot counter"));
    BUF_AUTO encoded = BUF_INIT;
    TRY(tpm_marshal_signature(&encoded, signed_by));
    buf_append(attest, certified->attestationData, certified->size);
    buf_append_bytes(signature, buf_bytes(&encoded));
    return err_ok();
}

struct err tpm_counter_certify(struct tpm *t, uint32_t index, const uint8_t extra[SHA256_LEN],
                               struct buf *attest, struct buf *signature)
{
    if (t->ak == ESYS_TR_NONE)
        return err_set(ERR_USAGE, "the TPM's keys are not loaded");
    ESYS_TR handle;
    TRY(tpm_nv_open(t, index, &handle));
    struct err e = certify(t, handle, extra, attest, signature);
    tpm_nv_close(t, &handle);
    return e;
}
