/*
 * Rule 8: the boot PCRs, by the values that the policy allows or by the events that lead to them.
 */
#include "attest/rules.h"

#include <stdio.h>
#include <string.h>

#include "attest/eventlog.h"

/* One extended event: counted, and the first of its PCR that the policy does not allow kept. */
static void take_event(struct rule_boot_log *out, size_t number, unsigned pcr,
                       const uint8_t digest[SHA256_LEN], const struct policy *p)
{
    struct rule_boot_events *events = &out->pcrs[pcr];
    const struct policy_pcr *allowed = &p->boot[pcr];
    events->n++;
    if (events->foreign != 0 ||
        policy_find_hash(allowed->events, allowed->n_events, digest) != NULL)
        return;
    events->foreign = number;
    memcpy(events->foreign_digest, digest, SHA256_LEN);
}

static struct err explain(struct rule_boot_log *out, struct bytes blob, const struct policy *p)
{
    const struct pcr_bank *bank = pcr_bank_of(TPM_ALG_SHA256_ID);
    __attribute__((cleanup(eventlog_cleanup))) struct eventlog log = EVENTLOG_INIT;
    struct eventlog_pcrs pcrs;
    TRY(eventlog_parse(&log, blob));
    TRY(eventlog_replay(&pcrs, &log, bank)); /* every extended event has a digest from here on */
    for (size_t i = 0; i < log.n_events; i++) {
        const struct eventlog_event *event = &log.events[i];
        if (eventlog_extends(event) && event->pcr < N_BOOT_PCRS)
            take_event(out, i + 1, event->pcr, eventlog_digest(&log, event, bank).data, p);
    }
    for (unsigned i = 0; i < N_BOOT_PCRS; i++)
        memcpy(out->pcrs[i].value, pcrs.values[i], SHA256_LEN);
    return err_ok();
}

struct err rule_boot_log_read(struct rule_boot_log *out, const struct statement_boot *b,
                              const struct policy *p, rule_blob_source *blobs, void *context)
{
    struct rule_boot_log result = {.there = b->has_event_log && policy_wants_events(p)};
    BUF_AUTO blob = BUF_INIT;
    if (result.there) {
        TRY(err_context(blobs(context, &b->event_log, &blob), "the boot's event log"));
        struct err e = explain(&result, buf_bytes(&blob), p);
        if (e.code == ERR_MEMORY)
            return e;
        if (is_err(e))
            snprintf(result.flaw, sizeof result.flaw, "%s", err_message());
    }
    *out = result;
    return err_ok();
}

/* "PCR 4: <what> <hex> <rest>" */
static struct err untrue(unsigned pcr, const char *what, const uint8_t hash[SHA256_LEN],
                         const char *rest)
{
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(hash, SHA256_LEN));
    return err_set(ERR_UNTRUE, "PCR %u: %s %s, %s", pcr, what, buf_str(&hex), rest);
}

/* Section 9.1, 3: a value that the policy does not name is what allowed events lead to. */
static struct err check_events(unsigned pcr, const uint8_t value[SHA256_LEN],
                               const struct rule_boot_log *log)
{
    const struct rule_boot_events *events = &log->pcrs[pcr];
    char what[64];
    if (!log->there)
        return untrue(pcr, "the value is", value,
                      "which the policy does not allow, and the boot statement names no event log");
    if (log->flaw[0] != '\0')
        return err_set(ERR_UNTRUE, "PCR %u: the boot's event log explains nothing: %s", pcr,
                       log->flaw);
    if (events->n == 0)
        return untrue(pcr, "the value is", value,
                      "which the policy does not allow, and no event of the log extends it");
    snprintf(what, sizeof what, "event %zu of the boot's log extends", events->foreign);
    if (events->foreign != 0)
        return untrue(pcr, what, events->foreign_digest, "which the policy does not allow");
    if (memcmp(events->value, value, SHA256_LEN) != 0)
        return untrue(pcr, "the value is", value, "and the event log does not replay to it");
    return err_ok();
}

static bool all_zero(const uint8_t value[SHA256_LEN])
{
    static const uint8_t zero[SHA256_LEN];
    return memcmp(value, zero, SHA256_LEN) == 0;
}

/* Whether the PCR was measured at all. */
static struct err check_zero(struct rule_boot_pcrs *out, unsigned pcr,
                             const uint8_t value[SHA256_LEN], bool test)
{
    if (!all_zero(value))
        return err_ok();
    if (!test && (pcr == 4 || pcr >= 8))
        return err_set(ERR_UNTRUE,
                       "PCR %u is zero: nothing was measured there, which only a test root excuses",
                       pcr);
    out->zero |= (uint16_t)(1u << pcr);
    return err_ok();
}

struct err rule_boot_values(struct rule_boot_pcrs *out, const struct pcr_values *pcrs,
                            const struct rule_boot_log *log, const struct policy *p, bool test)
{
    struct rule_boot_pcrs result = {0};
    for (unsigned i = 0; i < N_BOOT_PCRS; i++) {
        const struct policy_pcr *allowed = &p->boot[i];
        const uint8_t *value = pcrs->values[i];
        uint16_t bit = (uint16_t)(1u << i);
        if (allowed->ignored) {
            result.ignored |= bit;
            continue;
        }
        if (policy_find_hash(allowed->values, allowed->n_values, value) == NULL) {
            if (allowed->n_events == 0)
                return untrue(i, "the value is", value, "which the policy does not allow");
            TRY(check_events(i, value, log));
            result.explained |= bit;
        }
        TRY(check_zero(&result, i, value, test));
    }
    *out = result;
    return err_ok();
}
