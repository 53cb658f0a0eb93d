#include "attest/tpm_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ATTEMPTS_MAX = 9,
    FIRST_WAIT_MS = 10, /* doubles up to the longest */
    LONGEST_WAIT_MS = 1000,
};

void esys_free(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;
    Esys_Free(*p);
    *p = NULL;
}

TSS2_RC tpm_base_code(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER)
        return 0;
    rc &= 0xffff;
    /* Part 2, 6.6: format-one codes carry the number of a parameter, handle or session. */
    if (rc & TPM2_RC_FMT1)
        return rc & (TPM2_RC_FMT1 | 0x3f);
    return rc;
}

bool tpm_try_again(TSS2_RC rc, unsigned attempt)
{
    switch (tpm_base_code(rc)) {
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_NV_RATE:
        break;
    default:
        return false;
    }
    if (attempt >= ATTEMPTS_MAX)
        return false;
    long ms = (long)FIRST_WAIT_MS << attempt;
    if (ms > LONGEST_WAIT_MS)
        ms = LONGEST_WAIT_MS;
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
    return true;
}

/* What a person can do about a code; "" where the code's own text says it all. */
static const char *remedy(TSS2_RC rc)
{
    switch (tpm_base_code(rc)) {
    case TPM2_RC_LOCKOUT:
        return "; the TPM is in dictionary-attack lockout: wait, or reset it with its lockout "
               "password (tpm2_dictionarylockout --clear-lockout)";
    case TPM2_RC_BAD_AUTH:
    case TPM2_RC_AUTH_FAIL:
        return "; the owner or endorsement hierarchy has a password: this project needs both empty";
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_OBJECT_HANDLES:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_SESSION_HANDLES:
        return "; another program holds the TPM's slots: use the resource manager "
               "(device:/dev/tpmrm0), or end that program";
    case TPM2_RC_NV_SPACE:
        return "; the TPM has no room for the boot counter: remove NV indices that nobody needs";
    case TPM2_RC_FAILURE:
        return "; the TPM is in failure mode: power-cycle the host";
    case TPM2_RC_REFERENCE_H0:
    case TPM2_RC_REFERENCE_S0:
        return "; our keys are gone from the TPM: it was reset, or another program flushed them";
    default:
        return "";
    }
}

struct err tpm_error(struct tpm *t, TSS2_RC rc, const char *what)
{
    if (rc == TSS2_RC_SUCCESS)
        return err_ok();
    t->failed = true;
    return err_set(ERR_IO, "TPM %s: %s: %s (0x%08x)%s", t->name, what, Tss2_RC_Decode(rc),
                   (unsigned)rc, remedy(rc));
}

static struct err no_tpm(const struct tpm *t, TSS2_RC rc)
{
    return err_set(ERR_IO,
                   "no TPM at %s: %s (0x%08x). For a TPM of the machine: is it switched on in the "
                   "firmware, is /dev/tpmrm0 there, may this user open it (group tss)? For a "
                   "software TPM: is swtpm running (tests/software_tpm.sh start DIR prints the "
                   "address), is libtss2-tcti-swtpm0 installed?",
                   t->name, Tss2_RC_Decode(rc), (unsigned)rc);
}

/* tpm2-tss loads any library that an address names, and one of its own runs programs: whoever may
 * choose the TPM must not thereby choose code that runs in here. */
static struct err check_kind(const char *tcti)
{
    static const char *const kinds[] = {"device", "swtpm", "mssim", "tabrmd"};
    size_t len = strcspn(tcti, ":");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i]) == len && memcmp(tcti, kinds[i], len) == 0)
            return err_ok();
    return err_set(ERR_USAGE,
                   "the TPM's address '%.200s' is of no known kind: give device:..., swtpm:..., "
                   "mssim:... or tabrmd:...",
                   tcti);
}

static struct err connect_and_start(struct tpm *t)
{
    TSS2_RC rc = Tss2_TctiLdr_Initialize(t->name, &t->tcti);
    if (rc != TSS2_RC_SUCCESS)
        return no_tpm(t, rc);
    rc = Esys_Initialize(&t->esys, t->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return no_tpm(t, rc);
    TPM_REPEAT(rc, Esys_Startup(t->esys, TPM2_SU_CLEAR));
    if (rc != TSS2_RC_SUCCESS && tpm_base_code(rc) == 0)
        return no_tpm(t, rc);
    if (tpm_base_code(rc) == TPM2_RC_INITIALIZE)
        rc = TSS2_RC_SUCCESS; /* the firmware or an earlier user did it */
    return tpm_error(t, rc, "TPM2_Startup");
}

struct err tpm_open(struct tpm **out, const char *tcti)
{
    TRY(check_kind(tcti));
    /* The library prints to stderr what our errors say better. */
    setenv("TSS2_LOG", "all+none", 0);
    struct tpm *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(ERR_MEMORY, "out of memory");
    if (strlen(tcti) >= sizeof t->name) {
        free(t);
        return err_set(ERR_LIMIT, "the TPM's address is longer than %zu bytes", sizeof t->name - 1);
    }
    snprintf(t->name, sizeof t->name, "%s", tcti);
    t->managed = strstr(tcti, "tpmrm") || strstr(tcti, "tabrmd");
    t->ak = t->ek = t->session = ESYS_TR_NONE;
    struct err e = connect_and_start(t);
    if (is_err(e)) {
        tpm_close(t);
        return e;
    }
    *out = t;
    return err_ok();
}

static void flush(struct tpm *t, ESYS_TR *handle)
{
    if (*handle != ESYS_TR_NONE)
        Esys_FlushContext(t->esys, *handle);
    *handle = ESYS_TR_NONE;
}

void tpm_close(struct tpm *t)
{
    if (!t)
        return;
    if (t->esys) {
        flush(t, &t->session);
        if (!t->ak_is_persistent)
            flush(t, &t->ak);
        if (!t->ek_is_persistent)
            flush(t, &t->ek);
        Esys_Finalize(&t->esys);
    }
    if (t->tcti)
        Tss2_TctiLdr_Finalize(&t->tcti);
    tpm_public_cleanup(&t->ak_public);
    free(t);
}

bool tpm_has_failed(const struct tpm *t)
{
    return t->failed;
}

ESYS_TR tpm_auth(const struct tpm *t)
{
    return t->session == ESYS_TR_NONE ? ESYS_TR_PASSWORD : t->session;
}

struct err tpm_clock_read(struct tpm *t, struct tpm_clock *out)
{
    ESYS_AUTO TPMS_TIME_INFO *now = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_ReadClock(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &now));
    TRY(tpm_error(t, rc, "TPM2_ReadClock"));
    *out = (struct tpm_clock){
        .clock_ms = now->clockInfo.clock,
        .reset_count = now->clockInfo.resetCount + t->reset_offset,
        .restart_count = now->clockInfo.restartCount + t->restart_offset,
        .safe = now->clockInfo.safe,
    };
    return err_ok();
}
