/* Heads and proofs are RFC 6962's; a proof with one flaw, of whatever kind, is refused. */
#include <ftw.h>

#include "tlog_vectors.h"

static size_t n_skipped;

/* A tree with every complete subtree, computed straight from the definition. */
enum { LEAVES_MAX = 300 };
static struct merkle_hash leaves[LEAVES_MAX];

static struct merkle_hash defined_root(uint64_t start, uint64_t end)
{
    if (start == end)
        return merkle_empty();
    if (end - start == 1)
        return leaves[start];
    uint64_t k = 1;
    while (k * 2 < end - start)
        k *= 2;
    struct merkle_hash l = defined_root(start, start + k);
    struct merkle_hash r = defined_root(start + k, end);
    return merkle_node(&l, &r);
}

static struct err source(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    uint64_t size = *(uint64_t *)context;
    assert_true((index + 1) << level <= size); /* only complete subtrees are asked for */
    *out = defined_root(index << level, (index + 1) << level);
    return err_ok();
}

static void make_leaves(unsigned seed)
{
    srand(seed);
    for (size_t i = 0; i < LEAVES_MAX; i++) {
        int value[2] = {(int)i, rand()};
        leaves[i] = merkle_leaf(bytes_of(value, sizeof value));
    }
}

static void heads_are_those_of_the_definition(void **state)
{
    (void)state;
    make_leaves(1);
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    for (uint64_t n = 0; n <= LEAVES_MAX; n++) {
        struct merkle_hash wanted = defined_root(0, n);
        struct merkle_hash got = merkle_root(leaves, n);
        assert_memory_equal(&got, &wanted, sizeof got);
        got = merkle_edge_root(&edge);
        assert_memory_equal(&got, &wanted, sizeof got);
        assert_false(is_err(merkle_source_root(&got, n, source, &n)));
        assert_memory_equal(&got, &wanted, sizeof got);
        if (n < LEAVES_MAX)
            merkle_edge_append(&edge, &leaves[n]);
    }
}

