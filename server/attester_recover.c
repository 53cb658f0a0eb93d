/*
 * A TPM that failed and is asked for again: nothing of before is believed, all is read, compared
 * and measured as in a start. That the TPM is gone is told apart from all else that may end us: a
 * log that cannot be written, or a TPM that says something else than it must, leaves nothing to go
 * on with.
 */
#include "server/attester_internal.h"

enum {
    ATTEMPTS_MAX = 64, /* about an hour */
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 60000,
};

unsigned attester_pause_ms(unsigned n)
{
    unsigned ms = FIRST_PAUSE_MS;
    if (n >= ATTEMPTS_MAX)
        return 0;
    for (; n > 0 && ms < LONGEST_PAUSE_MS; n--)
        ms *= 2;
    return ms < LONGEST_PAUSE_MS ? ms : LONGEST_PAUSE_MS;
}

struct err attester_begin_tpm(struct attester *a)
{
    TRY(attester_open_tpm(a));
    TRY(attester_open_runtime(a));
    TRY(attester_load_tpm_keys(a));
    TRY(attester_complete_runtime(a));
    if (a->remote.on)
        attester_take_history(a);
    else
        TRY(attester_read_history(a, &a->history, a->head.size));
    return attester_load_activations(a);
}

/* A log that fails has the same code: without a connection it is the TPM that could not be opened.
 */
bool attester_tpm_is_to_blame(const struct attester *a, struct err e)
{
    return e.code == ERR_IO && (a->tpm == NULL || tpm_has_failed(a->tpm));
}

static void forget_tpm(struct attester *a)
{
    tpm_close(a->tpm);
    a->tpm = NULL;
    buf_clear(&a->ak_public);
    buf_clear(&a->ek_certificate);
    buf_clear(&a->ak_certificate);
    for (size_t i = 0; i < a->n_activations; i++)
        buf_clear(&a->activations[i]);
    a->n_activations = 0;
    runtime_log_cleanup(&a->runtime);
    a->lanes = (struct lanes){0};
    a->history = (struct history){0};
    evidence_cleanup(&a->evidence);
}

struct err attester_try_again(struct attester *a)
{
    __attribute__((cleanup(measurement_cleanup))) struct measurement m = {0};
    TRY(measurement_decode(&m, buf_bytes(&a->measurement)));
    forget_tpm(a);
    TRY(attester_begin_tpm(a));
    TRY(attester_measure(a, &m));
    a->next_quote_ms =
        a->remote.on ? 0 : a->next_quote_ms; /* due now, where it waits for its log */
    return err_ok();
}
