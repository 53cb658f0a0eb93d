/*
 * Proofs over a log that somebody else keeps, made from its hash tiles (C2SP tlog-tiles). Nothing
 * of what comes is believed here: a wrong tile makes a proof that does not verify.
 */
#ifndef PUBLISH_TILE_PROOFS_H
#define PUBLISH_TILE_PROOFS_H

#include "transparency/merkle.h"
#include "transparency/tiles.h"

/* Appends the bytes of the tile, exactly width * 32; the caller's transport. */
typedef struct err tile_fetch(void *context, const struct tile *tile, struct buf *out);

struct tile_proofs; /* the tiles that were fetched, over one tree */

/* Over the tree of `size` leaves. */
struct err tile_proofs_new(struct tile_proofs **out, uint64_t size, tile_fetch *fetch,
                           void *context) MUST_USE;
void tile_proofs_free(struct tile_proofs *t);

/* ERR_USAGE for an index or a size that is not under the tree; ERR_MALFORMED for a tile of another
 * length; the transport's errors. */
struct err tile_proofs_inclusion(struct tile_proofs *t, struct merkle_proof *out,
                                 uint64_t index) MUST_USE;
struct err tile_proofs_consistency(struct tile_proofs *t, struct merkle_proof *out,
                                   uint64_t old_size) MUST_USE;
/* The first leaf from `from` on with this hash: *found tells. Reads every tile from there on. */
struct err tile_proofs_find(struct tile_proofs *t, uint64_t *index, bool *found,
                            const struct merkle_hash *leaf, uint64_t from) MUST_USE;

#endif
