/*
 * The Merkle tree of RFC 6962 section 2.1 (= RFC 9162 section 2.1) over SHA-256: leaf hashes,
 * heads, inclusion and consistency proofs. Pure: no memory of its own, no clock, no file.
 *
 * A proof is an array of hashes, the leaf's sibling first, up to the root's child. Verification
 * follows the iterative algorithms of RFC 9162; every refusal is ERR_UNTRUE and says why.
 */
#ifndef TRANSPARENCY_MERKLE_H
#define TRANSPARENCY_MERKLE_H

#include "common/buf.h"
#include "common/hash.h"

/* 63 is the most a proof over a tree of less than 2^63 leaves can need (tlog-witness, too). */
enum { MERKLE_PROOF_MAX = 63 };
#define MERKLE_SIZE_MAX ((uint64_t)1 << 62) /* leaves that proofs and checkpoints are made for */

struct merkle_hash {
    uint8_t bytes[SHA256_LEN];
};

struct merkle_proof {
    struct merkle_hash hashes[MERKLE_PROOF_MAX];
    size_t n_hashes;
};

struct merkle_hash merkle_leaf(struct bytes entry); /* SHA-256(0x00 || entry) */
struct merkle_hash merkle_node(const struct merkle_hash *l,
                               const struct merkle_hash *r); /* SHA-256(0x01 || l || r) */
struct merkle_hash merkle_empty(void);                       /* SHA-256("") */
bool merkle_equal(const struct merkle_hash *a, const struct merkle_hash *b);

/* The root of complete subtrees: the running right edge of a growing tree. */
struct merkle_edge {
    uint64_t size;                   /* leaves so far */
    struct merkle_hash subtrees[64]; /* one per set bit of size, largest first */
    size_t n_subtrees;
};
#define MERKLE_EDGE_INIT ((struct merkle_edge){0})
void merkle_edge_append(struct merkle_edge *edge, const struct merkle_hash *leaf);
struct merkle_hash merkle_edge_root(const struct merkle_edge *edge);

/* The head over n leaf hashes. */
struct merkle_hash merkle_root(const struct merkle_hash *leaves, uint64_t n); /* (n) */

/* Where proofs come from: gives the hash of the complete subtree of level `level` (2^level leaves)
 * and index `index`, which begins at leaf index * 2^level. */
typedef struct err merkle_source(void *context, unsigned level, uint64_t index,
                                 struct merkle_hash *out);
/* index < size (ERR_USAGE); size at most MERKLE_SIZE_MAX (ERR_LIMIT); or the source's error. */
struct err merkle_prove_inclusion(struct merkle_proof *out, uint64_t index, uint64_t size,
                                  merkle_source *source, void *context) MUST_USE;
/* old_size <= new_size (ERR_USAGE); empty from size 0 and between equal sizes. */
struct err merkle_prove_consistency(struct merkle_proof *out, uint64_t old_size, uint64_t new_size,
                                    merkle_source *source, void *context) MUST_USE;
/* Root of the first `size` leaves from complete subtrees; size may be 0. */
struct err merkle_source_root(struct merkle_hash *out, uint64_t size, merkle_source *source,
                              void *context) MUST_USE;

/* ERR_UNTRUE unless `leaf` is leaf `index` of the tree (size, root). */
struct err merkle_verify_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
                                   const struct merkle_proof *proof,
                                   const struct merkle_hash *root) MUST_USE;
/* ERR_UNTRUE unless the old tree is a prefix of the new. Old size 0 is consistent with any tree,
 * with an empty proof and the empty root (RFC 6962, tlog-witness). Equal sizes need equal roots and
 * an empty proof. */
struct err merkle_verify_consistency(uint64_t old_size, const struct merkle_hash *old_root,
                                     uint64_t new_size, const struct merkle_hash *new_root,
                                     const struct merkle_proof *proof) MUST_USE;

#endif
