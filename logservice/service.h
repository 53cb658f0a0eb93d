/*
 * The log service: one log for many hosts. One thread writes and serves (the event loop); a thread
 * for each witness asks it for cosignatures. docs/FORMATS.md section 10.
 */
#ifndef LOGSERVICE_SERVICE_H
#define LOGSERVICE_SERVICE_H

#include "attest/policy.h"
#include "transparency/tlog_policy.h"

struct service;

enum { SERVICE_QUORUM_WAIT_S = 30 };

struct service_config {
    const char *db;
    const struct note_signer *signer;
    const struct policy *admission;      /* NULL: the log takes no statements */
    const struct tlog_policy *witnesses; /* `quorum none` for a log without */
    const char *listen;
    const char *tls_certificate, *tls_key; /* PEM files; NULL: a key is made for this run */
    unsigned quorum_wait_s; /* an answer waits so long for witnesses; 0: SERVICE_QUORUM_WAIT_S */
    unsigned drain_s; /* so long, once it stops, for answers that are due; 0: SERVING_DRAIN_S */
};

/* Opens the log and asks each witness for the newest checkpoint: ERR_UNTRUE if one knows a larger
 * log or another history. Witnesses that do not answer are named on standard error. */
struct err service_open(struct service **out, const struct service_config *config) MUST_USE;
/* Prints "listening on <url>" to standard output; returns after SIGTERM or SIGINT, or with the
 * failure that ended it, in both cases when the answers that are due have left or `drain_s` is
 * over: no client can keep a failed log from its new start. */
struct err service_run(struct service *s) MUST_USE;
void service_free(struct service *s);

#endif
