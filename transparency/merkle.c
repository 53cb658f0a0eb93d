#include "transparency/merkle.h"

#include <string.h>

struct merkle_hash merkle_leaf(struct bytes entry)
{
    static const uint8_t prefix[1] = {0x00};
    struct merkle_hash out;
    sha256_3(out.bytes, bytes_of(prefix, 1), entry, (struct bytes){0});
    return out;
}

struct merkle_hash merkle_node(const struct merkle_hash *l, const struct merkle_hash *r)
{
    uint8_t input[1 + 2 * SHA256_LEN] = {0x01};
    memcpy(input + 1, l->bytes, SHA256_LEN);
    memcpy(input + 1 + SHA256_LEN, r->bytes, SHA256_LEN);
    struct merkle_hash out;
    sha256(out.bytes, bytes_of(input, sizeof input));
    return out;
}

struct merkle_hash merkle_empty(void)
{
    struct merkle_hash out;
    sha256(out.bytes, (struct bytes){0});
    return out;
}

bool merkle_equal(const struct merkle_hash *a, const struct merkle_hash *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_LEN) == 0;
}

void merkle_edge_append(struct merkle_edge *edge, const struct merkle_hash *leaf)
{
    struct merkle_hash h = *leaf;
    /* Adding one carries over the size's trailing one bits: each is a subtree to be joined. */
    for (uint64_t carry = edge->size; carry & 1; carry >>= 1)
        h = merkle_node(&edge->subtrees[--edge->n_subtrees], &h);
    edge->subtrees[edge->n_subtrees++] = h;
    edge->size++;
}

struct merkle_hash merkle_edge_root(const struct merkle_edge *edge)
{
    if (edge->n_subtrees == 0)
        return merkle_empty();
    struct merkle_hash h = edge->subtrees[edge->n_subtrees - 1];
    for (size_t i = edge->n_subtrees - 1; i > 0; i--)
        h = merkle_node(&edge->subtrees[i - 1], &h);
    return h;
}

struct merkle_hash merkle_root(const struct merkle_hash *leaves, uint64_t n)
{
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    for (uint64_t i = 0; i < n; i++)
        merkle_edge_append(&edge, &leaves[i]);
    return merkle_edge_root(&edge);
}

/* The root over leaves [start, end), not empty, where `start` is a multiple of a power of two that
 * is at least end - start: joined from complete subtrees, smallest first. */
static struct err range_root(struct merkle_hash *out, uint64_t start, uint64_t end,
                             merkle_source *source, void *context)
{
    struct merkle_hash h;
    bool have = false;
    for (unsigned level = 0; level < 63; level++) {
        if (((end - start) >> level & 1) == 0)
            continue;
        /* Below this subtree lie only the larger ones, above it the smaller ones joined in h. */
        uint64_t at = ((end - start) >> (level + 1) << (level + 1)) + start;
        struct merkle_hash subtree;
        TRY(source(context, level, at >> level, &subtree));
        h = have ? merkle_node(&subtree, &h) : subtree;
        have = true;
    }
    *out = h;
    return err_ok();
}

struct err merkle_source_root(struct merkle_hash *out, uint64_t size, merkle_source *source,
                              void *context)
{
    if (size > MERKLE_SIZE_MAX)
        return err_set(ERR_LIMIT, "a tree of more than 2^62 leaves");
    if (size == 0) {
        *out = merkle_empty();
        return err_ok();
    }
    return range_root(out, 0, size, source, context);
}

/* Appends the siblings on the way from node (level, node) of a tree of `size` leaves to its root.
 */
static struct err prove_path(struct merkle_proof *proof, unsigned level, uint64_t node,
                             uint64_t size, merkle_source *source, void *context)
{
    uint64_t last = (size - 1) >> level; /* the last node of this level, perhaps incomplete */
    for (; last > 0; level++, node >>= 1, last >>= 1) {
        struct merkle_hash *next = &proof->hashes[proof->n_hashes];
        if (node & 1)
            TRY(source(context, level, node - 1, next));
        else if (node + 1 < last)
            TRY(source(context, level, node + 1, next));
        else if (node + 1 == last)
            TRY(range_root(next, last << level, size, source, context));
        else
            continue; /* the last node without a sibling rises unchanged */
        proof->n_hashes++;
    }
    return err_ok();
}

struct err merkle_prove_inclusion(struct merkle_proof *out, uint64_t index, uint64_t size,
                                  merkle_source *source, void *context)
{
    if (size > MERKLE_SIZE_MAX)
        return err_set(ERR_LIMIT, "a tree of more than 2^62 leaves");
    if (index >= size)
        return err_set(ERR_USAGE, "entry %llu is not in a tree of size %llu",
                       (unsigned long long)index, (unsigned long long)size);
    struct merkle_proof proof = {.n_hashes = 0};
    TRY(prove_path(&proof, 0, index, size, source, context));
    *out = proof;
    return err_ok();
}

