/*
 * The attestation key: a restricted ECDSA P-256 key, primary in the endorsement hierarchy
 * (elsewhere the TPM obfuscates its reset counts). The template is fixed, so every start gets the
 * same key.
 */
#include "attest/tpm_internal.h"

static const TPM2B_PUBLIC AK_TEMPLATE = {
    .publicArea =
        {
            .type = TPM2_ALG_ECC,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                                TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
                                TPMA_OBJECT_SIGN_ENCRYPT,
            .parameters.eccDetail =
                {
                    .symmetric.algorithm = TPM2_ALG_NULL,
                    .scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
                    .curveID = TPM2_ECC_NIST_P256,
                    .kdf.scheme = TPM2_ALG_NULL,
                },
        },
};

struct err tpm_marshal_public(struct buf *out, const TPM2B_PUBLIC *public_area)
{
    uint8_t bytes[sizeof(TPMT_PUBLIC)];
    size_t len = 0;
    TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Marshal(&public_area->publicArea, bytes, sizeof bytes, &len);
    if (rc != TSS2_RC_SUCCESS)
        return err_set(ERR_IO, "the TPM's public area cannot be encoded: %s", Tss2_RC_Decode(rc));
    buf_append(out, bytes, len);
    return err_ok();
}

struct err tpm_marshal_signature(struct buf *out, const TPMT_SIGNATURE *signature)
{
    uint8_t bytes[sizeof(TPMT_SIGNATURE)];
    size_t len = 0;
    TSS2_RC rc = Tss2_MU_TPMT_SIGNATURE_Marshal(signature, bytes, sizeof bytes, &len);
    if (rc != TSS2_RC_SUCCESS)
        return err_set(ERR_IO, "the TPM's signature cannot be encoded: %s", Tss2_RC_Decode(rc));
    buf_append(out, bytes, len);
    return err_ok();
}

static struct err create_ak(struct tpm *t, struct buf *ak_public)
{
    const TPM2B_SENSITIVE_CREATE no_auth = {0};
    const TPM2B_DATA no_data = {0};
    const TPML_PCR_SELECTION no_pcrs = {0};
    ESYS_AUTO TPM2B_PUBLIC *public_area = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                      ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &AK_TEMPLATE, &no_data,
                                      &no_pcrs, &t->ak, &public_area, NULL, NULL, NULL));
    TRY(tpm_error(t, rc, "TPM2_CreatePrimary of the attestation key"));
    BUF_AUTO encoded = BUF_INIT;
    TRY(tpm_marshal_public(&encoded, public_area));
    TRY(tpm_public_parse(&t->ak_public, buf_bytes(&encoded)));
    TRY(tpm_public_check_ak(&t->ak_public));
    buf_append_bytes(ak_public, buf_bytes(&encoded));
    return err_ok();
}

struct err tpm_start_session(struct tpm *t)
{
    const TPMT_SYM_DEF aes = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_StartAuthSession(t->esys, t->ek, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                         ESYS_TR_NONE, NULL, TPM2_SE_HMAC, &aes, TPM2_ALG_SHA256,
                                         &t->session));
    TRY(tpm_error(t, rc, "TPM2_StartAuthSession salted with the EK"));
    rc = Esys_TRSess_SetAttributes(t->esys, t->session, TPMA_SESSION_CONTINUESESSION, 0xff);
    return tpm_error(t, rc, "attributes of the session");
}

struct err tpm_keys(struct tpm *t, struct buf *ak_public)
{
    if (t->ak != ESYS_TR_NONE)
        return err_set(ERR_USAGE, "the TPM's keys are loaded already");
    BUF_AUTO certificate = BUF_INIT;
    TRY(tpm_flush_leftovers(t));
    TRY(tpm_ek_certificate(t, &certificate));
    TRY(tpm_load_ek(t, buf_bytes(&certificate)));
    TRY(tpm_start_session(t));
    return create_ak(t, ak_public);
}
