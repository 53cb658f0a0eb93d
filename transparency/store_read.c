/*
 * Reading the log: entries, blobs, proofs and tiles. What is read is checked against its hash, so
 * that a damaged disk gives an error and never other bytes.
 */
#include "transparency/store_db.h"

#include <string.h>

const char *store_origin(const struct store *s)
{
    return s->key.name;
}

const char *store_vkey(const struct store *s)
{
    return (const char *)s->vkey.data;
}

static struct err lacks_entry(const struct store *s, uint64_t index)
{
    return err_set(ERR_NOT_FOUND, "%s: the log has no entry %llu", s->path,
                   (unsigned long long)index);
}

/* An entry's bytes against the tree's leaf. */
static struct err check_entry(const struct store *s, uint64_t index, struct bytes entry,
                              const struct merkle_hash *stored)
{
    struct merkle_hash leaf = merkle_leaf(entry);
    if (!merkle_equal(&leaf, stored))
        return err_set(ERR_UNTRUE,
                       "%s: entry %llu is not the one that was logged: its hash differs", s->path,
                       (unsigned long long)index);
    return err_ok();
}

/* The entry's bytes, borrowed from the statement, and checked. */
static struct err read_entry(struct store *s, sqlite3_stmt *st, uint64_t index, struct bytes *out)
{
    bool row = false;
    uint64_t size = s->tree.size;
    struct merkle_hash stored;
    if (index >= size) /* perhaps another has appended */
        TRY(store_size(s, &size));
    if (index < size) {
        TRY(store_bind_int(s, st, 1, index));
        TRY(store_step(s, st, &row));
    }
    if (!row)
        return lacks_entry(s, index);
    TRY(store_column_blob(out, st, 0, STORE_ENTRY_MAX, "an entry"));
    TRY(store_node(s, 0, index, &stored));
    return check_entry(s, index, *out, &stored);
}

struct err store_entry_read(struct store *s, uint64_t index, struct buf *out)
{
    TRY(store_usable(s));
    STORE_STATEMENT *st = NULL;
    struct bytes bytes;
    TRY(store_statement(&st, s, SQL_ENTRY));
    TRY(read_entry(s, st, index, &bytes));
    buf_append_bytes(out, bytes);
    return err_ok();
}

struct err store_blob_read(struct store *s, const uint8_t sha256_wanted[SHA256_LEN],
                           struct buf *out)
{
    TRY(store_usable(s));
    BUF_AUTO name = BUF_INIT;
    buf_append_hex(&name, bytes_of(sha256_wanted, SHA256_LEN));
    STORE_STATEMENT *st = NULL;
    bool row = false;
    TRY(store_statement(&st, s, SQL_BLOB));
    TRY(store_bind_blob(s, st, 1, bytes_of(sha256_wanted, SHA256_LEN)));
    TRY(store_step(s, st, &row));
    if (!row)
        return err_set(ERR_NOT_FOUND, "%s: the log has no blob %s", s->path, buf_str(&name));
    struct bytes bytes;
    TRY(store_column_blob(&bytes, st, 0, STORE_BLOB_MAX, "a blob"));
    uint8_t digest[SHA256_LEN];
    sha256(digest, bytes);
    if (memcmp(digest, sha256_wanted, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "%s: blob %s holds other bytes than its name says", s->path,
                       buf_str(&name));
    buf_append_bytes(out, bytes);
    return err_ok();
}

static struct err visit_blob(struct store *s, sqlite3_stmt *st, store_blob_visit *visit,
                             void *context)
{
    struct merkle_hash name, found;
    struct bytes bytes;
    TRY(store_column_hash(&name, st, 0, "a blob's name"));
    TRY(store_column_blob(&bytes, st, 1, STORE_BLOB_MAX, "a blob"));
    sha256(found.bytes, bytes);
    if (merkle_equal(&name, &found))
        return visit(context, name.bytes, bytes);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(name.bytes, SHA256_LEN));
    buf_append_str(&text, ": its bytes hash to ");
    buf_append_hex(&text, bytes_of(found.bytes, SHA256_LEN));
    return err_set(ERR_UNTRUE, "%s: blob %s", s->path, buf_str(&text));
}

