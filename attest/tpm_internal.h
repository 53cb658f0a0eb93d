/*
 * What the files of `attest_tpm` share; nobody else includes this, nor <tss2/...>.
 */
#ifndef ATTEST_TPM_INTERNAL_H
#define ATTEST_TPM_INTERNAL_H

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "attest/tpm.h"

struct tpm {
    ESYS_CONTEXT *esys;
    TSS2_TCTI_CONTEXT *tcti;
    char name[256]; /* the TCTI string, for messages */
    bool managed;   /* a resource manager keeps our handles apart from others' */
    ESYS_TR ak, ek; /* ESYS_TR_NONE until tpm_keys */
    bool ak_is_persistent;
    uint32_t reset_offset, restart_offset; /* of attested counts over the clock's */
    bool ek_is_persistent;                 /* found at its handle, not made by us */
    bool ek_needs_policy; /* low-range templates: PolicySecret of the endorsement hierarchy */
    bool failed;          /* a command did, for good */
    ESYS_TR session;      /* HMAC, salted with the EK; ESYS_TR_NONE until tpm_keys */
    struct tpm_public ak_public;
};

/* Owning locals of ESYS results. */
void esys_free(void *pointer_to_pointer);
#define ESYS_AUTO __attribute__((cleanup(esys_free)))

/* Whether `rc` asks for another try; sleeps before it says so. `attempt` counts from 0. */
bool tpm_try_again(TSS2_RC rc, unsigned attempt);
/* Repeats `call` while the TPM asks for it, within a bound; its last code is in `rc`. */
#define TPM_REPEAT(rc, call)                                                                       \
    for (unsigned attempt_ = 0; ((rc) = (call)) != TSS2_RC_SUCCESS; attempt_++) {                  \
        if (!tpm_try_again((rc), attempt_))                                                        \
            break;                                                                                 \
    }

/* The error of a response code: ok for success. `what` names the command and its object. */
struct err tpm_error(struct tpm *t, TSS2_RC rc, const char *what) MUST_USE;
/* The TPM's own code without layer, handle, parameter and session numbers; 0 if another layer's. */
TSS2_RC tpm_base_code(TSS2_RC rc);

/* Flushes what earlier users of the TPM left loaded; nothing where there is a resource manager. */
struct err tpm_flush_leftovers(struct tpm *t) MUST_USE;

/* The authorisation to use for our own keys and the owner: the salted session once there is one. */
ESYS_TR tpm_auth(const struct tpm *t);

/* Sets the EK handle for the certificate's key: where the platform keeps it, or created with the
 * template of its type. */
struct err tpm_load_ek(struct tpm *t, struct bytes certificate_der) MUST_USE;
/* The RSA-2048 one of the standard template, certified or not. */
struct err tpm_create_ek(struct tpm *t) MUST_USE;
/* Salted with the EK: whoever sits on the bus can neither change what our commands say nor read an
 * activated credential. */
struct err tpm_start_session(struct tpm *t) MUST_USE;

struct err tpm_marshal_public(struct buf *out, const TPM2B_PUBLIC *public_area) MUST_USE;
struct err tpm_marshal_signature(struct buf *out, const TPMT_SIGNATURE *signature) MUST_USE;

/* An NV index as ESYS object; ERR_NOT_FOUND. The caller closes it with tpm_nv_close. */
struct err tpm_nv_open(struct tpm *t, uint32_t index, ESYS_TR *out) MUST_USE;
void tpm_nv_close(struct tpm *t, ESYS_TR *handle);
/* All that it holds, appended; ERR_NOT_FOUND. */
struct err tpm_nv_read(struct tpm *t, uint32_t index, struct buf *out) MUST_USE;
/* The certificate that it holds, without what follows it; ERR_NOT_FOUND, ERR_MALFORMED. */
struct err tpm_nv_certificate(struct tpm *t, uint32_t index, struct buf *der) MUST_USE;

#endif
