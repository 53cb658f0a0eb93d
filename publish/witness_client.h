/*
 * One log's side of tlog-witness: asking one witness for its cosignature of the log's newest
 * checkpoint. The transport is the caller's, so that every answer can be tried in a test.
 */
#ifndef PUBLISH_WITNESS_CLIENT_H
#define PUBLISH_WITNESS_CLIENT_H

#include "transparency/store.h"
#include "transparency/witness.h"

enum { WITNESS_ANSWER_MAX = 64 * 1024 };

struct witness_client {
    struct store *log; /* read-only is enough */
    const struct tlog_policy_witness *witness;
    uint64_t known_size; /* what the witness has cosigned last, as far as is known: from 0 */
};

/* POSTs the body to the witness's add-checkpoint; fails where there was no answer. */
typedef struct err witness_post(void *context, int *status, struct buf *answer, struct bytes body);

struct witness_line {
    uint64_t size;   /* of the checkpoint */
    struct buf line; /* the cosignature, verified */
};

/* Asks for the newest checkpoint. On 409 asks once more, from the size that it tells. Lines by
 * other keys are passed over. ERR_UNTRUE is an alarm: the witness knows a larger log than this
 * (which was put back to an earlier state), or another history. ERR_MALFORMED: it says 200 and
 * nothing that verifies; ERR_BUSY, ERR_IO: try later. `out` is appended to. */
struct err witness_client_ask(struct witness_client *c, struct witness_line *out,
                              witness_post *post, void *context) MUST_USE;

#endif
