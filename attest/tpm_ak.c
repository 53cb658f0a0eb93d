/*
 * Attestation keys that a cloud has made and certified: where Google and Microsoft keep the key, or
 * the template that gives it, and its certificate.
 */
#include "attest/tpm_internal.h"

#include <string.h>

static const struct {
    uint32_t certificate; /* NV index */
    uint32_t template;    /* NV index of a TPMT_PUBLIC; 0: the key is at `handle` */
    uint32_t handle;      /* persistent */
} places[] = {
    {.certificate = 0x01c10000, .template = 0x01c10001}, /* Google, RSA-2048 */
    {.certificate = 0x01c10002, .template = 0x01c10003}, /* Google, P-256 */
    {.certificate = 0x01c101d0, .handle = 0x81000003},   /* Azure, RSA-2048 */
};

static bool is_of(size_t place, enum ak_profile profile)
{
    return (places[place].template == 0) == (profile == AK_PROFILE_AZURE) &&
           profile != AK_PROFILE_TCG;
}

/* The first of the profile's places that holds a certificate. */
static struct err find_place(size_t *out, struct tpm *t, enum ak_profile profile, struct buf *der)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!is_of(i, profile))
            continue;
        struct err e = tpm_nv_certificate(t, places[i].certificate, der);
        *out = i;
        if (e.code != ERR_NOT_FOUND)
            return e;
    }
    return err_set(ERR_NOT_FOUND,
                   "TPM %s holds no certificate of an attestation key of profile %s: is this a "
                   "virtual machine of that cloud, with its virtual TPM switched on?",
                   t->name, ak_profile_name(profile));
}

struct err tpm_ak_certificate(struct tpm *t, enum ak_profile profile, struct buf *der)
{
    size_t place;
    return find_place(&place, t, profile, der);
}

static struct err create_from_template(struct tpm *t, uint32_t index, TPM2B_PUBLIC **public_area)
{
    const TPM2B_SENSITIVE_CREATE no_auth = {0};
    const TPM2B_DATA no_data = {0};
    const TPML_PCR_SELECTION no_pcrs = {0};
    TPM2B_PUBLIC template = {0};
    BUF_AUTO bytes = BUF_INIT;
    size_t used = 0;
    TRY(tpm_nv_read(t, index, &bytes));
    TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Unmarshal(bytes.data, bytes.len, &used, &template.publicArea);
    if (rc != TSS2_RC_SUCCESS)
        return err_set(ERR_MALFORMED, "TPM %s: NV index 0x%08x holds no template of a key", t->name,
                       (unsigned)index);
    TPM_REPEAT(rc, Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                      ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &template, &no_data,
                                      &no_pcrs, &t->ak, public_area, NULL, NULL, NULL));
    return tpm_error(t, rc, "TPM2_CreatePrimary of the cloud's attestation key");
}

static struct err open_persistent(struct tpm *t, uint32_t handle, TPM2B_PUBLIC **public_area)
{
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_TR_FromTPMPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                         &t->ak));
    TRY(tpm_error(t, rc, "TPM2_ReadPublic of the cloud's attestation key"));
    t->ak_is_persistent = true;
    TPM_REPEAT(rc, Esys_ReadPublic(t->esys, t->ak, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   public_area, NULL, NULL));
    return tpm_error(t, rc, "TPM2_ReadPublic of the cloud's attestation key");
}

/* Outside the endorsement hierarchy a TPM adds a constant of the key to the counts that the key
 * attests, which keeps hosts from being told apart by them: what we compare must have it, too. */
static struct err learn_offsets(struct tpm *t)
{
    const uint8_t nothing[SHA256_LEN] = {0};
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    struct pcr_values pcrs;
    struct attested a;
    struct tpm_clock clock;
    TRY(tpm_clock_read(t, &clock));
    TRY(tpm_quote(t, &attest, &signature, &pcrs, nothing));
    TRY(attested_parse(&a, buf_bytes(&attest)));
    t->reset_offset = a.reset_count - clock.reset_count;
    t->restart_offset = a.restart_count - clock.restart_count;
    return err_ok();
}

/* There is no certified endorsement key to salt the session with; one of the standard template
 * still keeps a program on this machine from changing our commands. */
struct err tpm_keys_certified(struct tpm *t, enum ak_profile profile, struct buf *ak_public)
{
    size_t place;
    BUF_AUTO certificate = BUF_INIT, encoded = BUF_INIT;
    ESYS_AUTO TPM2B_PUBLIC *public_area = NULL;
    if (t->ak != ESYS_TR_NONE)
        return err_set(ERR_USAGE, "the TPM's keys are loaded already");
    TRY(find_place(&place, t, profile, &certificate));
    TRY(tpm_flush_leftovers(t));
    TRY(tpm_create_ek(t));
    TRY(tpm_start_session(t));
    if (places[place].template != 0)
        TRY(create_from_template(t, places[place].template, &public_area));
    else
        TRY(open_persistent(t, places[place].handle, &public_area));
    TRY(tpm_marshal_public(&encoded, public_area));
    TRY(tpm_public_parse(&t->ak_public, buf_bytes(&encoded)));
    TRY(tpm_public_check_ak(&t->ak_public));
    TRY(learn_offsets(t));
    buf_append_bytes(ak_public, buf_bytes(&encoded));
    return err_ok();
}
