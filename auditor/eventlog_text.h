/*
 * An event log for people and for programs.
 */
#ifndef AUDITOR_EVENTLOG_TEXT_H
#define AUDITOR_EVENTLOG_TEXT_H

#include "attest/eventlog.h"

/* A line an event, with its digest in `bank`, then the PCRs of every bank of the log. */
void eventlog_text(struct buf *out, const struct eventlog *log, const struct pcr_bank *bank);

/* {"events":N,"pcrs":{"sha256":{"0":"<hex>",..},..}}: the PCRs that the log extends. A bank whose
 * digest an event lacks explains nothing, and is empty. */
void eventlog_json(struct buf *out, const struct eventlog *log);

#endif
