/* Any bytes as an event log: every event lies within it, in order, and every bank is replayed. */
#include <stdlib.h>

#include "attest/eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_events(const struct eventlog *log, size_t len)
{
    size_t last = 0;
    for (size_t i = 0; i < log->n_events; i++) {
        const struct eventlog_event *event = &log->events[i];
        if ((i > 0 && event->offset <= last) || event->offset >= len || event->data.len >= len)
            abort();
        last = event->offset;
    }
}

static void replay_all(const struct eventlog *log)
{
    for (size_t i = 0; i < log->n_algs; i++) {
        const struct pcr_bank *bank = pcr_bank_of(log->algs[i].alg);
        struct eventlog_pcrs pcrs;
        if (bank == NULL || is_err(eventlog_replay(&pcrs, log, bank)))
            continue;
        for (size_t k = 0; k < log->n_events; k++)
            if (eventlog_extends(&log->events[k]) &&
                eventlog_digest(log, &log->events[k], bank).len != bank->len)
                abort();
        if (log->n_events > 0)
            eventlog_data_verified(log, &log->events[0], bank);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct eventlog log;
    if (is_err(eventlog_parse(&log, bytes_of(data, len))))
        return 0;
    check_events(&log, len);
    replay_all(&log);
    eventlog_cleanup(&log);
    return 0;
}
