/*
 * The publisher process: the only one of a host that makes connections to others. For a host that
 * keeps its own log it asks the log's witnesses for cosignatures and hands them to the attester,
 * which verifies and keeps them; otherwise it carries the host's statements to the log service
 * (publisher_log.h). It holds no key and no TPM, hears no client and writes no file;
 * what it says is believed by nobody.
 */
#ifndef SERVER_PUBLISHER_H
#define SERVER_PUBLISHER_H

#include "http/tls_trust.h"
#include "transparency/tlog_policy.h"

struct publisher_options {
    const struct tlog_policy *witnesses; /* NULL: there is no publisher */
    const char *log_url;                 /* NULL: the log is this host's own */
    const struct tls_trust *log_trust;   /* what the service's TLS key must be; NULL: any */
    const char *state_dir;               /* log.db is read from here */
};

/* ERR_USAGE for a policy whose witnesses cannot be asked, or who need not be (`quorum none`); with
 * a log's URL, for one that does not name one log, and for a URL that is none. */
struct err publisher_check_options(const struct publisher_options *o) MUST_USE;

/* Until CHANNEL_END, or the attester closes: both are a clean end. Enters its sandbox before it
 * makes a connection. */
struct err publisher_run(const struct publisher_options *options, int channel_fd) MUST_USE;

#endif
