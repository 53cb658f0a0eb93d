/* Proofs made from tiles are those of the tree; what a hostile log serves makes none that verifies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "publish/tile_proofs.h"

enum { N = 66000, LEVELS = 17 }; /* tiles of three levels */

/* level l has N >> l complete subtrees */
static struct merkle_hash *levels[LEVELS];

struct served {
    uint64_t size;
    size_t n_fetched;
    int cut;       /* bytes that every tile lacks */
    uint64_t flip; /* 1 + a leaf whose tile has a wrong bit, 0: none */
    bool fails;
};

static struct err fetch(void *context, const struct tile *tile, struct buf *out)
{
    struct served *s = context;
    s->n_fetched++;
    if (s->fails)
        return err_set(ERR_IO, "unplugged");
    unsigned level = 8 * (unsigned)tile->level;
    assert_int_equal(tile->width, tile_width_at(tile->level, tile->index, s->size));
    const struct merkle_hash *first = &levels[level][tile->index * TILE_WIDTH];
    buf_append(out, first, tile->width * sizeof *first);
    if (s->flip > 0 && level == 0 && (s->flip - 1) / TILE_WIDTH == tile->index)
        out->data[(s->flip - 1) % TILE_WIDTH * SHA256_LEN] ^= 1;
    out->len -= (size_t)s->cut;
    return err_ok();
}

static struct err source(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    (void)context;
    *out = levels[level][index];
    return err_ok();
}

static struct merkle_hash root_of(uint64_t size)
{
    struct merkle_hash root;
    assert_false(is_err(merkle_source_root(&root, size, source, NULL)));
    return root;
}

static void proves_what_the_tree_holds(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 255, 256, 257, 511, 1000, 65535, 65536, 65537, N};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct served s = {.size = sizes[i]};
        struct tile_proofs *t;
        struct merkle_proof p;
        struct merkle_hash root = root_of(s.size);
        assert_false(is_err(tile_proofs_new(&t, s.size, fetch, &s)));
        for (uint64_t index = 0; index < s.size; index += 1 + index / 3) {
            assert_false(is_err(tile_proofs_inclusion(t, &p, index)));
            assert_false(
                is_err(merkle_verify_inclusion(&levels[0][index], index, s.size, &p, &root)));
        }
        for (uint64_t old = 0; old <= s.size; old += 1 + old / 3) {
            struct merkle_hash old_root = root_of(old);
            assert_false(is_err(tile_proofs_consistency(t, &p, old)));
            assert_false(is_err(merkle_verify_consistency(old, &old_root, s.size, &root, &p)));
        }
        assert_true(is_err(tile_proofs_inclusion(t, &p, s.size)));
        assert_true(is_err(tile_proofs_consistency(t, &p, s.size + 1)));
        tile_proofs_free(t);
    }
}

static void a_wrong_tile_makes_no_proof_that_verifies(void **state)
{
    (void)state;
    struct served s = {.size = 1000, .flip = 1 + 300};
    struct tile_proofs *t;
    struct merkle_proof p;
    struct merkle_hash root = root_of(s.size), old = root_of(700);
    assert_false(is_err(tile_proofs_new(&t, s.size, fetch, &s)));
    assert_false(is_err(tile_proofs_inclusion(t, &p, 301)));
    assert_int_equal(merkle_verify_inclusion(&levels[0][301], 301, s.size, &p, &root).code,
                     ERR_UNTRUE);
    s.flip = 1 + 600;
    tile_proofs_free(t);
    assert_false(is_err(tile_proofs_new(&t, s.size, fetch, &s)));
    assert_false(is_err(tile_proofs_consistency(t, &p, 700)));
    assert_int_equal(merkle_verify_consistency(700, &old, s.size, &root, &p).code, ERR_UNTRUE);
    tile_proofs_free(t);
}

static void a_tile_of_another_length_is_refused(void **state)
{
    (void)state;
    struct served s = {.size = 1000, .cut = 1};
    struct tile_proofs *t;
    struct merkle_proof p;
    assert_false(is_err(tile_proofs_new(&t, s.size, fetch, &s)));
    assert_int_equal(tile_proofs_inclusion(t, &p, 5).code, ERR_MALFORMED);
    s.cut = 0;
    s.fails = true;
    assert_int_equal(tile_proofs_inclusion(t, &p, 5).code, ERR_IO);
    s.fails = false; /* and nothing of either is remembered */
    assert_false(is_err(tile_proofs_inclusion(t, &p, 5)));
    tile_proofs_free(t);
}

static void finds_a_leaf_from_a_place_on(void **state)
{
    (void)state;
    struct served s = {.size = 1000};
    struct tile_proofs *t;
    uint64_t index;
    bool found;
    assert_false(is_err(tile_proofs_new(&t, s.size, fetch, &s)));
    assert_false(is_err(tile_proofs_find(t, &index, &found, &levels[0][999], 600)));
    assert_true(found && index == 999);
    assert_int_equal(s.n_fetched, 2);
    assert_false(is_err(tile_proofs_find(t, &index, &found, &levels[0][599], 600)));
    assert_false(found);
    assert_false(is_err(tile_proofs_find(t, &index, &found, &levels[0][0], 1000)));
    assert_false(found);
    tile_proofs_free(t);
}

static int setup(void **state)
{
    (void)state;
    for (unsigned l = 0; l < LEVELS; l++) {
        size_t n = (size_t)N >> l;
        levels[l] = calloc(n, sizeof *levels[l]);
        for (size_t i = 0; i < n; i++)
            levels[l][i] = l == 0 ? merkle_leaf(bytes_of(&i, sizeof i))
                                  : merkle_node(&levels[l - 1][2 * i], &levels[l - 1][2 * i + 1]);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned l = 0; l < LEVELS; l++)
        free(levels[l]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proves_what_the_tree_holds),
        cmocka_unit_test(a_wrong_tile_makes_no_proof_that_verifies),
        cmocka_unit_test(a_tile_of_another_length_is_refused),
        cmocka_unit_test(finds_a_leaf_from_a_place_on),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
