/*
 * The write path: one transaction for blobs, entries, nodes and the signed checkpoint. What is
 * signed is what was read back; what is told is what COMMIT made durable.
 *
 * Any failure after BEGIN is final for the store. After a failed fsync the page cache may hold what
 * the disk does not, so only a new start, from the disk, can know.
 */
#include "transparency/store_db.h"

#include <string.h>

static struct err check_arguments(const struct store *s, const struct store_entry *entries,
                                  size_t n_entries)
{
    if (!s->writer)
        return err_set(ERR_USAGE, "%s is open for reading only", s->path);
    if (n_entries == 0 || n_entries > STORE_APPEND_MAX)
        return err_set(ERR_USAGE, "%zu entries in one append, not 1 to %d", n_entries,
                       STORE_APPEND_MAX);
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i].bytes.len == 0 || entries[i].bytes.len > STORE_ENTRY_MAX)
            return err_set(ERR_LIMIT, "an entry of %zu bytes, not 1 to %d: larger things are blobs",
                           entries[i].bytes.len, STORE_ENTRY_MAX);
        for (size_t j = 0; j < entries[i].n_blobs; j++)
            if (entries[i].blobs[j].len > STORE_BLOB_MAX)
                return err_set(ERR_LIMIT, "a blob of %zu bytes, more than %d",
                               entries[i].blobs[j].len, STORE_BLOB_MAX);
    }
    if (s->edge.size > MERKLE_SIZE_MAX - n_entries)
        return err_set(ERR_LIMIT, "%s is full", s->path);
    return err_ok();
}

static struct err blob_is_stored(struct store *s, const uint8_t digest[SHA256_LEN], bool *row)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BLOB));
    TRY(store_bind_blob(s, st, 1, bytes_of(digest, SHA256_LEN)));
    return store_step(s, st, row);
}

static struct err insert_blob(struct store *s, const uint8_t digest[SHA256_LEN], struct bytes bytes)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BLOB_INSERT));
    TRY(store_bind_blob(s, st, 1, bytes_of(digest, SHA256_LEN)));
    TRY(store_bind_blob(s, st, 2, bytes));
    return store_run(s, st);
}

static struct err append_blob(struct store *s, struct bytes bytes)
{
    uint8_t digest[SHA256_LEN];
    sha256(digest, bytes);
    bool stored = false;
    TRY(blob_is_stored(s, digest, &stored));
    if (!stored)
        TRY(insert_blob(s, digest, bytes));
    BUF_AUTO again = BUF_INIT; /* reading checks the hash, of an old blob too */
    return store_blob_read(s, digest, &again);
}

static struct err insert_entry(struct store *s, uint64_t index, struct bytes bytes)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_ENTRY_INSERT));
    TRY(store_bind_int(s, st, 1, index));
    TRY(store_bind_blob(s, st, 2, bytes));
    return store_run(s, st);
}

static struct err insert_node(struct store *s, unsigned level, uint64_t index,
                              const struct merkle_hash *h)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_NODE_INSERT));
    TRY(store_bind_int(s, st, 1, level));
    TRY(store_bind_int(s, st, 2, index));
    TRY(store_bind_blob(s, st, 3, bytes_of(h->bytes, SHA256_LEN)));
    return store_run(s, st);
}

/* The leaf and every subtree that it completes. */
static struct err insert_nodes(struct store *s, const struct merkle_edge *edge,
                               const struct merkle_hash *leaf)
{
    struct merkle_hash h = *leaf;
    uint64_t index = edge->size;
    TRY(insert_node(s, 0, index, &h));
    size_t left = edge->n_subtrees;
    for (unsigned level = 0; (index & 1) != 0; index >>= 1) {
        h = merkle_node(&edge->subtrees[--left], &h);
        TRY(insert_node(s, ++level, index >> 1, &h));
    }
    return err_ok();
}

/* The hash that is signed is of the bytes as the database gives them back, not as they came in. */
static struct err append_entry(struct store *s, struct merkle_edge *edge, struct bytes bytes)
{
    struct merkle_hash leaf = merkle_leaf(bytes);
    TRY(insert_entry(s, edge->size, bytes));
    TRY(insert_nodes(s, edge, &leaf));
    BUF_AUTO again = BUF_INIT;
    TRY(store_entry_read(s, edge->size, &again)); /* compares with the node just stored */
    if (!bytes_equal(buf_bytes(&again), bytes))
        return err_set(ERR_IO, "%s: entry %llu reads back differently: memory or disk is failing",
                       s->path, (unsigned long long)edge->size);
    leaf = merkle_leaf(buf_bytes(&again));
    merkle_edge_append(edge, &leaf);
    return err_ok();
}

/* Signs the new head and looks at it as a verifier will. */
static struct err insert_checkpoint(struct store *s, const struct merkle_edge *edge,
                                    struct checkpoint *head, struct buf *note)
{
    struct checkpoint c = {.size = edge->size, .root = merkle_edge_root(edge)};
    memcpy(c.origin, s->key.name, sizeof c.origin);
    TRY(checkpoint_sign(note, &c, &s->signer));
    TRY(store_check_note(s, head, c.size, buf_bytes(note)));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_CHECKPOINT_INSERT));
    TRY(store_bind_int(s, st, 1, c.size));
    TRY(store_bind_blob(s, st, 2, buf_bytes(note)));
    return store_run(s, st);
}

struct pending {
    struct merkle_edge edge;
    struct checkpoint head;
    struct buf note;
};

static struct err append_all(struct store *s, struct pending *p, const struct store_entry *entries,
                             size_t n_entries)
{
    for (size_t i = 0; i < n_entries; i++) {
        for (size_t j = 0; j < entries[i].n_blobs; j++)
            TRY(append_blob(s, entries[i].blobs[j]));
        TRY(append_entry(s, &p->edge, entries[i].bytes));
    }
    TRY(insert_checkpoint(s, &p->edge, &p->head, &p->note));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COMMIT));
    return store_run(s, st);
}

static struct err begin(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BEGIN_WRITE));
    return store_run(s, st);
}

/* The failure that err_message() tells of is final. A ROLLBACK that fails adds nothing to that. */
static struct err give_up(struct store *s)
{
    store_fail(s);
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return err_set(ERR_IO,
                   "%s could not take what was to be appended; nothing that was told to anybody is "
                   "lost. If the disk is full, free space; then start again: %s",
                   s->path, s->failed);
}

struct err store_append(struct store *s, uint64_t *first_index, const struct store_entry *entries,
                        size_t n_entries)
{
    TRY(store_usable(s));
    TRY(check_arguments(s, entries, n_entries));
    TRY(begin(s));
    struct pending p = {.edge = s->edge};
    struct err e = append_all(s, &p, entries, n_entries);
    if (is_err(e)) {
        buf_cleanup(&p.note);
        return give_up(s);
    }
    *first_index = s->edge.size;
    s->edge = p.edge;
    s->newest = p.head;
    buf_cleanup(&s->newest_note);
    s->newest_note = p.note;
    return err_ok();
}
