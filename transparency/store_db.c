#include "transparency/store_db.h"

#include <stdlib.h>
#include <string.h>

/* The values of eight rows. */
#define EIGHT(row) row ", " row ", " row ", " row ", " row ", " row ", " row ", " row
#define ENTRY_INTO "INSERT INTO entry (idx, bytes) VALUES "

static const char *const sql_texts[N_STORE_SQL] = {
    [SQL_BEGIN_READ] = "BEGIN DEFERRED",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_META] = "SELECT origin, vkey FROM meta WHERE id = 1",
    [SQL_META_INSERT] = "INSERT INTO meta (id, origin, vkey) VALUES (1, ?1, ?2)",
    [SQL_ENTRY] = "SELECT bytes FROM entry WHERE idx = ?1",
    [SQL_ENTRY_FROM] = "SELECT idx, bytes FROM entry WHERE idx >= ?1 ORDER BY idx",
    [SQL_ENTRY_INSERT] = ENTRY_INTO "(?, ?)",
    [SQL_ENTRY_INSERT_WIDE] = ENTRY_INTO EIGHT(EIGHT("(?, ?)")),
    [SQL_ENTRY_ALL] = "SELECT idx, bytes FROM entry ORDER BY idx",
    [SQL_ENTRY_MAX] = "SELECT coalesce(max(idx) + 1, 0) FROM entry",
    [SQL_BLOB] = "SELECT bytes FROM blob WHERE sha256 = ?1",
    [SQL_BLOB_INSERT] = "INSERT INTO blob (sha256, bytes) VALUES (?1, ?2)",
    [SQL_BLOB_ALL] = "SELECT sha256, bytes FROM blob ORDER BY sha256",
    [SQL_TILE] = "SELECT hashes, root FROM tile WHERE level = ?1 AND idx = ?2",
    [SQL_TILE_INSERT] = "INSERT INTO tile (level, idx, root, hashes) VALUES (?1, ?2, ?3, ?4)",
    [SQL_TILE_ROOTS_FROM] =
        "SELECT idx, root FROM tile WHERE level = ?1 AND idx >= ?2 ORDER BY idx",
    [SQL_TILE_COUNT] = "SELECT count(*) FROM tile",
    [SQL_CHECKPOINT_NEWEST] = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1",
    [SQL_CHECKPOINT_AT] = "SELECT size, note FROM checkpoint WHERE size = ?1",
    [SQL_CHECKPOINT_INSERT] = "INSERT INTO checkpoint (size, note) VALUES (?1, ?2)",
    [SQL_CHECKPOINT_ALL] = "SELECT size, note FROM checkpoint ORDER BY size",
    [SQL_CHECK_FILE] = "PRAGMA integrity_check(1)",
    [SQL_VACUUM_INTO] = "VACUUM INTO ?1",
    [SQL_COSIGNATURE] = "SELECT line FROM cosignature WHERE size = ?1 ORDER BY public",
    [SQL_COSIGNATURE_OF] = "SELECT 1 FROM cosignature WHERE size = ?1 AND public = ?2",
    [SQL_COSIGNATURE_INSERT] = "INSERT INTO cosignature (size, public, line) VALUES (?1, ?2, ?3)",
    [SQL_COSIGNATURE_SIZES] = "SELECT DISTINCT size FROM cosignature ORDER BY size DESC",
    [SQL_COSIGNATURE_ALL] = "SELECT size, public, line FROM cosignature ORDER BY size, public",
    [SQL_WITNESS_LATEST] = "SELECT size, root, note FROM latest WHERE origin = ?1",
    [SQL_WITNESS_INSERT] = "INSERT INTO latest (origin, size, root, note) VALUES (?1, ?2, ?3, ?4)",
    [SQL_WITNESS_UPDATE] = "UPDATE latest SET size = ?2, root = ?3, note = ?4 WHERE origin = ?1",
};

