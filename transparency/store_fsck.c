/*
 * The auditor's replay: everything that the file says is computed again from the raw bytes. Nothing
 * stored is believed but the signatures of the key that the auditor brought.
 */
#include "transparency/store_db.h"

#include <stdlib.h>
#include <string.h>

/* One pass over the tables side by side, each in its order. */
struct replay {
    struct store *s;
    struct tile_tree tree;            /* over the entries read so far */
    uint64_t n_tiles;                 /* full ones so far */
    sqlite3_stmt *tiles[TILE_LEVELS]; /* by level, prepared when the first is due */
    sqlite3_stmt *checkpoints;        /* owned by the store */
    bool have_checkpoint;             /* its row is the next to be met */
    uint64_t checkpoint_size;
    uint8_t head[SHA256_LEN]; /* of the last checkpoint's note */
};

static void append_hash(struct buf *out, const struct merkle_hash *h)
{
    buf_append_hex(out, bytes_of(h->bytes, SHA256_LEN));
}

/* The first row of the file check is "ok", or what is wrong with the file's structure. */
static struct err check_structure(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    TRY(store_statement(&st, s, SQL_CHECK_FILE));
    TRY(store_step(s, st, &row));
    const char *told = row ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (told == NULL || strcmp(told, "ok") != 0)
        return err_set(ERR_MALFORMED, "%s: the file's structure is damaged: %s", s->path,
                       told != NULL ? told : "no answer");
    return err_ok();
}

static struct err check_key(struct store *s, const struct note_key *key)
{
    if (strcmp(s->key.name, key->name) != 0)
        return err_set(ERR_UNTRUE, "%s: the log is of origin '%s', not of '%s'", s->path,
                       s->key.name, key->name);
    if (s->key.type != key->type || s->key.id != key->id ||
        memcmp(s->key.public_key, key->public_key, ED25519_PUBLIC_LEN) != 0)
        return err_set(ERR_UNTRUE, "%s: the log of '%s' is of key %08x, not of the key %08x given",
                       s->path, s->key.name, (unsigned)s->key.id, (unsigned)key->id);
    return err_ok();
}

static struct err tile_statement(struct replay *r, unsigned level)
{
    if (r->tiles[level] != NULL)
        return err_ok();
    if (sqlite3_prepare_v2(r->s->db,
                           "SELECT idx, root, hashes FROM tile WHERE level = ?1 ORDER BY idx", -1,
                           &r->tiles[level], NULL) != SQLITE_OK)
        return store_db_err(r->s, "read the tree");
    return store_bind_int(r->s, r->tiles[level], 1, level);
}

static struct err says_other(const struct replay *r, const char *what, uint64_t index,
                             const struct merkle_hash *computed, const struct merkle_hash *stored)
{
    BUF_AUTO text = BUF_INIT;
    append_hash(&text, computed);
    buf_append_str(&text, ", its tile says ");
    append_hash(&text, stored);
    return err_set(ERR_UNTRUE, "%s: %s %llu hashes to %s", r->s->path, what,
                   (unsigned long long)index, buf_str(&text));
}

/* The stored tile against the one that the entries make; of the lowest level each hash names its
 * entry. */
static struct err compare_tile(struct replay *r, unsigned level, const struct tile_hashes *tile,
                               const struct merkle_hash *root)
{
    struct bytes stored;
    struct merkle_hash stored_root;
    TRY(store_column_hash(&stored_root, r->tiles[level], 1, "a tile's root"));
    TRY(store_column_blob(&stored, r->tiles[level], 2, STORE_TILE_LEN, "a tile"));
    if (stored.len != STORE_TILE_LEN)
        return err_set(ERR_MALFORMED, "%s: tile %llu of level %u has %zu bytes, not %d", r->s->path,
                       (unsigned long long)tile->index, level, stored.len, STORE_TILE_LEN);
    if (memcmp(stored.data, tile->hashes, STORE_TILE_LEN) == 0 && merkle_equal(root, &stored_root))
        return err_ok();
    for (unsigned i = 0; level == 0 && i < TILE_WIDTH; i++) {
        struct merkle_hash leaf;
        memcpy(leaf.bytes, stored.data + i * sizeof leaf, sizeof leaf);
        if (!merkle_equal(&tile->hashes[i], &leaf))
            return says_other(r, "entry", tile->index * TILE_WIDTH + i, &tile->hashes[i], &leaf);
    }
    return err_set(ERR_UNTRUE, "%s: tile %llu of level %u holds other hashes than the entries make",
                   r->s->path, (unsigned long long)tile->index, level);
}

