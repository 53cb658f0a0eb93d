/*
 * The firmware's event log of this boot, as Linux keeps it, for the boot statement.
 */
#ifndef SERVER_EVENT_LOG_H
#define SERVER_EVENT_LOG_H

#include "common/buf.h"

enum { EVENT_LOG_PATH_MAX = 96 };

/* Where Linux shows the log of the TPM that `tcti` names. False where that is no device of this
 * machine: a log of another TPM would explain nothing. */
bool event_log_path(char out[EVENT_LOG_PATH_MAX], const char *tcti);

/* Appends the file, which must be an event log of at most BOOT_EVENT_LOG_MAX bytes. Messages name
 * the file. */
struct err event_log_read(struct buf *out, const char *path) MUST_USE;

#endif
