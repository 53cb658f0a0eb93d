#include "transparency/store_db.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/text.h"

enum {
    RECHECKED_AT_OPEN = 16, /* entries whose bytes are proven against the root at a start */
    /* Pages of 4 KiB in the -wal before it is copied into the file. A -wal that still grows costs
     * the disk more a COMMIT than one that is written anew; a start after a crash reads it. */
    WAL_PAGES = 1000,
};

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < N_STORE_SQL; i++)
        sqlite3_finalize(s->statements[i]);
    /* After a failure the next start decides from the disk alone. Otherwise the -wal is emptied, so
     * that the one file is the log even where a reader still keeps the -wal from being removed;
     * that this fails is no loss, the -wal is read again. */
    if (s->started && s->failed[0] == 0) {
        sqlite3_busy_timeout(s->db, 0); /* waits for no reader */
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    sqlite3_close(s->db);
    store_check_free(s->check);
    fd_close(&s->lock_fd); /* after the database: the lock covers its closing */
    ed25519_key_free(s->secret);
    buf_cleanup(&s->vkey);
    buf_cleanup(&s->newest_note);
    free(s->path);
    free(s);
}

static struct err load_vkey(struct store *s, sqlite3_stmt *st)
{
    if (sqlite3_column_type(st, 0) != SQLITE_TEXT || sqlite3_column_type(st, 1) != SQLITE_TEXT)
        return err_set(ERR_MALFORMED, "%s: its origin or key is not a text", s->path);
    struct bytes vkey = {sqlite3_column_text(st, 1), (size_t)sqlite3_column_bytes(st, 1)};
    struct bytes origin = {sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0)};
    struct err e = note_vkey_parse(&s->key, vkey);
    if (is_err(e))
        return err_context(e, "%s: the log's key", s->path);
    if (s->key.type != NOTE_ED25519)
        return err_set(ERR_MALFORMED, "%s: its key is not one that signs logs", s->path);
    if (!bytes_equal(origin, bytes_of_str(s->key.name)))
        return err_set(ERR_MALFORMED, "%s: its origin is not its key's name", s->path);
    buf_append_bytes(&s->vkey, vkey);
    buf_str(&s->vkey); /* store_vkey gives it as a C string */
    return err_ok();
}

struct err store_load_meta(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    TRY(store_statement(&st, s, SQL_META));
    TRY(store_step(s, st, &row));
    if (!row)
        return err_set(ERR_MALFORMED, "%s: the log does not say whose it is", s->path);
    return load_vkey(s, st);
}

struct err store_check_note(const struct store *s, struct checkpoint *out, uint64_t size,
                            struct bytes note)
{
    struct checkpoint c;
    struct err e = checkpoint_verify(&c, note, s->key.name, &s->key);
    if (is_err(e))
        return err_context(e, "%s: checkpoint %llu", s->path, (unsigned long long)size);
    if (c.size != size)
        return err_set(ERR_UNTRUE, "%s: checkpoint %llu is signed for size %llu", s->path,
                       (unsigned long long)size, (unsigned long long)c.size);
    *out = c;
    return err_ok();
}

/* The row that `st` gives, verified; the bytes are borrowed from it. One that is, byte for byte,
 * the newest that was verified before need not be once more. */
static struct err read_checkpoint(struct store *s, sqlite3_stmt *st, struct bytes *note,
                                  struct checkpoint *out, bool *row)
{
    TRY(store_step(s, st, row));
    if (!*row)
        return err_ok();
    uint64_t size;
    TRY(store_column_u64(&size, st, 0, "a checkpoint's size"));
    TRY(store_column_blob(note, st, 1, NOTE_MAX, "a checkpoint's note"));
    if (note->len > 0 && size == s->newest.size && bytes_equal(*note, buf_bytes(&s->newest_note)))
        *out = s->newest;
    else
        TRY(store_check_note(s, out, size, *note));
    return err_ok();
}

static struct err read_newest(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    struct bytes note;
    struct checkpoint c;
    TRY(store_statement(&st, s, SQL_CHECKPOINT_NEWEST));
    TRY(read_checkpoint(s, st, &note, &c, &row));
    if (!row)
        return err_set(ERR_MALFORMED, "%s: the log has no checkpoint", s->path);
    s->newest = c;
    buf_clear(&s->newest_note);
    buf_append_bytes(&s->newest_note, note);
    return err_ok();
}

