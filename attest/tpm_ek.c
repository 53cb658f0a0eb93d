/*
 * The endorsement key and its certificate (TCG EK Credential Profile 2.4, annex B), and what only a
 * holder of that key can do: TPM2_ActivateCredential.
 */
#include "attest/tpm_internal.h"

#include <openssl/x509.h>
#include <string.h>

static const TPM2_HANDLE EK_HANDLES_FIRST = 0x81010000;
static const TPM2_HANDLE EK_HANDLES_LAST = 0x810100ff;

/* Low range, B.3: PolicySecret(TPM_RH_ENDORSEMENT), SHA-256. */
static const uint8_t POLICY_A_SHA256[] = {
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
};
/* High range, B.6: PolicyB, SHA-384; the key may also be used with its (empty) password. */
static const uint8_t POLICY_B_SHA384[] = {
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
};

enum ek_kind { EK_RSA_2048, EK_P256, EK_P384, N_EK_KINDS };

static const uint32_t CERTIFICATE_INDEX[N_EK_KINDS] = {
    [EK_RSA_2048] = 0x01c00002, [EK_P256] = 0x01c0000a, [EK_P384] = 0x01c00016};

static void set_policy(TPMT_PUBLIC *p, const uint8_t *policy, size_t len)
{
    memcpy(p->authPolicy.buffer, policy, len);
    p->authPolicy.size = (uint16_t)len;
}

/* Templates L-1, L-2 and H-3 of the profile. In the low range `unique` is zeros of the key's size.
 */
static void ek_template(TPM2B_PUBLIC *out, enum ek_kind kind)
{
    *out = (TPM2B_PUBLIC){0};
    TPMT_PUBLIC *p = &out->publicArea;
    p->objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
                          TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
    p->nameAlg = kind == EK_P384 ? TPM2_ALG_SHA384 : TPM2_ALG_SHA256;
    TPMT_SYM_DEF_OBJECT aes = {.algorithm = TPM2_ALG_AES,
                               .keyBits.aes = kind == EK_P384 ? 256 : 128,
                               .mode.aes = TPM2_ALG_CFB};
    if (kind == EK_P384) {
        p->objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
        set_policy(p, POLICY_B_SHA384, sizeof POLICY_B_SHA384);
    } else {
        set_policy(p, POLICY_A_SHA256, sizeof POLICY_A_SHA256);
    }
    if (kind == EK_RSA_2048) {
        p->type = TPM2_ALG_RSA;
        p->parameters.rsaDetail =
            (TPMS_RSA_PARMS){.symmetric = aes, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048};
        p->unique.rsa.size = 256;
        return;
    }
    p->type = TPM2_ALG_ECC;
    p->parameters.eccDetail =
        (TPMS_ECC_PARMS){.symmetric = aes,
                         .scheme.scheme = TPM2_ALG_NULL,
                         .curveID = kind == EK_P384 ? TPM2_ECC_NIST_P384 : TPM2_ECC_NIST_P256,
                         .kdf.scheme = TPM2_ALG_NULL};
    p->unique.ecc.x.size = p->unique.ecc.y.size = kind == EK_P384 ? 0 : 32;
}

struct err tpm_ek_certificate(struct tpm *t, struct buf *der)
{
    for (int kind = 0; kind < N_EK_KINDS; kind++) {
        struct err e = tpm_nv_certificate(t, CERTIFICATE_INDEX[kind], der);
        if (e.code != ERR_NOT_FOUND)
            return e;
    }
    return err_set(ERR_NOT_FOUND,
                   "TPM %s holds no EK certificate (NV 0x01c00002, 0x01c0000a, 0x01c00016): some "
                   "vendors hand it out on their web site only; for a software TPM make one with "
                   "swtpm_setup --create-ek-cert",
                   t->name);
}

static void free_x509(X509 **certificate)
{
    X509_free(*certificate);
}

static struct err certificate_kind(X509 *certificate, enum ek_kind *kind)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) == 2048)
        *kind = EK_RSA_2048;
    else if (key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 256)
        *kind = EK_P256;
    else if (key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 384)
        *kind = EK_P384;
    else
        return err_set(ERR_UNSUPPORTED,
                       "the EK certificate is for a key that is neither RSA-2048, P-256 nor P-384");
    return err_ok();
}

static struct err create_ek(struct tpm *t, const TPM2B_PUBLIC *template)
{
    const TPM2B_SENSITIVE_CREATE no_auth = {0};
    const TPM2B_DATA no_data = {0};
    const TPML_PCR_SELECTION no_pcrs = {0};
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                      ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, template, &no_data,
                                      &no_pcrs, &t->ek, NULL, NULL, NULL, NULL));
    return tpm_error(t, rc, "TPM2_CreatePrimary of the endorsement key");
}

