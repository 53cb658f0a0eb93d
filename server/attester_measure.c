/*
 * The order of a start: nothing is written before the measurement is known to fit this boot.
 */
#include "server/attester_internal.h"

#include <string.h>

static struct err ensure_statements(struct attester *a)
{
    TRY(attester_ensure_host(a));
    TRY(attester_ensure_boot(a));
    return attester_ensure_identity(a);
}

/* Only of this process's own key, where the TPM came back in the same boot. A start has a new one.
 */
static bool is_last_identity(const struct attester *a, const struct measurement *m)
{
    return a->measured && a->lanes.n_identities > 0 &&
           memcmp(a->lanes.spki_sha256, m->spki_sha256, SHA256_LEN) == 0;
}

struct err attester_measure(struct attester *a, const struct measurement *m)
{
    TRY(attester_compare_lanes(a, m));
    TRY(attester_check_history(a));
    TRY(attester_find_gpus(a, m));
    /* A start that was killed between identity event and statement left that to us. */
    if (a->lanes.n_identities > 0)
        TRY(ensure_statements(a));
    if (!is_last_identity(a, m))
        TRY(attester_write_lanes(a, m));
    TRY(ensure_statements(a));
    TRY(attester_await_quorum(a));
    if (!a->remote.on) /* else when the service has taken the statements */
        TRY(attester_log_quote(a));
    a->measured = true;
    return err_ok();
}
