#include "publish/tile_proofs.h"

#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 8, CACHED = 64 }; /* levels in a tile; a proof touches two tiles a level */

struct cached {
    struct tile tile;
    struct buf bytes; /* empty: unused */
};

struct tile_proofs {
    uint64_t size;
    tile_fetch *fetch;
    void *context;
    struct cached cache[CACHED]; /* a ring */
    size_t next;
};

struct err tile_proofs_new(struct tile_proofs **out, uint64_t size, tile_fetch *fetch,
                           void *context)
{
    struct tile_proofs *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(ERR_MEMORY, "out of memory for proofs");
    t->size = size;
    t->fetch = fetch;
    t->context = context;
    *out = t;
    return err_ok();
}

void tile_proofs_free(struct tile_proofs *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < CACHED; i++)
        buf_cleanup(&t->cache[i].bytes);
    free(t);
}

static struct err get_tile(struct tile_proofs *t, struct bytes *out, const struct tile *tile)
{
    for (size_t i = 0; i < CACHED; i++) {
        const struct cached *c = &t->cache[i];
        if (c->bytes.len > 0 && c->tile.level == tile->level && c->tile.index == tile->index) {
            *out = buf_bytes(&c->bytes);
            return err_ok();
        }
    }
    struct cached *c = &t->cache[t->next++ % CACHED];
    c->tile = *tile;
    buf_clear(&c->bytes);
    struct err e = t->fetch(t->context, tile, &c->bytes);
    if (!is_err(e) && c->bytes.len != (size_t)tile->width * SHA256_LEN)
        e = err_set(ERR_MALFORMED, "a tile of %u hashes has %zu bytes", tile->width, c->bytes.len);
    if (is_err(e)) {
        buf_clear(&c->bytes);
        return e;
    }
    *out = buf_bytes(&c->bytes);
    return err_ok();
}

/* A complete subtree of 2^(8a + b) leaves is the root over 2^b hashes of a tile of level a. */
static struct err from_tiles(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    struct tile_proofs *t = context;
    unsigned b = level % HEIGHT;
    uint64_t first = index << b;
    struct tile tile = {.level = (int)(level / HEIGHT), .index = first / TILE_WIDTH};
    size_t at = first % TILE_WIDTH, n = (size_t)1 << b;
    tile.width = tile_width_at(tile.level, tile.index, t->size);
    if (at + n > tile.width)
        return err_set(ERR_USAGE, "the tree of %llu leaves has no such subtree",
                       (unsigned long long)t->size);
    struct bytes bytes;
    struct merkle_hash hashes[TILE_WIDTH / 2];
    TRY(get_tile(t, &bytes, &tile));
    memcpy(hashes, bytes.data + at * SHA256_LEN, n * SHA256_LEN);
    *out = merkle_root(hashes, n);
    return err_ok();
}

struct err tile_proofs_inclusion(struct tile_proofs *t, struct merkle_proof *out, uint64_t index)
{
    return merkle_prove_inclusion(out, index, t->size, from_tiles, t);
}

struct err tile_proofs_consistency(struct tile_proofs *t, struct merkle_proof *out,
                                   uint64_t old_size)
{
    return merkle_prove_consistency(out, old_size, t->size, from_tiles, t);
}

struct err tile_proofs_find(struct tile_proofs *t, uint64_t *index, bool *found,
                            const struct merkle_hash *leaf, uint64_t from)
{
    *found = false;
    for (uint64_t i = from; i < t->size && !*found; i++) {
        struct merkle_hash hash;
        TRY(from_tiles(t, 0, i, &hash));
        *found = merkle_equal(&hash, leaf);
        *index = i;
    }
    return err_ok();
}
