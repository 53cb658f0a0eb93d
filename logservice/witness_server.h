/*
 * A witness over HTTPS (docs/FORMATS.md section 8.4), and an activator beside it where it has a key
 * for that (section 10). One thread; one request is judged and kept at a time.
 */
#ifndef LOGSERVICE_WITNESS_SERVER_H
#define LOGSERVICE_WITNESS_SERVER_H

#include "attest/policy.h"
#include "transparency/witness_db.h"

struct witness_server_config {
    struct witness_db *db;
    const struct note_signer *activator; /* NULL: it activates nobody */
    const struct policy *policy;         /* the activator's: log and roots */
    const char *listen;
};

/* Prints "listening on <url>"; returns after SIGTERM or SIGINT, or with the failure that ended it.
 */
struct err witness_server_run(const struct witness_server_config *config) MUST_USE;

#endif
