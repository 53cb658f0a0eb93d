#include "server/front_policy.h"

#include <string.h>

struct err front_policy_draft(struct buf *out, const struct front_options *front,
                              const struct attester_options *attester,
                              const char *const *activators, const char *kind)
{
    BUF_AUTO host = BUF_INIT, measured = BUF_INIT;
    TRY(attester_policy_lines(attester, strcmp(kind, "test") == 0, &host));
    TRY(front_policy_lines(&measured, front));
    buf_append_str(out, "blindllama-policy/v1\n");
    buf_append_str(
        out,
        "# A draft by the host itself, of what it found on itself. As long as nobody has\n"
        "# compared it with what was built and downloaded elsewhere, it proves nothing: a host\n"
        "# that lies would print a policy that fits its lie.\n");
    buf_append_bytes(out, buf_bytes(&host));
    if (attester->witnesses != NULL)
        tlog_policy_format_quorum(out, attester->witnesses);
    else
        buf_append_str(out, "# No witnesses: the log is its operator's word.\nquorum none\n");
    buf_append_str(out, "# No signed releases: the code line pins the code.\nrelease none\n");
    for (size_t i = 0; i < attester->n_activators; i++)
        buf_printf(out, "activator %s\n", activators[i]);
    buf_append_bytes(out, buf_bytes(&measured));
    uint64_t interval = front->quote_interval_s;
    buf_printf(out, "max-interval %llu\nmax-age %llu\n", (unsigned long long)interval,
               (unsigned long long)(3 * interval + 60));
    return err_ok();
}