/* The next stored tile of this level must be the one that has become full. */
static struct err check_tile(void *replay, unsigned level, const struct tile_hashes *tile,
                             const struct merkle_hash *root)
{
    struct replay *r = replay;
    bool row = false;
    uint64_t found = 0;
    TRY(tile_statement(r, level));
    TRY(store_step(r->s, r->tiles[level], &row));
    if (row)
        TRY(store_column_u64(&found, r->tiles[level], 0, "a tile's index"));
    if (!row || found != tile->index)
        return err_set(ERR_UNTRUE, "%s: tile %llu of level %u is missing", r->s->path,
                       (unsigned long long)tile->index, level);
    r->n_tiles++;
    return compare_tile(r, level, tile, root);
}

static struct err next_checkpoint(struct replay *r)
{
    TRY(store_step(r->s, r->checkpoints, &r->have_checkpoint));
    if (r->have_checkpoint)
        TRY(store_column_u64(&r->checkpoint_size, r->checkpoints, 0, "a checkpoint's size"));
    return err_ok();
}

/* The bytes must be exactly what the log signs: a checkpoint without extensions, one signature. */
static struct err check_form(struct replay *r, const struct checkpoint *c, struct bytes note)
{
    BUF_AUTO text = BUF_INIT;
    checkpoint_format(&text, c);
    buf_append_str(&text, "\n");
    size_t n_newlines = 0;
    for (size_t i = text.len; i < note.len; i++)
        n_newlines += note.data[i] == '\n';
    if (note.len < text.len || memcmp(note.data, text.data, text.len) != 0 || n_newlines != 1)
        return err_set(ERR_UNTRUE, "%s: checkpoint %llu holds more than the log signs", r->s->path,
                       (unsigned long long)c->size);
    return err_ok();
}

static bool checkpoint_is_due(const struct replay *r)
{
    return r->have_checkpoint && r->checkpoint_size == r->tree.size;
}

/* The checkpoint that is stored for the size reached must be signed and have this root. */
static struct err check_checkpoint(struct replay *r)
{
    struct bytes note;
    struct checkpoint c;
    TRY(store_column_blob(&note, r->checkpoints, 1, NOTE_MAX, "a checkpoint's note"));
    TRY(store_check_note(r->s, &c, r->checkpoint_size, note));
    TRY(check_form(r, &c, note));
    struct merkle_hash root = tile_tree_root(&r->tree);
    if (!merkle_equal(&c.root, &root)) {
        BUF_AUTO text = BUF_INIT;
        append_hash(&text, &root);
        buf_append_str(&text, ", the checkpoint says ");
        append_hash(&text, &c.root);
        return err_set(ERR_UNTRUE, "%s: checkpoint %llu: the entries' root is %s", r->s->path,
                       (unsigned long long)c.size, buf_str(&text));
    }
    sha256(r->head, note);
    return next_checkpoint(r);
}

