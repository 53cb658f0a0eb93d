/* The tree that is held as tiles: its root is the tree's, and each full tile that it gives away
 * holds the hashes of its subtrees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transparency/tile_tree.h"

enum { N = 256 * 256 + 300 };

static struct merkle_hash leaves[N];

static int make_leaves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < N; i++)
        leaves[i] = merkle_leaf(bytes_of(&i, sizeof i));
    return 0;
}

struct seen {
    unsigned n[TILE_LEVELS];
    bool fails;
};

static struct err look(void *context, unsigned level, const struct tile_hashes *tile,
                       const struct merkle_hash *root)
{
    struct seen *seen = context;
    assert_true(level < TILE_LEVELS);
    assert_int_equal(tile->width, TILE_WIDTH);
    assert_int_equal(tile->index, seen->n[level]++);
    struct merkle_hash of_tile = tile_hashes_root(tile);
    assert_true(merkle_equal(root, &of_tile));
    if (seen->fails)
        return err_set(ERR_IO, "no room");
    /* Each hash of a tile of level 0 anew from its leaves; above, the root alone: the rest is
     * computed in the same way. */
    const struct merkle_hash *first = leaves + (tile->index << 8 * (level + 1));
    for (unsigned inner = 0; level == 0 && inner < TILE_HEIGHT; inner++)
        for (unsigned i = 0; i < (unsigned)TILE_WIDTH >> inner; i++) {
            struct merkle_hash h = merkle_root(first + (i << inner), 1u << inner);
            assert_true(merkle_equal(&h, &tile->hashes[tile_hashes_at(inner, i)]));
        }
    struct merkle_hash h = merkle_root(first, (uint64_t)1 << 8 * (level + 1));
    assert_true(merkle_equal(&h, root));
    return err_ok();
}

static void its_root_is_that_of_the_leaves_at_every_size(void **state)
{
    (void)state;
    struct tile_tree *t = calloc(1, sizeof *t);
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    struct seen seen = {.fails = false};
    for (unsigned i = 0;; i++) {
        struct merkle_hash root = tile_tree_root(t), wanted = merkle_edge_root(&edge);
        assert_int_equal(t->size, i);
        assert_true(merkle_equal(&root, &wanted));
        if (i == N)
            break;
        assert_false(is_err(tile_tree_append(t, &leaves[i], look, &seen)));
        merkle_edge_append(&edge, &leaves[i]);
    }
    assert_int_equal(seen.n[0], 257);
    assert_int_equal(seen.n[1], 1);
    assert_int_equal(seen.n[2], 0);
    free(t);
}

static void the_places_of_a_tile_are_all_different_and_all_used(void **state)
{
    (void)state;
    bool used[TILE_HASHES] = {false};
    size_t n = 0;
    for (unsigned level = 0; level < TILE_HEIGHT; level++)
        for (unsigned i = 0; i < (unsigned)TILE_WIDTH >> level; i++, n++) {
            size_t at = tile_hashes_at(level, i);
            assert_true(at < TILE_HASHES && !used[at]);
            used[at] = true;
        }
    assert_int_equal(n, TILE_HASHES);
}

static void a_tile_has_the_subtrees_that_are_complete_and_no_others(void **state)
{
    (void)state;
    struct tile_hashes t = {.index = 0};
    for (unsigned i = 0; i < 7; i++)
        tile_hashes_add(&t, &leaves[i]);
    assert_true(tile_hashes_has(&t, 0, 6) && !tile_hashes_has(&t, 0, 7));
    assert_true(tile_hashes_has(&t, 1, 2) && !tile_hashes_has(&t, 1, 3));
    assert_true(tile_hashes_has(&t, 2, 0) && !tile_hashes_has(&t, 2, 1));
    assert_false(tile_hashes_has(&t, 3, 0));
}

static void an_error_of_who_keeps_the_tiles_is_passed_up(void **state)
{
    (void)state;
    struct tile_tree *t = calloc(1, sizeof *t);
    struct seen seen = {.fails = true};
    for (unsigned i = 0; i < TILE_WIDTH - 1; i++)
        assert_false(is_err(tile_tree_append(t, &leaves[i], look, &seen)));
    assert_int_equal(tile_tree_append(t, &leaves[255], look, &seen).code, ERR_IO);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_root_is_that_of_the_leaves_at_every_size),
        cmocka_unit_test(the_places_of_a_tile_are_all_different_and_all_used),
        cmocka_unit_test(a_tile_has_the_subtrees_that_are_complete_and_no_others),
        cmocka_unit_test(an_error_of_who_keeps_the_tiles_is_passed_up),
    };
    return cmocka_run_group_tests(tests, make_leaves, NULL);
}
