/*
 * The order of a start: nothing is written before the measurement is known to fit this boot.
 */
#include "server/attester_internal.h"

static struct err ensure_statements(struct attester *a)
{
    TRY(attester_ensure_host(a));
    TRY(attester_ensure_boot(a));
    return attester_ensure_identity(a);
}

struct err attester_measure(struct attester *a, const struct measurement *m)
{
    TRY(attester_compare_lanes(a, m));
    TRY(attester_check_history(a));
    /* A start that was killed between identity event and statement left that to us. */
    if (a->lanes.n_identities > 0)
        TRY(ensure_statements(a));
    TRY(attester_write_lanes(a, m));
    TRY(ensure_statements(a));
    if (!a->remote.on) /* else when the service has taken the statements */
        TRY(attester_log_quote(a));
    a->measured = true;
    return err_ok();
}
