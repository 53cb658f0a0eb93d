#include "transparency/tile_tree.h"

size_t tile_hashes_at(unsigned level, unsigned index)
{
    return 2u * TILE_WIDTH - (2u * TILE_WIDTH >> level) + index;
}

bool tile_hashes_has(const struct tile_hashes *t, unsigned level, unsigned index)
{
    return index < t->width >> level;
}

struct merkle_hash tile_hashes_root(const struct tile_hashes *t)
{
    return merkle_node(&t->hashes[TILE_HASHES - 2], &t->hashes[TILE_HASHES - 1]);
}

void tile_hashes_add(struct tile_hashes *t, const struct merkle_hash *hash)
{
    unsigned index = t->width++;
    t->hashes[index] = *hash;
    /* A right child completes its parent. */
    for (unsigned level = 0; (index & 1) != 0 && level + 1 < TILE_HEIGHT; level++, index >>= 1) {
        const struct merkle_hash *right = &t->hashes[tile_hashes_at(level, index)];
        t->hashes[tile_hashes_at(level + 1, index >> 1)] = merkle_node(right - 1, right);
    }
}

struct err tile_tree_append(struct tile_tree *t, const struct merkle_hash *leaf,
                            tile_tree_full *full, void *context)
{
    struct merkle_hash hash = *leaf;
    for (unsigned level = 0; level < TILE_LEVELS; level++) {
        struct tile_hashes *tile = &t->edge[level];
        tile_hashes_add(tile, &hash);
        if (tile->width < TILE_WIDTH)
            break;
        hash = tile_hashes_root(tile);
        TRY(full(context, level, tile, &hash));
        tile->index++;
        tile->width = 0;
    }
    t->size++;
    return err_ok();
}

struct merkle_hash tile_tree_root(const struct tile_tree *t)
{
    struct merkle_hash root = merkle_empty();
    bool have = false;
    for (unsigned level = 0; level < 63; level++) {
        if ((t->size >> level & 1) == 0)
            continue;
        /* The last complete subtree of a level is in the newest tile, or there is none. */
        const struct tile_hashes *tile = &t->edge[level / TILE_HEIGHT];
        unsigned inner = level % TILE_HEIGHT;
        const struct merkle_hash *subtree =
            &tile->hashes[tile_hashes_at(inner, (tile->width >> inner) - 1)];
        root = have ? merkle_node(subtree, &root) : *subtree;
        have = true;
    }
    return root;
}
