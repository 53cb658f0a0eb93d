/*
 * Memory that held prompts and answers is wiped when it is freed: jansson (parsed requests),
 * libevent (HTTP buffers) and OpenSSL (TLS records) get allocators that zero before they free.
 * Buffers of our own are wiped with buf_cleanup_secret.
 */
#ifndef SERVER_FRONT_MEMORY_H
#define SERVER_FRONT_MEMORY_H

#include "common/err.h"

/* Before the first use of the three libraries in this process. */
struct err front_memory_wipe_on_free(void) MUST_USE;

/* No core dump, not dumpable (so not traceable by other processes of the user). */
struct err front_memory_private(void) MUST_USE;

/* Locks all pages, now and later, so that nothing is swapped. False where the limit of locked
 * memory does not allow it: that is worth a line in the log, no reason to stop. */
bool front_memory_lock(void);

#endif