/* Larger rows do not exist in a log; a hostile one is refused before it is read. */
enum { ROW_MAX = STORE_BLOB_MAX + 4096, BUSY_TIMEOUT_MS = 5000 };

static struct err sqlite_err(int code, const char *path, const char *what, const char *reason)
{
    enum err_code ours = ERR_IO;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        ours = ERR_BUSY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
        ours = ERR_MALFORMED;
        break;
    case SQLITE_TOOBIG:
        ours = ERR_LIMIT;
        break;
    case SQLITE_NOMEM:
        ours = ERR_MEMORY;
        break;
    }
    return err_set(ours, "%s: cannot %s: %s (SQLite code %d)", path, what, reason, code);
}

struct err store_db_err(struct store *s, const char *what)
{
    return sqlite_err(sqlite3_extended_errcode(s->db), s->path, what, sqlite3_errmsg(s->db));
}

struct err store_exec(struct store *s, const char *sql)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_db_err(s, sql);
    return err_ok();
}

struct err store_pragma_int(struct store *s, const char *sql, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
        return store_db_err(s, sql);
    struct err e = err_ok();
    if (sqlite3_step(st) == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    else
        e = store_db_err(s, sql);
    sqlite3_finalize(st);
    return e;
}

/* A file: URI for exactly this path, whatever characters it holds. */
static void append_uri(struct buf *out, const char *path)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    buf_append_str(out, path[0] == '/' ? "file://" : "file:./");
    for (const char *p = path; *p != 0; p++) {
        if (strchr(plain, *p) != NULL)
            buf_append_u8(out, (uint8_t)*p);
        else
            buf_printf(out, "%%%02X", (unsigned char)*p);
    }
}

/* What a hostile file could try through its schema or its sizes is off before it is first read. */
static struct err harden(struct store *s, enum store_mode mode)
{
    static const struct {
        int option, on;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},      {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},          {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1}, /* store_close says when */
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (sqlite3_db_config(s->db, options[i].option, options[i].on, NULL) != SQLITE_OK)
            return store_db_err(s, "set a protection");
    /* Only the writer changes anything, so only it has use for triggers. */
    int writes = mode == STORE_WRITE;
    if (sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, writes, NULL) != SQLITE_OK)
        return store_db_err(s, "set a protection");
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, ROW_MAX);
    sqlite3_limit(s->db, SQLITE_LIMIT_SQL_LENGTH, 16384);
    sqlite3_limit(s->db, SQLITE_LIMIT_COLUMN, 32);
    sqlite3_limit(s->db, SQLITE_LIMIT_EXPR_DEPTH, 32);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 1); /* VACUUM INTO needs one */
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    sqlite3_extended_result_codes(s->db, 1);
    TRY(store_exec(s, "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY"));
    if (!writes)
        TRY(store_exec(s, "PRAGMA wal_autocheckpoint=0"));
    return err_ok();
}

static struct err open_with(struct store **out, const char *path, int flags, const char *query,
                            enum store_mode mode)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return err_set(ERR_MEMORY, "out of memory for a log");
    }
    s->lock_fd = -1;
    s->writer = mode == STORE_WRITE;
    BUF_AUTO uri = BUF_INIT;
    append_uri(&uri, path);
    buf_append_str(&uri, query);
    /* A store is one thread's at a time: SQLite need not lock for us. */
    int code =
        sqlite3_open_v2(buf_str(&uri), &s->db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    struct err e = err_ok();
    if (code != SQLITE_OK)
        e = sqlite_err(code, path, "open it", s->db != NULL ? sqlite3_errmsg(s->db) : "no memory");
    else
        e = harden(s, mode);
    if (is_err(e)) {
        store_close(s);
        return e;
    }
    *out = s;
    return err_ok();
}

struct err store_db_open(struct store **out, const char *path, enum store_mode mode)
{
    int flags = mode == STORE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    return open_with(out, path, flags, mode == STORE_IMMUTABLE ? "?immutable=1" : "", mode);
}

