/*
 * An event log for people, for programs, and as the lines of a policy.
 */
#ifndef AUDITOR_EVENTLOG_TEXT_H
#define AUDITOR_EVENTLOG_TEXT_H

#include "attest/eventlog.h"

/* A line an event, with its digest in `bank`, then the PCRs of every bank of the log. */
void eventlog_text(struct buf *out, const struct eventlog *log, const struct pcr_bank *bank);

/* {"events":N,"pcrs":{"sha256":{"0":"<hex>",..},..}}: the PCRs that the log extends. A bank whose
 * digest an event lacks explains nothing, and is empty. */
void eventlog_json(struct buf *out, const struct eventlog *log);

/* `boot-event <pcr> <digest>` (docs/FORMATS.md section 7) for what the log extends into PCRs 0 to
 * 12, each once, in the SHA-256 bank. ERR_NOT_FOUND or ERR_UNTRUE where that bank cannot be
 * replayed. */
struct err eventlog_policy_lines(struct buf *out, const struct eventlog *log) MUST_USE;

#endif
