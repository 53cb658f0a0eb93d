/*
 * The checkpoint that is shown to others: the newest with the quorum of the log's witness policy,
 * its cosignatures behind it; and proofs that lead to it.
 */
#ifndef LOGSERVICE_PUBLISHED_H
#define LOGSERVICE_PUBLISHED_H

#include "transparency/store.h"
#include "transparency/tlog_proof.h"

struct published {
    struct checkpoint checkpoint;
    struct buf note;
    bool there; /* false: no checkpoint has a quorum yet */
};
#define PUBLISHED_INIT ((struct published){0})
void published_cleanup(struct published *p);
#define PUBLISHED_AUTO __attribute__((cleanup(published_cleanup))) struct published

/* Looks through the log for it. On failure `p` is as before. */
struct err published_find(struct published *p, struct store *log,
                          const struct tlog_policy *witnesses) MUST_USE;
/* Moves on to the checkpoint of that size if it is a larger one with a quorum. */
struct err published_advance(struct published *p, struct store *log,
                             const struct tlog_policy *witnesses, uint64_t size) MUST_USE;
/* A tlog-proof@v1 of that entry; ERR_NOT_FOUND if what is published does not cover it. */
struct err published_prove(struct buf *out, const struct published *p, struct store *log,
                           uint64_t index) MUST_USE;

#endif
