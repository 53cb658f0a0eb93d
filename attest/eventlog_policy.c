#include "attest/eventlog_policy.h"

#include <string.h>

#include "attest/policy.h"

/* The events whose lines were written, so that none is written twice. */
struct written {
    size_t events[POLICY_LINES_MAX / 2]; /* two lines each */
    size_t n;
};

static bool is_written(const struct written *w, const struct eventlog *log, size_t i,
                       const struct pcr_bank *bank)
{
    struct bytes digest = eventlog_digest(log, &log->events[i], bank);
    for (size_t k = 0; k < w->n; k++) {
        const struct eventlog_event *other = &log->events[w->events[k]];
        if (other->pcr == log->events[i].pcr &&
            bytes_equal(eventlog_digest(log, other, bank), digest))
            return true;
    }
    return false;
}

static struct err append_policy_pcr(struct buf *out, struct written *w, const struct eventlog *log,
                                    unsigned pcr, const struct pcr_bank *bank)
{
    const size_t max = sizeof w->events / sizeof *w->events;
    for (size_t i = 0; i < log->n_events; i++) {
        const struct eventlog_event *event = &log->events[i];
        if (!eventlog_extends(event) || event->pcr != pcr || is_written(w, log, i, bank))
            continue;
        if (w->n == max)
            return err_set(ERR_LIMIT,
                           "event log: over %zu different events; a policy holds at "
                           "most %d lines",
                           max, POLICY_LINES_MAX);
        w->events[w->n++] = i;
        buf_printf(out, "# event %zu, %s (as the log says)\nboot-event %u ", i + 1,
                   eventlog_type_name(event->type), pcr);
        buf_append_hex(out, eventlog_digest(log, event, bank));
        buf_append_str(out, "\n");
    }
    return err_ok();
}

struct err eventlog_policy_lines(struct buf *out, const struct eventlog *log, uint16_t which)
{
    const struct pcr_bank *bank = pcr_bank_of(TPM_ALG_SHA256_ID);
    struct eventlog_pcrs pcrs;
    struct written w = {.n = 0};
    TRY(eventlog_replay(&pcrs, log, bank));
    for (unsigned pcr = 0; pcr < N_BOOT_PCRS; pcr++) {
        if ((which >> pcr & 1) == 0)
            continue;
        if ((pcrs.extended >> pcr & 1) != 0)
            TRY(append_policy_pcr(out, &w, log, pcr, bank));
        else
            buf_printf(out, "# PCR %u: no event; it needs a line boot-pcr\n", pcr);
    }
    return err_ok();
}

struct err eventlog_explains(uint16_t *out, const struct eventlog *log,
                             const struct pcr_values *values)
{
    struct eventlog_pcrs pcrs;
    uint16_t explained = 0;
    TRY(eventlog_replay(&pcrs, log, pcr_bank_of(TPM_ALG_SHA256_ID)));
    for (unsigned pcr = 0; pcr < N_BOOT_PCRS; pcr++)
        if ((pcrs.extended >> pcr & 1) != 0 &&
            memcmp(pcrs.values[pcr], values->values[pcr], SHA256_LEN) == 0)
            explained |= (uint16_t)(1U << pcr);
    *out = explained;
    return err_ok();
}
