/*
 * A Merkle tree that grows leaf by leaf, held as the tiles of C2SP tlog-tiles: of each tile level
 * only the newest tile, which is incomplete. Complete tiles are given away, whole, to be kept.
 * Pure.
 *
 * Tile level L has the tree's levels 8 L to 8 L + 7; its tile N begins at the hash of index 256 N
 * of its lowest level.
 */
#ifndef TRANSPARENCY_TILE_TREE_H
#define TRANSPARENCY_TILE_TREE_H

#include "transparency/merkle.h"
#include "transparency/tiles.h"

enum {
    TILE_LEVELS = 8, /* tile levels of a tree of less than 2^64 leaves */
    TILE_HEIGHT = 8, /* levels of the tree in a tile, without its root */
    TILE_HASHES = 2 * TILE_WIDTH - 2,
};

struct tile_hashes {
    uint64_t index;
    unsigned width;                         /* hashes of the lowest level, 0 to TILE_WIDTH */
    struct merkle_hash hashes[TILE_HASHES]; /* 256 of the lowest level, then 128, ..., 2 */
};

/* Where hash `index` of the tile's level `level` (0 to 7) is in `hashes`. */
size_t tile_hashes_at(unsigned level, unsigned index);
/* Whether that subtree is complete. */
bool tile_hashes_has(const struct tile_hashes *t, unsigned level, unsigned index);
/* The root of a tile of TILE_WIDTH: a hash of the next tile level. */
struct merkle_hash tile_hashes_root(const struct tile_hashes *t);
/* The next hash of the lowest level of a tile that is not full. */
void tile_hashes_add(struct tile_hashes *t, const struct merkle_hash *hash);

struct tile_tree {
    uint64_t size;
    struct tile_hashes edge[TILE_LEVELS];
};

/* Called with each tile that a leaf completes, and its root; the lower first. */
typedef struct err tile_tree_full(void *context, unsigned level, const struct tile_hashes *tile,
                                  const struct merkle_hash *root);
/* The error is that of `full`, and leaves the tree of no use. */
struct err tile_tree_append(struct tile_tree *t, const struct merkle_hash *leaf,
                            tile_tree_full *full, void *context) MUST_USE;
struct merkle_hash tile_tree_root(const struct tile_tree *t);

#endif