static void flip_bit(struct merkle_hash *h, size_t bit)
{
    h->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void assert_untrue(struct err e)
{
    assert_int_equal(e.code, ERR_UNTRUE);
}

/* Every bit of every hash, a hash too few, too many, in another place. */
static void refuses_changed_inclusion(uint64_t index, uint64_t size,
                                      const struct merkle_proof *good,
                                      const struct merkle_hash *root, bool every_bit)
{
    const struct merkle_hash *leaf = &leaves[index];
    for (size_t i = 0; i < good->n_hashes; i++)
        for (size_t bit = every_bit ? 0 : (size_t)rand() % 256; bit < 256;
             bit += every_bit ? 1 : 256) {
            struct merkle_proof p = *good;
            flip_bit(&p.hashes[i], bit);
            assert_untrue(merkle_verify_inclusion(leaf, index, size, &p, root));
        }
    struct merkle_proof p = *good;
    p.hashes[p.n_hashes++] = *root;
    assert_untrue(merkle_verify_inclusion(leaf, index, size, &p, root));
    for (size_t gone = 0; gone < good->n_hashes; gone++) {
        p = *good;
        memmove(&p.hashes[gone], &p.hashes[gone + 1], (--p.n_hashes - gone) * sizeof p.hashes[0]);
        assert_untrue(merkle_verify_inclusion(leaf, index, size, &p, root));
    }
    struct merkle_hash other = *leaf;
    flip_bit(&other, (size_t)rand() % 256);
    assert_untrue(merkle_verify_inclusion(&other, index, size, good, root));
    other = *root;
    flip_bit(&other, (size_t)rand() % 256);
    assert_untrue(merkle_verify_inclusion(leaf, index, size, good, &other));
    assert_untrue(merkle_verify_inclusion(leaf, size, size, good, root));
    assert_untrue(merkle_verify_inclusion(leaf, index ^ 1, size, good, root));
}

static void every_entry_is_provable_and_no_changed_proof_is(void **state)
{
    (void)state;
    make_leaves(2);
    for (int round = 0; round < 24; round++) {
        uint64_t size = round < 9 ? (uint64_t)round + 1 : 1 + (uint64_t)rand() % LEAVES_MAX;
        struct merkle_hash root = merkle_root(leaves, size);
        for (uint64_t i = 0; i < size; i += 1 + (size > 20 ? (uint64_t)rand() % 40 : 0)) {
            struct merkle_proof p;
            assert_false(is_err(merkle_prove_inclusion(&p, i, size, source, &size)));
            assert_false(is_err(merkle_verify_inclusion(&leaves[i], i, size, &p, &root)));
            if (size > 1)
                refuses_changed_inclusion(i, size, &p, &root, round < 9);
        }
    }
}

static void refuses_changed_consistency(uint64_t old, const struct merkle_hash *old_root,
                                        uint64_t new, const struct merkle_hash *new_root,
                                        const struct merkle_proof *good, bool every_bit)
{
    struct merkle_proof p = *good;
    p.hashes[p.n_hashes++] = *new_root;
    assert_untrue(merkle_verify_consistency(old, old_root, new, new_root, &p));
    struct merkle_hash other = *old_root;
    flip_bit(&other, (size_t)rand() % 256);
    assert_untrue(merkle_verify_consistency(old, &other, new, new_root, good));
    if (old == 0)
        return; /* any root may follow the empty tree */
    other = *new_root;
    flip_bit(&other, (size_t)rand() % 256);
    assert_untrue(merkle_verify_consistency(old, old_root, new, &other, good));
    for (size_t i = 0; i < good->n_hashes; i++)
        for (size_t bit = every_bit ? 0 : (size_t)rand() % 256; bit < 256;
             bit += every_bit ? 1 : 256) {
            p = *good;
            flip_bit(&p.hashes[i], bit);
            assert_untrue(merkle_verify_consistency(old, old_root, new, new_root, &p));
        }
    for (size_t gone = 0; gone < good->n_hashes; gone++) {
        p = *good;
        memmove(&p.hashes[gone], &p.hashes[gone + 1], (--p.n_hashes - gone) * sizeof p.hashes[0]);
        assert_untrue(merkle_verify_consistency(old, old_root, new, new_root, &p));
    }
    if (old < new) {
        assert_untrue(merkle_verify_consistency(new, new_root, old, old_root, good));
        assert_untrue(merkle_verify_consistency(old, new_root, new, new_root, good));
    }
}

static void every_growth_is_provable_and_no_changed_proof_is(void **state)
{
    (void)state;
    make_leaves(3);
    for (int round = 0; round < 200; round++) {
        uint64_t new = round < 100 ? 1 + (uint64_t)round / 11 : 1 + (uint64_t)rand() % LEAVES_MAX;
        uint64_t old = (uint64_t)rand() % (new + 1);
        struct merkle_hash old_root = merkle_root(leaves, old), new_root = merkle_root(leaves, new);
        struct merkle_proof p;
        assert_false(is_err(merkle_prove_consistency(&p, old, new, source, &new)));
        assert_false(is_err(merkle_verify_consistency(old, &old_root, new, &new_root, &p)));
        refuses_changed_consistency(old, &old_root, new, &new_root, &p, round < 50);
    }
}

static void the_empty_tree_is_the_past_of_any_by_the_empty_proof(void **state)
{
    (void)state;
    make_leaves(5);
    struct merkle_hash empty = merkle_empty(), root = merkle_root(leaves, 5);
    struct merkle_proof p = {.n_hashes = 0};
    assert_false(is_err(merkle_verify_consistency(0, &empty, 5, &root, &p)));
    assert_false(is_err(merkle_verify_consistency(0, &empty, 0, &empty, &p)));
    assert_untrue(merkle_verify_consistency(0, &root, 5, &root, &p));
    assert_untrue(merkle_verify_consistency(0, &empty, 0, &root, &p));
    assert_untrue(merkle_verify_consistency(0, &root, 0, &root, &p));
    assert_untrue(merkle_verify_consistency(5, &root, 0, &empty, &p));
    p.n_hashes = 1;
    assert_untrue(merkle_verify_consistency(0, &empty, 5, &root, &p));
}

static void a_fork_has_no_proof(void **state)
{
    (void)state;
    make_leaves(4);
    uint64_t old = 7, new = 12;
    struct merkle_hash old_root = merkle_root(leaves, old);
    leaves[3] = merkle_leaf(bytes_of_str("rewritten"));
    struct merkle_hash new_root = merkle_root(leaves, new);
    struct merkle_proof p;
    assert_false(is_err(merkle_prove_consistency(&p, old, new, source, &new)));
    assert_untrue(merkle_verify_consistency(old, &old_root, new, &new_root, &p));
}

static void a_proof_of_too_many_hashes_is_refused_before_it_is_read(void **state)
{
    (void)state;
    struct merkle_hash root = merkle_empty();
    struct merkle_proof p = {.n_hashes = MERKLE_PROOF_MAX + 1};
    assert_untrue(merkle_verify_inclusion(&root, 0, UINT64_MAX, &p, &root));
    assert_untrue(merkle_verify_consistency(1, &root, UINT64_MAX, &root, &p));
    p.n_hashes = MERKLE_PROOF_MAX;
    assert_untrue(merkle_verify_inclusion(&root, 0, UINT64_MAX, &p, &root));
    assert_untrue(merkle_verify_consistency(UINT64_MAX - 1, &root, UINT64_MAX, &root, &p));
}

static void proofs_beyond_the_tree_are_a_usage_error(void **state)
{
    (void)state;
    uint64_t size = 4;
    struct merkle_proof p = {.n_hashes = 17};
    assert_int_equal(merkle_prove_inclusion(&p, 4, 4, source, &size).code, ERR_USAGE);
    assert_int_equal(merkle_prove_consistency(&p, 5, 4, source, &size).code, ERR_USAGE);
    assert_int_equal(merkle_prove_inclusion(&p, 0, UINT64_MAX, source, &size).code, ERR_LIMIT);
    assert_int_equal(p.n_hashes, 17); /* untouched */
}

static struct err broken_source(void *context, unsigned level, uint64_t index,
                                struct merkle_hash *out)
{
    (void)context, (void)level, (void)index, (void)out;
    return err_set(ERR_IO, "the disk is gone");
}

static void an_error_of_the_source_is_passed_on(void **state)
{
    (void)state;
    struct merkle_proof p;
    struct merkle_hash root;
    assert_int_equal(merkle_prove_inclusion(&p, 1, 7, broken_source, NULL).code, ERR_IO);
    assert_int_equal(merkle_prove_consistency(&p, 3, 7, broken_source, NULL).code, ERR_IO);
    assert_int_equal(merkle_source_root(&root, 7, broken_source, NULL).code, ERR_IO);
}

static void check_hex(const struct merkle_hash *h, const json_t *hex)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(h->bytes, SHA256_LEN));
    assert_string_equal(buf_str(&text), json_string_value(hex));
}