struct err store_checkpoint(struct store *s, struct buf *note, struct checkpoint *out)
{
    TRY(store_usable(s));
    if (!s->writer)
        TRY(read_newest(s));
    if (note != NULL)
        buf_append_bytes(note, buf_bytes(&s->newest_note));
    if (out != NULL)
        *out = s->newest;
    return err_ok();
}

struct err store_checkpoint_at(struct store *s, uint64_t size, struct buf *note)
{
    TRY(store_usable(s));
    STORE_STATEMENT *st = NULL;
    bool row = false;
    struct bytes bytes;
    struct checkpoint c;
    TRY(store_statement(&st, s, SQL_CHECKPOINT_AT));
    if (size <= MERKLE_SIZE_MAX) {
        TRY(store_bind_int(s, st, 1, size));
        TRY(read_checkpoint(s, st, &bytes, &c, &row));
    }
    if (!row)
        return err_set(ERR_NOT_FOUND, "%s: the log has no checkpoint of size %llu", s->path,
                       (unsigned long long)size);
    buf_append_bytes(note, bytes);
    return err_ok();
}

struct err store_size(struct store *s, uint64_t *out)
{
    TRY(store_checkpoint(s, NULL, NULL));
    TRY(store_tree_grow(s));
    *out = s->newest.size;
    return err_ok();
}

struct err store_check_extends(struct store *s, const struct checkpoint *known)
{
    uint64_t size;
    TRY(store_size(s, &size));
    if (strcmp(known->origin, s->key.name) != 0)
        return err_set(ERR_UNTRUE, "%s: the log is of origin '%s', the known checkpoint of '%s'",
                       s->path, s->key.name, known->origin);
    if (known->size > size)
        return err_set(ERR_UNTRUE,
                       "%s: the log has %llu entries, but its checkpoint of size %llu is known: an "
                       "older copy of the file was put in its place",
                       s->path, (unsigned long long)size, (unsigned long long)known->size);
    struct merkle_hash root;
    TRY(merkle_source_root(&root, known->size, store_node, s));
    if (!merkle_equal(&root, &known->root))
        return err_set(ERR_UNTRUE,
                       "%s: the log's first %llu entries are not those of the known checkpoint: it "
                       "is another branch of the log",
                       s->path, (unsigned long long)known->size);
    return err_ok();
}

/* The newest `n` entries' bytes, each proven against the newest root. */
static struct err check_last_entries(struct store *s, uint64_t n)
{
    const struct checkpoint *c = &s->newest;
    for (uint64_t i = c->size > n ? c->size - n : 0; i < c->size; i++) {
        BUF_AUTO bytes = BUF_INIT;
        TRY(store_entry_read(s, i, &bytes));
        struct merkle_hash leaf = merkle_leaf(buf_bytes(&bytes));
        struct merkle_proof proof;
        TRY(merkle_prove_inclusion(&proof, i, c->size, store_node, s));
        TRY(merkle_verify_inclusion(&leaf, i, c->size, &proof, &c->root));
    }
    return err_ok();
}

static struct err check_entry_count(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    bool row = false;
    uint64_t n = 0;
    TRY(store_statement(&st, s, SQL_ENTRY_MAX));
    TRY(store_step(s, st, &row));
    if (row)
        TRY(store_column_u64(&n, st, 0, "the number of entries"));
    if (n != s->newest.size)
        return err_set(ERR_UNTRUE, "%s: the log has %llu entries, its newest checkpoint signs %llu",
                       s->path, (unsigned long long)n, (unsigned long long)s->newest.size);
    return err_ok();
}

static struct err check_signer(struct store *s, const struct note_signer *signer)
{
    char wanted[84];
    if (strcmp(s->key.name, signer->key.name) != 0)
        return err_set(ERR_UNTRUE, "%s: the log is of origin '%s', not of '%s'", s->path,
                       s->key.name, printable(wanted, bytes_of_str(signer->key.name)));
    if (s->key.id != signer->key.id || memcmp(s->key.public_key, signer->key.public_key, 32) != 0)
        return err_set(ERR_UNTRUE,
                       "%s: the log of '%s' is signed by key %08x, not by %08x: give the key that "
                       "it was made with",
                       s->path, s->key.name, (unsigned)s->key.id, (unsigned)signer->key.id);
    s->secret = ed25519_key_new(signer->seed);
    return err_ok();
}