/* Whether the object is the template's key that the certificate is for. */
static struct err is_certified(struct tpm *t, ESYS_TR handle, const TPM2B_PUBLIC *template,
                               const X509 *certificate, bool *out)
{
    ESYS_AUTO TPM2B_PUBLIC *found = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_ReadPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   &found, NULL, NULL));
    TRY(tpm_error(t, rc, "TPM2_ReadPublic of an endorsement key"));
    BUF_AUTO encoded = BUF_INIT;
    __attribute__((cleanup(tpm_public_cleanup))) struct tpm_public key = {0};
    const TPMT_PUBLIC *want = &template->publicArea;
    const TPMT_PUBLIC *have = &found->publicArea;
    *out = false;
    if (have->objectAttributes != want->objectAttributes || have->nameAlg != want->nameAlg ||
        !bytes_equal(bytes_of(have->authPolicy.buffer, have->authPolicy.size),
                     bytes_of(want->authPolicy.buffer, want->authPolicy.size)))
        return err_ok();
    TRY(tpm_marshal_public(&encoded, found));
    if (!is_err(tpm_public_parse(&key, buf_bytes(&encoded))))
        *out = EVP_PKEY_eq(key.key, X509_get0_pubkey(certificate)) == 1;
    return err_ok();
}

/* Many platforms keep the EK at a persistent handle (TCG registry of reserved handles), where it
 * need not be computed again: for RSA that takes a chip seconds. */
static struct err find_persistent_ek(struct tpm *t, const TPM2B_PUBLIC *template,
                                     const X509 *certificate)
{
    ESYS_AUTO TPMS_CAPABILITY_DATA *data = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                      TPM2_CAP_HANDLES, EK_HANDLES_FIRST, TPM2_MAX_CAP_HANDLES,
                                      NULL, &data));
    TRY(tpm_error(t, rc, "TPM2_GetCapability of persistent handles"));
    for (uint32_t i = 0; i < data->data.handles.count; i++) {
        bool certified = false;
        ESYS_TR handle;
        if (data->data.handles.handle[i] > EK_HANDLES_LAST)
            break;
        TPM_REPEAT(rc, Esys_TR_FromTPMPublic(t->esys, data->data.handles.handle[i], ESYS_TR_NONE,
                                             ESYS_TR_NONE, ESYS_TR_NONE, &handle));
        TRY(tpm_error(t, rc, "TPM2_ReadPublic of a persistent handle"));
        struct err e = is_certified(t, handle, template, certificate, &certified);
        if (!is_err(e) && certified) {
            t->ek = handle;
            t->ek_is_persistent = true;
            return err_ok();
        }
        Esys_TR_Close(t->esys, &handle);
        TRY(e);
    }
    return err_ok();
}

struct err tpm_load_ek(struct tpm *t, struct bytes certificate_der)
{
    const unsigned char *at = certificate_der.data;
    __attribute__((cleanup(free_x509))) X509 *certificate =
        d2i_X509(NULL, &at, (long)certificate_der.len);
    if (!certificate)
        return err_set(ERR_MALFORMED, "TPM %s: the EK certificate does not parse", t->name);
    enum ek_kind kind;
    TPM2B_PUBLIC template;
    bool certified = false;
    TRY(certificate_kind(certificate, &kind));
    ek_template(&template, kind);
    t->ek_needs_policy = kind != EK_P384;
    TRY(find_persistent_ek(t, &template, certificate));
    if (t->ek != ESYS_TR_NONE)
        return err_ok();
    TRY(create_ek(t, &template));
    TRY(is_certified(t, t->ek, &template, certificate, &certified));
    if (!certified)
        return err_set(ERR_UNTRUE,
                       "TPM %s: the EK certificate is not for the key that the standard template "
                       "gives: it belongs to another TPM, or to an EK with a template of its own",
                       t->name);
    return err_ok();
}

struct err tpm_create_ek(struct tpm *t)
{
    TPM2B_PUBLIC template;
    ek_template(&template, EK_RSA_2048);
    t->ek_needs_policy = true;
    return create_ek(t, &template);
}