struct err store_db_create(struct store **out, const char *path)
{
    return open_with(out, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "", STORE_WRITE);
}

struct err store_statement(sqlite3_stmt **out, struct store *s, enum store_sql which)
{
    sqlite3_stmt **st = &s->statements[which];
    if (*st == NULL && sqlite3_prepare_v3(s->db, sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                                          st, NULL) != SQLITE_OK)
        return store_db_err(s, sql_texts[which]);
    *out = *st;
    return err_ok();
}

void store_statement_done(sqlite3_stmt **st)
{
    if (*st == NULL)
        return;
    sqlite3_reset(*st);
    sqlite3_clear_bindings(*st);
}

struct err store_bind_int(struct store *s, sqlite3_stmt *st, int parameter, uint64_t value)
{
    if (value > INT64_MAX || sqlite3_bind_int64(st, parameter, (sqlite3_int64)value) != SQLITE_OK)
        return store_db_err(s, "bind a number");
    return err_ok();
}

struct err store_bind_blob(struct store *s, sqlite3_stmt *st, int parameter, struct bytes v)
{
    /* A NULL pointer would bind NULL, not an empty value. */
    const void *data = v.len > 0 ? (const void *)v.data : "";
    if (sqlite3_bind_blob64(st, parameter, data, v.len, SQLITE_STATIC) != SQLITE_OK)
        return store_db_err(s, "bind bytes");
    return err_ok();
}

struct err store_step(struct store *s, sqlite3_stmt *st, bool *row)
{
    int code = sqlite3_step(st);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return store_db_err(s, sqlite3_sql(st));
    *row = code == SQLITE_ROW;
    return err_ok();
}

struct err store_run(struct store *s, sqlite3_stmt *st)
{
    bool row = true;
    while (row)
        TRY(store_step(s, st, &row));
    return err_ok();
}

struct err store_column_blob(struct bytes *out, sqlite3_stmt *st, int column, size_t max,
                             const char *what)
{
    if (sqlite3_column_type(st, column) != SQLITE_BLOB)
        return err_set(ERR_MALFORMED, "%s is not stored as bytes", what);
    const void *data = sqlite3_column_blob(st, column);
    size_t len = (size_t)sqlite3_column_bytes(st, column);
    if (len > max)
        return err_set(ERR_MALFORMED, "%s has %zu bytes, more than %zu", what, len, max);
    if (len > 0 && data == NULL)
        return err_set(ERR_MEMORY, "out of memory for %s", what);
    *out = bytes_of(data, len);
    return err_ok();
}

struct err store_column_hash(struct merkle_hash *out, sqlite3_stmt *st, int column,
                             const char *what)
{
    struct bytes v;
    TRY(store_column_blob(&v, st, column, SHA256_LEN, what));
    if (v.len != SHA256_LEN)
        return err_set(ERR_MALFORMED, "%s has %zu bytes, not %d", what, v.len, SHA256_LEN);
    memcpy(out->bytes, v.data, SHA256_LEN);
    return err_ok();
}

struct err store_column_u64(uint64_t *out, sqlite3_stmt *st, int column, const char *what)
{
    sqlite3_int64 v = sqlite3_column_int64(st, column);
    if (sqlite3_column_type(st, column) != SQLITE_INTEGER || v < 0)
        return err_set(ERR_MALFORMED, "%s is not a count", what);
    *out = (uint64_t)v;
    return err_ok();
}

struct err store_usable(const struct store *s)
{
    if (s->failed[0] != 0)
        return err_set(ERR_IO,
                       "%s failed before, and what is on the disk is not known until this program "
                       "is started again: %s",
                       s->path, s->failed);
    return err_ok();
}

void store_fail(struct store *s)
{
    sqlite3_snprintf(sizeof s->failed, s->failed, "%s", err_message());
}