struct err merkle_prove_consistency(struct merkle_proof *out, uint64_t old_size, uint64_t new_size,
                                    merkle_source *source, void *context)
{
    if (new_size > MERKLE_SIZE_MAX)
        return err_set(ERR_LIMIT, "a tree of more than 2^62 leaves");
    if (old_size > new_size)
        return err_set(ERR_USAGE, "a tree of size %llu cannot be the past of one of size %llu",
                       (unsigned long long)old_size, (unsigned long long)new_size);
    struct merkle_proof proof = {.n_hashes = 0};
    if (old_size == 0 || old_size == new_size) {
        *out = proof;
        return err_ok();
    }
    /* The largest complete subtree that ends where the old tree ends. */
    unsigned level = 0;
    uint64_t node = old_size - 1;
    for (; node & 1; node >>= 1)
        level++;
    /* If it is the whole old tree, the verifier has its hash: the old root. */
    if (node > 0) {
        TRY(source(context, level, node, &proof.hashes[0]));
        proof.n_hashes = 1;
    }
    TRY(prove_path(&proof, level, node, new_size, source, context));
    *out = proof;
    return err_ok();
}

static struct err inclusion_untrue(uint64_t index, uint64_t size, const char *why)
{
    return err_set(ERR_UNTRUE, "no proof that this is entry %llu of the tree of size %llu: %s",
                   (unsigned long long)index, (unsigned long long)size, why);
}

/* RFC 9162 section 2.1.3.2; fn and sn are its names. */
struct err merkle_verify_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
                                   const struct merkle_proof *proof, const struct merkle_hash *root)
{
    if (index >= size)
        return inclusion_untrue(index, size, "the index is beyond the size");
    if (proof->n_hashes > MERKLE_PROOF_MAX)
        return inclusion_untrue(index, size, "more than 63 hashes");
    uint64_t fn = index, sn = size - 1;
    struct merkle_hash r = *leaf;
    for (size_t i = 0; i < proof->n_hashes; i++) {
        if (sn == 0)
            return inclusion_untrue(index, size, "too many hashes");
        if ((fn & 1) != 0 || fn == sn) {
            r = merkle_node(&proof->hashes[i], &r);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            r = merkle_node(&r, &proof->hashes[i]);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn != 0)
        return inclusion_untrue(index, size, "too few hashes");
    if (!merkle_equal(&r, root))
        return inclusion_untrue(index, size, "the hashes lead to another root");
    return err_ok();
}

static struct err consistency_untrue(uint64_t old_size, uint64_t new_size, const char *why)
{
    return err_set(ERR_UNTRUE,
                   "no proof that the tree of size %llu is the past of that of %llu: %s",
                   (unsigned long long)old_size, (unsigned long long)new_size, why);
}

/* RFC 9162 section 2.1.4.2 from step 3, 0 < old_size < new_size; fn, sn, fr and sr are its names.
 */
static struct err verify_growth(uint64_t old_size, const struct merkle_hash *old_root,
                                uint64_t new_size, const struct merkle_hash *new_root,
                                const struct merkle_proof *proof)
{
    uint64_t fn = old_size - 1, sn = new_size - 1;
    for (; fn & 1; fn >>= 1)
        sn >>= 1;
    /* fn is now 0 exactly when old_size is a power of two: the path begins at the old root. */
    size_t i = fn == 0 ? 0 : 1;
    if (proof->n_hashes < i)
        return consistency_untrue(old_size, new_size, "too few hashes");
    struct merkle_hash fr = fn == 0 ? *old_root : proof->hashes[0];
    struct merkle_hash sr = fr;
    for (; i < proof->n_hashes; i++) {
        const struct merkle_hash *c = &proof->hashes[i];
        if (sn == 0)
            return consistency_untrue(old_size, new_size, "too many hashes");
        if ((fn & 1) != 0 || fn == sn) {
            fr = merkle_node(c, &fr);
            sr = merkle_node(c, &sr);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            sr = merkle_node(&sr, c);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn != 0)
        return consistency_untrue(old_size, new_size, "too few hashes");
    if (!merkle_equal(&fr, old_root))
        return consistency_untrue(old_size, new_size, "the hashes lead to another old root");
    if (!merkle_equal(&sr, new_root))
        return consistency_untrue(old_size, new_size, "the hashes lead to another new root");
    return err_ok();
}

struct err merkle_verify_consistency(uint64_t old_size, const struct merkle_hash *old_root,
                                     uint64_t new_size, const struct merkle_hash *new_root,
                                     const struct merkle_proof *proof)
{
    struct merkle_hash empty = merkle_empty();
    if (old_size > new_size)
        return consistency_untrue(old_size, new_size, "the tree shrank");
    if (proof->n_hashes > MERKLE_PROOF_MAX)
        return consistency_untrue(old_size, new_size, "more than 63 hashes");
    if (old_size == 0 && !merkle_equal(old_root, &empty))
        return consistency_untrue(old_size, new_size, "the old root is not the empty tree's");
    if (old_size == new_size && !merkle_equal(old_root, new_root))
        return consistency_untrue(old_size, new_size, "two roots for one size");
    if (old_size == 0 || old_size == new_size) {
        if (proof->n_hashes != 0)
            return consistency_untrue(old_size, new_size, "hashes where none are needed");
        return err_ok();
    }
    return verify_growth(old_size, old_root, new_size, new_root, proof);
}
