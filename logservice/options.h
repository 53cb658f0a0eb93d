/*
 * Command lines that subcommands share: --db FILE and, where witnesses count, --witnesses FILE.
 */
#ifndef LOGSERVICE_OPTIONS_H
#define LOGSERVICE_OPTIONS_H

#include <argp.h>

#include "transparency/store.h"

/* A command's argp has log_argp as a child with this as its input. */
struct log_options {
    const char *db;        /* default log.db */
    const char *witnesses; /* NULL: nobody cosigns this log */
};
extern const struct argp log_argp;

/* The witness policy of the options; `quorum none` without one. A log line that the policy has must
 * be the log's of this vkey. */
struct err log_options_policy(struct tlog_policy *out, const struct log_options *o,
                              const char *vkey) MUST_USE;

/* A store that is closed at the end of its scope. */
void store_free(struct store **s);
#define STORE_AUTO __attribute__((cleanup(store_free))) struct store

#endif
