#include "auditor/eventlog_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "auditor/command.h"

static void append_event(struct buf *out, const struct eventlog *log, size_t i,
                         const struct pcr_bank *bank)
{
    const struct eventlog_event *event = &log->events[i];
    struct bytes digest = eventlog_digest(log, event, bank);
    bool verified = eventlog_data_verified(log, event, bank);
    if (eventlog_extends(event))
        buf_printf(out, "%5zu  %2u  ", i + 1, (unsigned)event->pcr);
    else
        buf_printf(out, "%5zu   -  ", i + 1);
    if (eventlog_extends(event) && digest.len > 0)
        buf_append_hex(out, digest);
    else
        buf_printf(out, "%-*s", (int)(2 * bank->len),
                   eventlog_extends(event) ? "no digest in this bank" : "not extended");
    buf_printf(out, " %c %s\n", verified ? '+' : ' ', eventlog_type_name(event->type));
}

static void append_bank(struct buf *out, const struct eventlog *log, const struct pcr_bank *bank)
{
    struct eventlog_pcrs pcrs;
    buf_printf(out, "\n%s%s\n", bank->name,
               tpm_hash(bank->alg) == NULL ? " (printed only: its hash is broken)" : "");
    if (is_err(eventlog_replay(&pcrs, log, bank))) {
        buf_printf(out, "  explains nothing: %s\n", err_message());
        return;
    }
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        if ((pcrs.extended >> i & 1) == 0)
            continue;
        buf_printf(out, "  PCR %2u  ", i);
        buf_append_hex(out, bytes_of(pcrs.values[i], bank->len));
        buf_append_str(out, "\n");
    }
}

void eventlog_text(struct buf *out, const struct eventlog *log, const struct pcr_bank *bank)
{
    buf_printf(out,
               "%zu events, %s, startup locality %u\n"
               "Digests are of %s. +: the event's data is what was measured. Types are never "
               "measured.\n\nevent PCR  digest\n",
               log->n_events, log->agile ? "crypto-agile" : "legacy (SHA-1)",
               (unsigned)log->locality, bank->name);
    for (size_t i = 0; i < log->n_events; i++)
        append_event(out, log, i, bank);
    for (size_t i = 0; i < log->n_algs; i++)
        if (pcr_bank_of(log->algs[i].alg) != NULL)
            append_bank(out, log, pcr_bank_of(log->algs[i].alg));
        else
            buf_printf(out, "\nalgorithm 0x%04x: not known here\n", log->algs[i].alg);
}

/* Out of memory ends the process in command_json, which is given what is NULL. */
static json_t *bank_json(const struct eventlog *log, const struct pcr_bank *bank)
{
    json_t *values = json_object();
    struct eventlog_pcrs pcrs;
    if (is_err(eventlog_replay(&pcrs, log, bank)))
        return values;
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        char key[8];
        BUF_AUTO hex = BUF_INIT;
        if ((pcrs.extended >> i & 1) == 0)
            continue;
        snprintf(key, sizeof key, "%u", i);
        buf_append_hex(&hex, bytes_of(pcrs.values[i], bank->len));
        if (json_object_set_new(values, key, json_string(buf_str(&hex))) != 0)
            abort();
    }
    return values;
}

void eventlog_json(struct buf *out, const struct eventlog *log)
{
    json_t *banks = json_object();
    for (size_t i = 0; i < log->n_algs; i++) {
        const struct pcr_bank *bank = pcr_bank_of(log->algs[i].alg);
        if (bank != NULL && json_object_set_new(banks, bank->name, bank_json(log, bank)) != 0)
            abort();
    }
    command_json(out, json_pack("{s:I,s:o}", "events", (json_int_t)log->n_events, "pcrs", banks));
}
