/*
 * A thread for each witness of a log: it asks for a cosignature whenever the log has grown, with a
 * connection and a reading view of the log of its own, and hands what it got to the log's thread.
 * A witness that fails is asked again, less and less often; one that raises an alarm is not.
 */
#ifndef PUBLISH_WITNESS_LINK_H
#define PUBLISH_WITNESS_LINK_H

#include "publish/witness_client.h"

struct witness_link;

struct witness_result {
    const struct tlog_policy_witness *witness;
    struct err e;      /* ERR_UNTRUE: an alarm; the link has stopped */
    char message[512]; /* of the error */
    struct witness_line line;
};

/* Called on the link's own thread; takes what `result` holds. */
typedef void witness_link_take(void *context, struct witness_result *result);

/* Asks the witness once, here and now: for the start of a log. ERR_USAGE for a URL that is none. */
struct err witness_link_ask_once(struct witness_line *out, const char *db,
                                 const struct tlog_policy_witness *witness) MUST_USE;

/* Opens the log's file `db` for its reading view, so that a process may give up opening files
 * before anything is asked. `witness` is borrowed. */
struct err witness_link_open(struct witness_link **out, const char *db,
                             const struct tlog_policy_witness *witness, witness_link_take *take,
                             void *context) MUST_USE;
/* Starts the thread. */
struct err witness_link_start(struct witness_link *l) MUST_USE;
/* The log has this size now. */
void witness_link_wake(struct witness_link *l, uint64_t size);
/* Waits for the thread, if it was started: at most as long as a request takes. */
void witness_link_stop(struct witness_link *l);

#endif