/* A session that satisfies the EK's policy; with a password-only EK, the password. */
static struct err ek_authorisation(struct tpm *t, ESYS_TR *out)
{
    if (!t->ek_needs_policy) {
        *out = ESYS_TR_PASSWORD;
        return err_ok();
    }
    const TPMT_SYM_DEF none = {.algorithm = TPM2_ALG_NULL};
    ESYS_TR session;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_StartAuthSession(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                         ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &none,
                                         TPM2_ALG_SHA256, &session));
    TRY(tpm_error(t, rc, "TPM2_StartAuthSession of a policy session"));
    TPM_REPEAT(rc, Esys_PolicySecret(t->esys, ESYS_TR_RH_ENDORSEMENT, session, ESYS_TR_PASSWORD,
                                     ESYS_TR_NONE, ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL));
    if (rc != TSS2_RC_SUCCESS) {
        Esys_FlushContext(t->esys, session);
        return tpm_error(t, rc, "TPM2_PolicySecret of the endorsement hierarchy");
    }
    *out = session;
    return err_ok();
}

/* The TPM names a parameter as the fault: what the challenger sent is not for it, or not a
 * credential. Every other code is trouble with the TPM itself, but one: libtpms answers FAILURE to
 * a secret that does not decrypt, and goes on; a TPM that really failed takes no further command.
 */
static bool credential_refused(struct tpm *t, TSS2_RC rc)
{
    TSS2_RC code = tpm_base_code(rc);
    struct tpm_clock clock;
    if (code == TPM2_RC_FAILURE)
        return !is_err(tpm_clock_read(t, &clock));
    if (!(code & TPM2_RC_FMT1))
        return false;
    return rc & TPM2_RC_P || code == TPM2_RC_INTEGRITY || code == TPM2_RC_VALUE ||
           code == TPM2_RC_SIZE;
}

static struct err parse_credential(TPM2B_ID_OBJECT *id, TPM2B_ENCRYPTED_SECRET *secret,
                                   struct bytes id_object, struct bytes encrypted_secret)
{
    struct reader r = reader_of(id_object);
    struct bytes v = read_prefixed_u16be(&r);
    if (!reader_done(&r) || v.len > sizeof id->credential)
        return err_set(ERR_MALFORMED, "the credential is not a TPM2B_ID_OBJECT");
    id->size = (uint16_t)v.len;
    memcpy(id->credential, v.data, v.len);
    r = reader_of(encrypted_secret);
    v = read_prefixed_u16be(&r);
    if (!reader_done(&r) || v.len > sizeof secret->secret)
        return err_set(ERR_MALFORMED, "the secret is not a TPM2B_ENCRYPTED_SECRET");
    secret->size = (uint16_t)v.len;
    memcpy(secret->secret, v.data, v.len);
    return err_ok();
}

/* The answer comes back encrypted by the session. */
static TSS2_RC activate(struct tpm *t, ESYS_TR ek_auth, const TPM2B_ID_OBJECT *id,
                        const TPM2B_ENCRYPTED_SECRET *encrypted, TPM2B_DIGEST **value)
{
    const TPMA_SESSION plain = TPMA_SESSION_CONTINUESESSION;
    TSS2_RC rc = Esys_TRSess_SetAttributes(t->esys, t->session, plain | TPMA_SESSION_ENCRYPT, 0xff);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    TPM_REPEAT(rc, Esys_ActivateCredential(t->esys, t->ak, t->ek, t->session, ek_auth, ESYS_TR_NONE,
                                           id, encrypted, value));
    TSS2_RC reset = Esys_TRSess_SetAttributes(t->esys, t->session, plain, 0xff);
    return rc != TSS2_RC_SUCCESS ? rc : reset;
}

struct err tpm_activate(struct tpm *t, struct buf *secret, struct bytes id_object,
                        struct bytes encrypted_secret)
{
    if (t->session == ESYS_TR_NONE)
        return err_set(ERR_USAGE, "the TPM's keys are not loaded");
    TPM2B_ID_OBJECT id = {0};
    TPM2B_ENCRYPTED_SECRET encrypted = {0};
    TRY(parse_credential(&id, &encrypted, id_object, encrypted_secret));
    ESYS_TR ek_auth = ESYS_TR_NONE;
    TRY(ek_authorisation(t, &ek_auth));
    ESYS_AUTO TPM2B_DIGEST *value = NULL;
    TSS2_RC rc = activate(t, ek_auth, &id, &encrypted, &value);
    if (ek_auth != ESYS_TR_PASSWORD)
        Esys_FlushContext(t->esys, ek_auth);
    if (credential_refused(t, rc))
        return err_set(ERR_UNTRUE, "the credential is not for this TPM's keys");
    TRY(tpm_error(t, rc, "TPM2_ActivateCredential"));
    buf_append(secret, value->buffer, value->size);
    OPENSSL_cleanse(value->buffer, sizeof value->buffer);
    return err_ok();
}
