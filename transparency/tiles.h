/*
 * Names of tiles (C2SP tlog-tiles): "tile/<L>/<N>[.p/<W>]" and "tile/entries/<N>[.p/<W>]".
 */
#ifndef TRANSPARENCY_TILES_H
#define TRANSPARENCY_TILES_H

#include "common/buf.h"

enum { TILE_WIDTH = 256, TILE_LEVEL_ENTRIES = -1 };

struct tile {
    int level;      /* 0..63, or TILE_LEVEL_ENTRIES */
    uint64_t index; /* N */
    unsigned width; /* 1..256; 256 is a full tile */
};

/* Strict: one path per tile. ERR_MALFORMED. `path` without a leading slash. */
struct err tile_parse(struct tile *out, struct bytes path) MUST_USE;
void tile_format(struct buf *out, const struct tile *t);
/* The width that the tile (level, index) has in a tree of `size`: 0 if it does not exist. */
unsigned tile_width_at(int level, uint64_t index, uint64_t size);

#endif