static struct err replay_entry(struct replay *r, sqlite3_stmt *entries, store_visit *visit,
                               void *context)
{
    uint64_t index;
    struct bytes bytes;
    TRY(store_column_u64(&index, entries, 0, "an entry's index"));
    if (index != r->tree.size)
        return err_set(ERR_UNTRUE, "%s: entry %llu is missing", r->s->path,
                       (unsigned long long)r->tree.size);
    TRY(store_column_blob(&bytes, entries, 1, STORE_ENTRY_MAX, "an entry"));
    struct merkle_hash leaf = merkle_leaf(bytes);
    TRY(tile_tree_append(&r->tree, &leaf, check_tile, r));
    bool ends = checkpoint_is_due(r);
    if (ends)
        TRY(check_checkpoint(r));
    return visit != NULL ? visit(context, index, bytes, &leaf, ends ? r->head : NULL) : err_ok();
}

/* Nothing is left over in any table: no unsigned entries, no checkpoint without entries, no tile
 * outside the tree. */
static struct err check_ends(struct replay *r, uint64_t last_checkpoint)
{
    if (r->have_checkpoint)
        return err_set(ERR_UNTRUE, "%s: checkpoint %llu, but the log has %llu entries", r->s->path,
                       (unsigned long long)r->checkpoint_size, (unsigned long long)r->tree.size);
    if (last_checkpoint != r->tree.size)
        return err_set(ERR_UNTRUE, "%s: entry %llu is under no checkpoint", r->s->path,
                       (unsigned long long)last_checkpoint);
    STORE_STATEMENT *st = NULL;
    bool row = false;
    uint64_t n = 0;
    TRY(store_statement(&st, r->s, SQL_TILE_COUNT));
    TRY(store_step(r->s, st, &row));
    TRY(store_column_u64(&n, st, 0, "the number of tiles"));
    if (n != r->n_tiles)
        return err_set(ERR_UNTRUE, "%s: %llu tiles are stored where the entries make %llu",
                       r->s->path, (unsigned long long)n, (unsigned long long)r->n_tiles);
    return err_ok();
}

static struct err replay_log(struct replay *r, store_visit *visit, void *context)
{
    STORE_STATEMENT *checkpoints = NULL;
    STORE_STATEMENT *entries = NULL;
    TRY(store_statement(&checkpoints, r->s, SQL_CHECKPOINT_ALL));
    TRY(store_statement(&entries, r->s, SQL_ENTRY_ALL));
    r->checkpoints = checkpoints;
    TRY(next_checkpoint(r));
    if (!r->have_checkpoint || r->checkpoint_size != 0)
        return err_set(ERR_UNTRUE, "%s: the checkpoint of the empty log is missing", r->s->path);
    TRY(check_checkpoint(r));
    uint64_t last_checkpoint = 0;
    for (;;) {
        bool row = false;
        TRY(store_step(r->s, entries, &row));
        if (!row)
            break;
        uint64_t due = r->have_checkpoint ? r->checkpoint_size : 0;
        TRY(replay_entry(r, entries, visit, context));
        if (due == r->tree.size)
            last_checkpoint = due;
    }
    return check_ends(r, last_checkpoint);
}

static struct err no_visit(void *context, const uint8_t digest[SHA256_LEN], struct bytes blob)
{
    (void)context, (void)digest, (void)blob;
    return err_ok();
}

static struct err check_all(struct store *s, const struct note_key *key, store_visit *visit,
                            void *context)
{
    TRY(check_structure(s));
    TRY(check_key(s, key));
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "out of memory for a log's tree");
    r->s = s;
    struct err e = replay_log(r, visit, context);
    for (unsigned level = 0; level < TILE_LEVELS; level++)
        sqlite3_finalize(r->tiles[level]);
    free(r);
    TRY(e);
    TRY(store_fsck_cosignatures(s));
    return store_each_blob(s, no_visit, NULL);
}

struct err store_fsck(struct store *s, const struct note_key *key, store_visit *visit,
                      void *context)
{
    TRY(store_usable(s));
    STORE_STATEMENT *begin = NULL;
    TRY(store_statement(&begin, s,
                        SQL_BEGIN_READ)); /* one state of the file for all that follows */
    TRY(store_run(s, begin));
    struct err e = check_all(s, key, visit, context);
    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL); /* of nothing: lets go of the snapshot */
    return e;
}