static void the_reference_tree_has_the_published_hashes(void **state)
{
    (void)state;
    json_t *j = vectors_load("rfc6962/reference_tree.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    const json_t *inputs = json_object_get(j, "leaf_inputs_hex");
    const json_t *roots = json_object_get(j, "root_by_size_0_to_8");
    assert_int_equal(json_array_size(inputs), 8);
    for (size_t i = 0; i < 8; i++) {
        const char *hex = json_string_value(json_array_get(inputs, i));
        uint8_t data[16];
        assert_false(is_err(hex_decode(data, strlen(hex) / 2, bytes_of_str(hex))));
        leaves[i] = merkle_leaf(bytes_of(data, strlen(hex) / 2));
        check_hex(&leaves[i], json_array_get(json_object_get(j, "level0_leaf_hashes"), i));
    }
    for (size_t i = 0; i < 4; i++) {
        struct merkle_hash h = merkle_node(&leaves[2 * i], &leaves[2 * i + 1]);
        check_hex(&h, json_array_get(json_object_get(j, "level1"), i));
    }
    for (uint64_t n = 0; n <= 8; n++) {
        struct merkle_hash root = merkle_root(leaves, n);
        check_hex(&root, json_array_get(roots, n));
    }
    json_decref(j);
}

/* Where we differ from transparency-dev/merkle: it compares two equal "roots" of 12 bytes and finds
 * them consistent; here a root is 32 bytes. (It also refuses every proof from size 0, where RFC
 * 6962 calls the empty tree the past of any; its cases of that kind hold such roots, too.) */
static const char *const by_convention[] = {
    "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json",
};
static unsigned n_cases, n_by_convention;
static const char *vectors_root;

static bool verifies(const json_t *j, bool inclusion)
{
    struct merkle_hash a, b;
    struct merkle_proof p;
    if (!vector_proof(&p, json_object_get(j, "proof")) ||
        !vector_hash(&a, json_object_get(j, inclusion ? "leafHash" : "root1")) ||
        !vector_hash(&b, json_object_get(j, inclusion ? "root" : "root2")))
        return false;
    if (inclusion)
        return !is_err(merkle_verify_inclusion(&a, vector_number(j, "leafIdx"),
                                               vector_number(j, "treeSize"), &p, &b));
    return !is_err(merkle_verify_consistency(vector_number(j, "size1"), &a,
                                             vector_number(j, "size2"), &b, &p));
}

static int run_case(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)walk;
    if (type != FTW_F || strstr(path, ".json") == NULL)
        return 0;
    const char *name = path + strlen(vectors_root) + 1;
    bool differs = false;
    for (size_t i = 0; i < sizeof by_convention / sizeof by_convention[0]; i++)
        differs = differs || strcmp(name, by_convention[i]) == 0;
    BUF_AUTO relative = BUF_INIT;
    buf_printf(&relative, "merkle-proofs/%s", name);
    json_t *j = vectors_load(buf_str(&relative));
    bool wanted = !json_is_true(json_object_get(j, "wantErr"));
    bool got = verifies(j, strncmp(name, "inclusion/", 10) == 0);
    if (got != (differs ? !wanted : wanted))
        fail_msg("%s: %s, %s", name, got ? "verifies" : "is refused", err_message());
    n_by_convention += differs;
    n_cases++;
    json_decref(j);
    return 0;
}

