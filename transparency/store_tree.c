/*
 * The log's tree as its readers use it: the newest, incomplete tiles in memory, computed from the
 * entries and proven against the signed root before anything is told from them; complete tiles as
 * the file has them, those that were met of late.
 */
#include "transparency/store_db.h"

#include <string.h>

static struct err lacks_node(const struct store *s, unsigned level, uint64_t index)
{
    return err_set(ERR_MALFORMED, "%s: the tree lacks node %llu of level %u", s->path,
                   (unsigned long long)index, level);
}

static struct err lacks_tile(const struct store *s, unsigned level, uint64_t index)
{
    return err_set(ERR_MALFORMED, "%s: the tree lacks tile %llu of level %u", s->path,
                   (unsigned long long)index, level);
}

struct err store_column_tile(struct merkle_hash out[TILE_HASHES], sqlite3_stmt *st, int column)
{
    struct bytes v;
    TRY(store_column_blob(&v, st, column, STORE_TILE_LEN, "a tile"));
    if (v.len != STORE_TILE_LEN)
        return err_set(ERR_MALFORMED, "a tile has %zu bytes, not %d", v.len, STORE_TILE_LEN);
    memcpy(out, v.data, STORE_TILE_LEN);
    return err_ok();
}

static size_t met_place(unsigned level, uint64_t index)
{
    if (level == 0)
        return index % STORE_MET_LOW;
    /* A place is of one level: the index alone tells what is in it. */
    return STORE_MET_LOW + (index * TILE_LEVELS + level) % STORE_MET_HIGH;
}

static struct err read_tile(struct store *s, struct tile_hashes *out, unsigned level,
                            uint64_t index)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    TRY(store_statement(&st, s, SQL_TILE));
    TRY(store_bind_int(s, st, 1, level));
    TRY(store_bind_int(s, st, 2, index));
    TRY(store_step(s, st, &row));
    if (!row)
        return lacks_tile(s, level, index);
    out->width = 0; /* until it is whole again */
    TRY(store_column_tile(out->hashes, st, 0));
    out->index = index;
    out->width = TILE_WIDTH;
    return err_ok();
}

struct err store_tile_hashes(struct store *s, const struct tile_hashes **out, unsigned level,
                             uint64_t index)
{
    const struct tile_hashes *newest = &s->tree.edge[level];
    struct tile_hashes *met = &s->met[met_place(level, index)];
    if (index > newest->index)
        return lacks_tile(s, level, index);
    if (index < newest->index && (met->width == 0 || met->index != index))
        TRY(read_tile(s, met, level, index));
    *out = index == newest->index ? newest : met;
    return err_ok();
}

struct err store_node(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    struct store *s = context;
    unsigned inner = level % TILE_HEIGHT, shift = TILE_HEIGHT - inner;
    unsigned at = (unsigned)(index & (((uint64_t)1 << shift) - 1));
    const struct tile_hashes *tile = NULL;
    TRY(store_tile_hashes(s, &tile, level / TILE_HEIGHT, index >> shift));
    if (!tile_hashes_has(tile, inner, at))
        return lacks_node(s, level, index);
    *out = tile->hashes[tile_hashes_at(inner, at)];
    return err_ok();
}

/* The row that must be `index`: an index, and bytes. */
static struct err next_row(struct store *s, sqlite3_stmt *st, uint64_t index, bool *there)
{
    uint64_t found = 0;
    TRY(store_step(s, st, there));
    if (*there)
        TRY(store_column_u64(&found, st, 0, "an index"));
    *there = *there && found == index;
    return err_ok();
}

static struct err add_leaves(struct store *s, struct tile_hashes *tile, uint64_t first,
                             uint64_t end)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_ENTRY_FROM));
    TRY(store_bind_int(s, st, 1, first));
    for (; first < end; first++) {
        bool there = false;
        struct bytes entry;
        TRY(next_row(s, st, first, &there));
        if (!there)
            return err_set(ERR_UNTRUE, "%s: entry %llu is missing", s->path,
                           (unsigned long long)first);
        TRY(store_column_blob(&entry, st, 1, STORE_ENTRY_MAX, "an entry"));
        struct merkle_hash leaf = merkle_leaf(entry);
        tile_hashes_add(tile, &leaf);
    }
    return err_ok();
}

/* The hashes of a tile level are the roots of the level below. */
static struct err add_roots(struct store *s, struct tile_hashes *tile, unsigned below,
                            uint64_t first, uint64_t end)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_TILE_ROOTS_FROM));
    TRY(store_bind_int(s, st, 1, below));
    TRY(store_bind_int(s, st, 2, first));
    for (; first < end; first++) {
        bool there = false;
        struct merkle_hash root;
        TRY(next_row(s, st, first, &there));
        if (!there)
            return lacks_tile(s, below, first);
        TRY(store_column_hash(&root, st, 1, "a tile's root"));
        tile_hashes_add(tile, &root);
    }
    return err_ok();
}

/* Brings one tile level from what it holds to what it is in a tree of `size`. */
static struct err grow_level(struct store *s, unsigned level, uint64_t size)
{
    struct tile_hashes *tile = &s->tree.edge[level];
    uint64_t end = size >> TILE_HEIGHT * level;
    if (tile->index != end / TILE_WIDTH) {
        tile->index = end / TILE_WIDTH;
        tile->width = 0;
    }
    uint64_t first = tile->index * TILE_WIDTH + tile->width;
    if (first == end)
        return err_ok();
    return level == 0 ? add_leaves(s, tile, first, end) : add_roots(s, tile, level - 1, first, end);
}

static struct err grow(struct store *s)
{
    for (unsigned level = 0; level < TILE_LEVELS; level++)
        TRY(grow_level(s, level, s->newest.size));
    s->tree.size = s->newest.size;
    struct merkle_hash root = tile_tree_root(&s->tree);
    if (!merkle_equal(&root, &s->newest.root))
        return err_set(ERR_UNTRUE, "%s: the stored tree is not the one its newest checkpoint signs",
                       s->path);
    return err_ok();
}

struct err store_tree_grow(struct store *s)
{
    if (s->tree.size == s->newest.size)
        return err_ok();
    struct err e = grow(s);
    if (is_err(e)) /* nothing of it was proven */
        memset(&s->tree, 0, sizeof s->tree);
    return e;
}
