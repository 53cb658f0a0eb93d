/*
 * Answers that never change (tiles, entry bundles, blobs), kept in memory once they were read from
 * the log and checked: up to SHELF_BYTES of them, the ones asked for last. What a client still
 * reads stays until it has left, beside that. For one thread.
 */
#ifndef LOGSERVICE_SHELF_H
#define LOGSERVICE_SHELF_H

#include "common/buf.h"

enum { SHELF_BYTES = 64 * 1024 * 1024, SHELF_KEY_MAX = 95 };

struct shelf; /* opaque */

struct err shelf_new(struct shelf **out) MUST_USE;
void shelf_free(struct shelf *s);

/* Bytes with more than one owner. */
struct shelved {
    struct buf bytes;
    unsigned n_owners;
};
void shelved_let_go(struct shelved *v);

/* NULL if it is not there. The caller becomes an owner. */
struct shelved *shelf_find(struct shelf *s, const char *key);
/* Takes `bytes`; the caller becomes an owner. Nothing is kept of what would take more than an
 * eighth of all room, or has too long a key. */
struct shelved *shelf_put(struct shelf *s, const char *key, struct buf *takes);

#endif
