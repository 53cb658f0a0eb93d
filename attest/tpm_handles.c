/*
 * Without a resource manager, objects and sessions of programs that died stay in the TPM's few
 * slots (TPM_RC_OBJECT_MEMORY). They are flushed by their raw handles, with a command made by hand:
 * ESYS can only flush what it loaded itself.
 */
#include "attest/tpm_internal.h"

enum { FLUSH_COMMAND_LEN = 14, RESPONSE_MAX = 4096 };

/* Part 2, 7.2. (The library's own names for them shift into the sign of an int.) */
static const TPM2_HANDLE LOADED_SESSIONS = 0x02000000;
static const TPM2_HANDLE SAVED_SESSIONS = 0x03000000;
static const TPM2_HANDLE TRANSIENT_OBJECTS = 0x80000000;

static TSS2_RC flush_raw(struct tpm *t, TPM2_HANDLE handle)
{
    BUF_AUTO command = BUF_INIT;
    buf_append_u16be(&command, TPM2_ST_NO_SESSIONS);
    buf_append_u32be(&command, FLUSH_COMMAND_LEN);
    buf_append_u32be(&command, TPM2_CC_FlushContext);
    buf_append_u32be(&command, handle);
    TSS2_RC rc = Tss2_Tcti_Transmit(t->tcti, command.len, command.data);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    uint8_t response[RESPONSE_MAX];
    size_t len = sizeof response;
    rc = Tss2_Tcti_Receive(t->tcti, &len, response, TSS2_TCTI_TIMEOUT_BLOCK);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    struct reader r = reader_of(bytes_of(response, len));
    read_u16be(&r);
    read_u32be(&r);
    TSS2_RC code = read_u32be(&r);
    return r.failed ? TSS2_ESYS_RC_GENERAL_FAILURE : code;
}

/* Flushes every handle of the range that begins at `first`. */
static struct err flush_range(struct tpm *t, TPM2_HANDLE first)
{
    ESYS_AUTO TPMS_CAPABILITY_DATA *data = NULL;
    TSS2_RC rc;
    TPM_REPEAT(rc, Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                      TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, NULL, &data));
    TRY(tpm_error(t, rc, "TPM2_GetCapability of loaded handles"));
    for (uint32_t i = 0; i < data->data.handles.count; i++) {
        TPM2_HANDLE handle = data->data.handles.handle[i];
        TPM_REPEAT(rc, flush_raw(t, handle));
        TRY(tpm_error(t, rc, "TPM2_FlushContext of a leftover handle"));
    }
    return err_ok();
}

struct err tpm_flush_leftovers(struct tpm *t)
{
    if (t->managed)
        return err_ok();
    TRY(flush_range(t, TRANSIENT_OBJECTS));
    TRY(flush_range(t, LOADED_SESSIONS));
    return flush_range(t, SAVED_SESSIONS);
}
