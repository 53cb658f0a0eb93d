/*
 * The parent of front, attester and, where the log has witnesses, publisher: binds the address,
 * forks them, and keeps them one thing. One that ends without being asked ends the others and the
 * program.
 */
#ifndef SERVER_SUPERVISOR_H
#define SERVER_SUPERVISOR_H

#include "server/attester.h"
#include "server/front.h"
#include "server/publisher.h"

struct server_options {
    const char *listen;
    struct front_options front;
    struct attester_options attester;
    struct publisher_options publisher; /* its `witnesses` NULL: there is none */
};

/* Exit codes of the program. */
enum { EXIT_CLEAN = 0, EXIT_FAILED = 1, EXIT_NOT_STARTED = 2 };

/* The program's exit code. SIGTERM or SIGINT: a clean stop; the second one: at once. Messages go to
 * stderr. Returns in the children too, with theirs. */
int supervisor_run(const struct server_options *options);

#endif