struct err store_set_durable(struct store *s)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA journal_mode=WAL", -1, &st, NULL) != SQLITE_OK)
        return store_db_err(s, "set journal_mode");
    bool wal = sqlite3_step(st) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
    struct err e = wal ? err_ok() : store_db_err(s, "set journal_mode=WAL");
    sqlite3_finalize(st);
    if (!wal && !is_err(e))
        e = err_set(ERR_IO, "%s: SQLite refuses journal_mode=WAL on this file system", s->path);
    TRY(e);
    int64_t synchronous = 0;
    TRY(store_exec(s, "PRAGMA synchronous=FULL"));
    sqlite3_wal_autocheckpoint(s->db, WAL_PAGES);
    TRY(store_pragma_int(s, "PRAGMA synchronous", &synchronous));
    if (synchronous != 2)
        return err_set(ERR_IO, "%s: SQLite does not keep synchronous=FULL", s->path);
    return err_ok();
}

static struct err start_writing(struct store *s, const struct note_signer *signer)
{
    TRY(store_schema_check(s));
    TRY(store_load_meta(s));
    TRY(check_signer(s, signer));
    TRY(store_set_durable(s));
    TRY(read_newest(s));
    TRY(check_entry_count(s));
    TRY(store_tree_grow(s));
    TRY(check_last_entries(s, RECHECKED_AT_OPEN));
    return store_check_new(&s->check, s);
}

static struct err check_is_file(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err_errno("no log at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_MALFORMED, "%s is not a file", path);
    return err_ok();
}

struct err store_open(struct store **out, const char *path, const struct note_signer *signer)
{
    TRY(check_is_file(path));
    FD_AUTO lock = -1;
    TRY(store_lock(&lock, path, true));
    store_remove_leftover(path);
    struct store *s;
    TRY(store_db_open(&s, path, STORE_WRITE));
    s->lock_fd = lock;
    lock = -1;
    struct err e = start_writing(s, signer);
    if (is_err(e)) {
        store_close(s);
        return e;
    }
    s->started = true;
    *out = s;
    return err_ok();
}

/* Beside a writer SQLite's own locks are needed, and the files beside the log's with them. A file
 * without a lock file is a copy: nobody writes it, so nothing need be made beside it. */
static struct err open_mode(enum store_mode *mode, int *lock, const char *path)
{
    BUF_AUTO name = BUF_INIT;
    buf_printf(&name, "%s-wal", path);
    struct stat st;
    *mode = STORE_READ;
    if (stat(buf_str(&name), &st) == 0 && st.st_size > 0)
        return err_ok();
    buf_clear(&name);
    buf_printf(&name, "%s.lock", path);
    if (access(buf_str(&name), F_OK) != 0) {
        *mode = STORE_IMMUTABLE;
        return err_ok();
    }
    buf_clear(&name);
    buf_append_str(&name, path);
    buf_str(&name);
    if (access(dirname((char *)name.data), W_OK) == 0)
        return err_ok();
    /* The log's own place, but SQLite's files cannot be made here: without a writer, hold the lock
     * that a writer would need; with one, its files are there. */
    struct err e = store_lock(lock, path, false);
    if (e.code == ERR_BUSY)
        return err_ok();
    *mode = STORE_IMMUTABLE;
    return is_err(e) ? err_context(e, "copy the log elsewhere, or take a snapshot of it") : e;
}

static struct err start_reading(struct store *s)
{
    TRY(store_schema_check(s));
    TRY(store_load_meta(s));
    return read_newest(s);
}

struct err store_open_readonly(struct store **out, const char *path)
{
    TRY(check_is_file(path));
    enum store_mode mode;
    FD_AUTO lock = -1;
    TRY(open_mode(&mode, &lock, path));
    struct store *s;
    TRY(store_db_open(&s, path, mode));
    s->lock_fd = lock;
    lock = -1;
    struct err e = start_reading(s);
    if (is_err(e)) {
        if (e.code == ERR_IO && mode == STORE_READ)
            e = err_context(e,
                            "reading beside a -wal needs the right to write beside it; else copy "
                            "log and -wal elsewhere, or take a snapshot");
        store_close(s);
        return e;
    }
    *out = s;
    return err_ok();
}