static void published_proofs_verify_or_are_refused_as_they_should(void **state)
{
    (void)state;
    BUF_AUTO root = BUF_INIT;
    buf_printf(&root, "%s/vectors/merkle-proofs", BL_SHARED_DIR);
    vectors_root = buf_str(&root);
    if (nftw(vectors_root, run_case, 16, FTW_PHYS) != 0) {
        n_skipped++;
        skip();
    }
    assert_int_equal(n_cases, 196);
    assert_int_equal(n_by_convention, sizeof by_convention / sizeof by_convention[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_those_of_the_definition),
        cmocka_unit_test(every_entry_is_provable_and_no_changed_proof_is),
        cmocka_unit_test(every_growth_is_provable_and_no_changed_proof_is),
        cmocka_unit_test(the_empty_tree_is_the_past_of_any_by_the_empty_proof),
        cmocka_unit_test(a_fork_has_no_proof),
        cmocka_unit_test(a_proof_of_too_many_hashes_is_refused_before_it_is_read),
        cmocka_unit_test(proofs_beyond_the_tree_are_a_usage_error),
        cmocka_unit_test(an_error_of_the_source_is_passed_on),
        cmocka_unit_test(the_reference_tree_has_the_published_hashes),
        cmocka_unit_test(published_proofs_verify_or_are_refused_as_they_should),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
