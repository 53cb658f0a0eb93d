/*
 * PCRs: reading, extending every allocated bank, and quotes over PCRs 0 to 15.
 */
#include "attest/tpm_internal.h"

#include <string.h>

enum {
    PCR_READS_MAX = 32, /* a TPM gives up to 8 values a call; ours are 16 */
    QUOTE_ATTEMPTS_MAX = 5,
};

static const TPML_PCR_SELECTION ALL_PCRS = {
    .count = 1,
    .pcrSelections = {{.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {0xff, 0xff, 0}}},
};

/* Takes the values of one answer; clears their bits in `left`. */
static struct err take_values(struct tpm *t, struct pcr_values *out, TPMS_PCR_SELECTION *left,
                              const TPML_PCR_SELECTION *got, const TPML_DIGEST *values)
{
    uint32_t next = 0;
    if (got->count != 1 || got->pcrSelections[0].hash != TPM2_ALG_SHA256)
        return err_set(ERR_IO, "TPM %s: TPM2_PCR_Read answered another selection", t->name);
    for (unsigned pcr = 0; pcr < N_PCRS; pcr++) {
        uint8_t bit = (uint8_t)(1u << pcr % 8);
        if (!(got->pcrSelections[0].pcrSelect[pcr / 8] & left->pcrSelect[pcr / 8] & bit))
            continue;
        if (next >= values->count || values->digests[next].size != SHA256_LEN)
            return err_set(ERR_IO, "TPM %s: TPM2_PCR_Read gave no SHA-256 value of PCR %u", t->name,
                           pcr);
        memcpy(out->values[pcr], values->digests[next++].buffer, SHA256_LEN);
        left->pcrSelect[pcr / 8] &= (uint8_t)~bit;
    }
    if (next == 0)
        return err_set(ERR_UNSUPPORTED,
                       "TPM %s has no SHA-256 PCR bank: switch it on in the firmware's settings "
                       "(tpm2_pcrallocate sha256:all, then reboot)",
                       t->name);
    return err_ok();
}

struct err tpm_pcr_read(struct tpm *t, struct pcr_values *out)
{
    struct pcr_values values;
    TPML_PCR_SELECTION left = ALL_PCRS;
    TPMS_PCR_SELECTION *bits = &left.pcrSelections[0];
    for (int i = 0; i < PCR_READS_MAX && (bits->pcrSelect[0] || bits->pcrSelect[1]); i++) {
        ESYS_AUTO TPML_PCR_SELECTION *got = NULL;
        ESYS_AUTO TPML_DIGEST *digests = NULL;
        TSS2_RC rc;
        TPM_REPEAT(rc, Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &left, NULL,
                                     &got, &digests));
        TRY(tpm_error(t, rc, "TPM2_PCR_Read"));
        TRY(take_values(t, &values, bits, got, digests));
    }
    *out = values;
    return err_ok();
}

static const EVP_MD *bank_hash(TPM2_ALG_ID bank)
{
    switch (bank) {
    case TPM2_ALG_SHA1:
        return EVP_sha1();
    case TPM2_ALG_SHA256:
        return EVP_sha256();
    case TPM2_ALG_SHA384:
        return EVP_sha384();
    case TPM2_ALG_SHA512:
        return EVP_sha512();
    case TPM2_ALG_SM3_256:
        return EVP_sm3();
    default:
        return NULL;
    }
}

/* A digest for each bank that holds the PCR: a bank left at zero could be extended by anybody. */
static struct err bank_digests(struct tpm *t, TPML_DIGEST_VALUES *out, unsigned pcr,
                               const char *kind, struct bytes data)
{
    ESYS_AUTO TPMS_CAPABILITY_DATA *capability = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                      TPM2_CAP_PCRS, 0, 1, NULL, &capability));
    TRY(tpm_error(t, rc, "TPM2_GetCapability of the PCR banks"));
    const TPML_PCR_SELECTION *banks = &capability->data.assignedPCR;
    for (uint32_t i = 0; i < banks->count; i++) {
        const TPMS_PCR_SELECTION *bank = &banks->pcrSelections[i];
        if (bank->sizeofSelect <= pcr / 8 || !(bank->pcrSelect[pcr / 8] & 1u << pcr % 8))
            continue;
        const EVP_MD *md = bank_hash(bank->hash);
        if (!md)
            return err_set(ERR_UNSUPPORTED,
                           "TPM %s has a PCR bank of hash 0x%04x, which this program cannot "
                           "extend: switch that bank off in the firmware's settings",
                           t->name, bank->hash);
        TPMT_HA *digest = &out->digests[out->count++];
        digest->hashAlg = bank->hash;
        runtime_event_digest((uint8_t *)&digest->digest, md, kind, data);
    }
    return err_ok();
}

struct err tpm_pcr_extend(struct tpm *t, unsigned pcr, const char *kind, struct bytes data)
{
    if (pcr < PCR_MODEL || pcr > PCR_IDENTITY)
        return err_set(ERR_USAGE, "PCR %u is not ours to extend", pcr);
    TPML_DIGEST_VALUES digests = {0};
    TRY(bank_digests(t, &digests, pcr, kind, data));
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_PCR_Extend(t->esys, ESYS_TR_PCR0 + pcr, tpm_auth(t), ESYS_TR_NONE,
                                   ESYS_TR_NONE, &digests));
    return tpm_error(t, rc, "TPM2_PCR_Extend");
}

static struct err quote_once(struct tpm *t, struct buf *attest, struct buf *signature,
                             const uint8_t extra[SHA256_LEN])
{
    TPM2B_DATA qualifying = {.size = SHA256_LEN};
    memcpy(qualifying.buffer, extra, SHA256_LEN);
    const TPMT_SIG_SCHEME of_the_key = {.scheme = TPM2_ALG_NULL};
    ESYS_AUTO TPM2B_ATTEST *quoted = NULL;
    ESYS_AUTO TPMT_SIGNATURE *signed_by = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_Quote(t->esys, t->ak, tpm_auth(t), ESYS_TR_NONE, ESYS_TR_NONE, &qualifying,
                              &of_the_key, &ALL_PCRS, &quoted, &signed_by));
    TRY(tpm_error(t, rc, "TPM2_Quote"));
    buf_append(attest, quoted->attestationData, quoted->size);
    return tpm_marshal_signature(signature, signed_by);
}

struct err tpm_quote(struct tpm *t, struct buf *attest, struct buf *signature,
                     struct pcr_values *pcrs, const uint8_t extra[SHA256_LEN])
{
    if (t->ak == ESYS_TR_NONE)
        return err_set(ERR_USAGE, "the TPM's keys are not loaded");
    struct err e = err_ok();
    for (int i = 0; i < QUOTE_ATTEMPTS_MAX; i++) {
        BUF_AUTO quoted = BUF_INIT;
        BUF_AUTO signed_by = BUF_INIT;
        struct pcr_values values;
        struct attested parsed;
        TRY(quote_once(t, &quoted, &signed_by, extra));
        TRY(tpm_pcr_read(t, &values));
        TRY(attested_parse(&parsed, buf_bytes(&quoted)));
        e = attested_check_quote(&parsed, &t->ak_public, &values, extra);
        if (e.code == ERR_UNTRUE)
            continue; /* a PCR was extended between quote and reading */
        TRY(e);
        buf_append_bytes(attest, buf_bytes(&quoted));
        buf_append_bytes(signature, buf_bytes(&signed_by));
        *pcrs = values;
        return err_ok();
    }
    return err_context(e, "TPM %s: %d quotes in a row do not fit the PCRs", t->name,
                       QUOTE_ATTEMPTS_MAX);
}
