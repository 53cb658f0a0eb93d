/*
 * An event log as the lines of a policy (docs/FORMATS.md section 7), for people to read before they
 * use them: what a host was booted with is not what it should be booted with.
 */
#ifndef ATTEST_EVENTLOG_POLICY_H
#define ATTEST_EVENTLOG_POLICY_H

#include "attest/attested.h"
#include "attest/eventlog.h"

enum { EVENTLOG_POLICY_ALL = 0x1fff }; /* PCRs 0 to 12 */

/* `boot-event <pcr> <digest>` for what the log extends into the PCRs whose bits are set in `which`,
 * each once, in the SHA-256 bank. ERR_NOT_FOUND or ERR_UNTRUE where that bank cannot be replayed,
 * ERR_LIMIT for more events than a policy holds. */
struct err eventlog_policy_lines(struct buf *out, const struct eventlog *log,
                                 uint16_t which) MUST_USE;

/* The PCRs of 0 to 12 whose values the log leads to. Errors as above. */
struct err eventlog_explains(uint16_t *out, const struct eventlog *log,
                             const struct pcr_values *values) MUST_USE;

#endif
