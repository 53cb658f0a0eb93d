/* The fake world's log: entries, blobs, proofs, checkpoints. */
#include "fake_internal.h"

#include <stdlib.h>
#include <string.h>

uint64_t fake_append(struct fake_world *w, struct bytes entry)
{
    w->entries = realloc(w->entries, (w->n_entries + 1) * sizeof *w->entries);
    w->leaves = realloc(w->leaves, (w->n_entries + 1) * sizeof *w->leaves);
    fake_expect(w->entries != NULL && w->leaves != NULL);
    w->entries[w->n_entries] = BUF_INIT;
    buf_append_bytes(&w->entries[w->n_entries], entry);
    w->leaves[w->n_entries] = merkle_leaf(entry);
    return w->n_entries++;
}

void fake_add_blob(struct fake_world *w, struct bytes blob)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, blob);
    for (size_t i = 0; i < w->n_blobs; i++)
        if (memcmp(w->blob_hashes[i], hash, SHA256_LEN) == 0)
            return;
    w->blobs = realloc(w->blobs, (w->n_blobs + 1) * sizeof *w->blobs);
    w->blob_hashes = realloc(w->blob_hashes, (w->n_blobs + 1) * sizeof *w->blob_hashes);
    fake_expect(w->blobs != NULL && w->blob_hashes != NULL);
    memcpy(w->blob_hashes[w->n_blobs], hash, SHA256_LEN);
    w->blobs[w->n_blobs] = BUF_INIT;
    buf_append_bytes(&w->blobs[w->n_blobs++], blob);
}

struct err fake_blob(void *world, const uint8_t hash[SHA256_LEN], struct buf *out)
{
    const struct fake_world *w = world;
    for (size_t i = 0; i < w->n_blobs; i++)
        if (memcmp(w->blob_hashes[i], hash, SHA256_LEN) == 0) {
            buf_append_bytes(out, buf_bytes(&w->blobs[i]));
            return err_ok();
        }
    return err_set(ERR_NOT_FOUND, "no such blob");
}

static struct err subtree(void *world, unsigned level, uint64_t index, struct merkle_hash *out)
{
    const struct fake_world *w = world;
    fake_expect((index + 1) << level <= w->n_entries);
    *out = merkle_root(w->leaves + (index << level), (uint64_t)1 << level);
    return err_ok();
}

void fake_inclusion(struct fake_world *w, struct merkle_proof *out, uint64_t index, uint64_t size)
{
    fake_must(merkle_prove_inclusion(out, index, size, subtree, w));
}

void fake_consistency(struct fake_world *w, struct merkle_proof *out, uint64_t old_size)
{
    fake_must(merkle_prove_consistency(out, old_size, w->n_entries, subtree, w));
}

void fake_checkpoint(struct fake_world *w, struct buf *note, uint64_t size)
{
    struct checkpoint c = {.size = size};
    strcpy(c.origin, w->log.key.name);
    c.root = size > 0 ? merkle_root(w->leaves, size) : merkle_empty();
    fake_must(checkpoint_sign(note, &c, &w->log));
}
