/*
 * The write path: one transaction for blobs, entries, tiles and the signed checkpoint. What is
 * signed is what was read back; what is told is what COMMIT made durable and a verifier would
 * believe. The signature is verified while COMMIT waits for the disk (store_check.c). Should it not
 * verify, its checkpoint may be on the disk all the same: nobody was told of it, readers refuse it,
 * and so does the next start, as it does any newest checkpoint that its key did not sign.
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
    if (s->tree.size > MERKLE_SIZE_MAX - n_entries)
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

/* Many rows a statement: SQLite's care around each statement that a trigger may refuse costs more
 * than a row. Few entries go one by one: the table that the many are gathered in costs more. */
static struct err insert_entries(struct store *s, uint64_t first, const struct store_entry *entries,
                                 size_t n)
{
    for (size_t done = 0; done < n;) {
        bool wide = n - done >= STORE_ROWS_WIDE;
        size_t end = done + (wide ? STORE_ROWS_WIDE : 1);
        STORE_STATEMENT *st = NULL;
        TRY(store_statement(&st, s, wide ? SQL_ENTRY_INSERT_WIDE : SQL_ENTRY_INSERT));
        for (int parameter = 1; done < end; done++, parameter += 2) {
            TRY(store_bind_int(s, st, parameter, first + done));
            TRY(store_bind_blob(s, st, parameter + 1, entries[done].bytes));
        }
        TRY(store_run(s, st));
    }
    return err_ok();
}

static struct err differs(const struct store *s, const char *what, uint64_t index)
{
    return err_set(ERR_IO, "%s: %s %llu reads back differently: memory or disk is failing", s->path,
                   what, (unsigned long long)index);
}

static struct err read_back_tile(struct store *s, unsigned level, const struct tile_hashes *tile,
                                 const struct merkle_hash *root)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    struct bytes hashes;
    struct merkle_hash again;
    TRY(store_statement(&st, s, SQL_TILE));
    TRY(store_bind_int(s, st, 1, level));
    TRY(store_bind_int(s, st, 2, tile->index));
    TRY(store_step(s, st, &row));
    if (!row)
        return differs(s, "tile", tile->index);
    TRY(store_column_blob(&hashes, st, 0, STORE_TILE_LEN, "a tile"));
    TRY(store_column_hash(&again, st, 1, "a tile's root"));
    if (!bytes_equal(hashes, bytes_of(tile->hashes, STORE_TILE_LEN)) || !merkle_equal(&again, root))
        return differs(s, "tile", tile->index);
    return err_ok();
}

static struct err insert_tile(void *store, unsigned level, const struct tile_hashes *tile,
                              const struct merkle_hash *root)
{
    struct store *s = store;
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_TILE_INSERT));
    TRY(store_bind_int(s, st, 1, level));
    TRY(store_bind_int(s, st, 2, tile->index));
    TRY(store_bind_blob(s, st, 3, bytes_of(root->bytes, SHA256_LEN)));
    TRY(store_bind_blob(s, st, 4, bytes_of(tile->hashes, STORE_TILE_LEN)));
    TRY(store_run(s, st));
    return read_back_tile(s, level, tile, root);
}

/* The row that must be the log's next entry. */
static struct err next_entry(struct store *s, sqlite3_stmt *st, struct bytes wanted,
                             struct merkle_hash *leaf)
{
    bool row = false;
    uint64_t found = 0;
    struct bytes again;
    TRY(store_step(s, st, &row));
    if (row)
        TRY(store_column_u64(&found, st, 0, "an entry's index"));
    if (!row || found != s->tree.size)
        return differs(s, "entry", s->tree.size);
    TRY(store_column_blob(&again, st, 1, STORE_ENTRY_MAX, "an entry"));
    if (!bytes_equal(again, wanted))
        return differs(s, "entry", s->tree.size);
    *leaf = merkle_leaf(again);
    return err_ok();
}

/* The leaves are of the bytes as the database gives them back, not as they came in; the entries
 * are the log's last, without gaps. */
static struct err read_back_entries(struct store *s, const struct store_entry *entries, size_t n)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    TRY(store_statement(&st, s, SQL_ENTRY_FROM));
    TRY(store_bind_int(s, st, 1, s->tree.size));
    for (size_t i = 0; i < n; i++) {
        struct merkle_hash leaf;
        TRY(next_entry(s, st, entries[i].bytes, &leaf));
        TRY(tile_tree_append(&s->tree, &leaf, insert_tile, s));
    }
    TRY(store_step(s, st, &row));
    return row ? differs(s, "entry", s->tree.size) : err_ok();
}

static struct err sign(struct store *s, struct buf *note)
{
    struct checkpoint c = {.size = s->tree.size, .root = tile_tree_root(&s->tree)};
    memcpy(c.origin, s->key.name, sizeof c.origin);
    return checkpoint_sign_with(note, &c, &s->key, s->secret);
}

static struct err insert_checkpoint(struct store *s, struct bytes note)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_CHECKPOINT_INSERT));
    TRY(store_bind_int(s, st, 1, s->tree.size));
    TRY(store_bind_blob(s, st, 2, note));
    return store_run(s, st);
}

static struct err run(struct store *s, enum store_sql which)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, which));
    return store_run(s, st);
}

static struct err commit(struct store *s, struct bytes note)
{
    TRY(insert_checkpoint(s, note));
    return run(s, SQL_COMMIT);
}

/* The checkpoint is looked at as a verifier will. */
static struct err commit_checked(struct store *s, struct checkpoint *head, struct bytes note)
{
    store_check_begin(s->check, s->tree.size, note);
    struct err e = commit(s, note);
    store_check_wait(s->check); /* it reads the note */
    TRY(e);
    return err_context(store_check_result(s->check, head),
                       "what was just signed does not verify, so memory or processor is failing, "
                       "and the log now ends in a checkpoint that nobody believes");
}

static struct err append_all(struct store *s, struct checkpoint *head, struct buf *note,
                             const struct store_entry *entries, size_t n_entries)
{
    for (size_t i = 0; i < n_entries; i++)
        for (size_t j = 0; j < entries[i].n_blobs; j++)
            TRY(append_blob(s, entries[i].blobs[j]));
    TRY(insert_entries(s, s->tree.size, entries, n_entries));
    TRY(read_back_entries(s, entries, n_entries));
    TRY(sign(s, note));
    return commit_checked(s, head, buf_bytes(note));
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
    TRY(run(s, SQL_BEGIN_WRITE));
    BUF_AUTO note = BUF_INIT;
    struct checkpoint head;
    uint64_t first = s->tree.size;
    if (is_err(append_all(s, &head, &note, entries, n_entries)))
        return give_up(s);
    *first_index = first;
    s->newest = head;
    buf_clear(&s->newest_note);
    buf_append_bytes(&s->newest_note, buf_bytes(&note));
    return err_ok();
}
