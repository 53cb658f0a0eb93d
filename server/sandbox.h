/*
 * What each process of the server may no longer do, as one table: the seccomp filters are built
 * from it, and its text is measured (docs/FORMATS.md section 1, lane 14, `sandbox`).
 *
 * A call that the table denies fails with EPERM (clone3 with ENOSYS, so that libc makes its threads
 * with clone, whose flags a filter can read).
 */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include "common/buf.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_LEFT_OUT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_LEFT_OUT 1
#endif
#endif

enum sandbox_role {
    SANDBOX_FRONT = 1,    /* prompts: accepts connections, makes none, opens nothing to write */
    SANDBOX_ATTESTER = 2, /* TPM and log: accepts no connections, starts no program */
    SANDBOX_ATTESTER_DEVICE = 4, /* the same with a TPM that is a device: no sockets at all */
    SANDBOX_SUPERVISOR = 8,      /* waits and kills */
    SANDBOX_PUBLISHER = 16,      /* makes connections, accepts none, opens nothing to write */
};

/* The table, one line a rule: "<role> deny <call>[ <condition>]". */
void sandbox_text(struct buf *out);

/* For this process, all its threads, for good, with no_new_privs. In builds with AddressSanitizer,
 * whose leak checker traces the process, it does nothing, and the text says so. */
struct err sandbox_enter(enum sandbox_role role) MUST_USE;

#endif