struct err store_each_blob(struct store *s, store_blob_visit *visit, void *context)
{
    TRY(store_usable(s));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BLOB_ALL));
    for (;;) {
        bool row = false;
        TRY(store_step(s, st, &row));
        if (!row)
            return err_ok();
        TRY(visit_blob(s, st, visit, context));
    }
}

/* Proofs are made for trees that the newest checkpoint covers, no others. */
static struct err check_covered(struct store *s, uint64_t size)
{
    uint64_t newest;
    TRY(store_usable(s));
    TRY(store_size(s, &newest));
    if (size > newest)
        return err_set(ERR_NOT_FOUND, "%s: the log has %llu entries, not %llu", s->path,
                       (unsigned long long)newest, (unsigned long long)size);
    return err_ok();
}

struct err store_prove_inclusion(struct store *s, struct merkle_proof *out, uint64_t index,
                                 uint64_t size)
{
    TRY(check_covered(s, size));
    return merkle_prove_inclusion(out, index, size, store_node, s);
}

struct err store_prove_consistency(struct store *s, struct merkle_proof *out, uint64_t old_size,
                                   uint64_t new_size)
{
    TRY(check_covered(s, new_size));
    return merkle_prove_consistency(out, old_size, new_size, store_node, s);
}

static struct err next_entry(struct store *s, sqlite3_stmt *st, uint64_t index,
                             const struct merkle_hash *leaf, struct bytes *out)
{
    bool there = false;
    uint64_t found = 0;
    TRY(store_step(s, st, &there));
    if (there)
        TRY(store_column_u64(&found, st, 0, "an entry's index"));
    if (!there || found != index)
        return lacks_entry(s, index);
    TRY(store_column_blob(out, st, 1, STORE_ENTRY_MAX, "an entry"));
    return check_entry(s, index, *out, leaf);
}

static struct err append_entries(struct store *s, const struct tile *t,
                                 const struct tile_hashes *tile, struct buf *out)
{
    uint64_t first = t->index * TILE_WIDTH;
    STORE_STATEMENT *entries = NULL;
    TRY(store_statement(&entries, s, SQL_ENTRY_FROM));
    TRY(store_bind_int(s, entries, 1, first));
    for (unsigned i = 0; i < t->width; i++) {
        struct bytes bytes;
        TRY(next_entry(s, entries, first + i, &tile->hashes[i], &bytes));
        buf_append_u16be(out, (uint16_t)bytes.len);
        buf_append_bytes(out, bytes);
    }
    return err_ok();
}

struct err store_tile(struct store *s, const struct tile *t, struct buf *out)
{
    uint64_t size;
    TRY(store_usable(s));
    TRY(store_size(s, &size));
    if (t->width == 0 || t->width > tile_width_at(t->level, t->index, size)) {
        BUF_AUTO path = BUF_INIT;
        tile_format(&path, t);
        return err_set(ERR_NOT_FOUND, "%s: the log of %llu entries has no %s", s->path,
                       (unsigned long long)size, buf_str(&path));
    }
    BUF_AUTO bytes = BUF_INIT;
    const struct tile_hashes *tile = NULL;
    bool is_bundle = t->level == TILE_LEVEL_ENTRIES;
    TRY(store_tile_hashes(s, &tile, is_bundle ? 0 : (unsigned)t->level, t->index));
    if (is_bundle)
        TRY(append_entries(s, t, tile, &bytes));
    else
        buf_append(&bytes, tile->hashes, t->width * sizeof tile->hashes[0]);
    buf_append_bytes(out, buf_bytes(&bytes));
    return err_ok();
}
