/*
 * What the store's files share: the connection, hardened against hostile files; its statements, all
 * of them fixed texts; and SQLite's results as our errors. For transparency/store*.c and
 * witness_db.c, which keeps another file with the same care.
 */
#ifndef TRANSPARENCY_STORE_DB_H
#define TRANSPARENCY_STORE_DB_H

#include <sqlite3.h>

#include "transparency/store.h"
#include "transparency/tile_tree.h"

enum store_sql {
    SQL_BEGIN_READ,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_META,
    SQL_META_INSERT,
    SQL_ENTRY,
    SQL_ENTRY_FROM,
    SQL_ENTRY_INSERT,
    SQL_ENTRY_INSERT_WIDE, /* STORE_ROWS_WIDE rows */
    SQL_ENTRY_ALL,
    SQL_ENTRY_MAX,
    SQL_BLOB,
    SQL_BLOB_INSERT,
    SQL_BLOB_ALL,
    SQL_TILE,
    SQL_TILE_INSERT,
    SQL_TILE_ROOTS_FROM,
    SQL_TILE_COUNT,
    SQL_CHECKPOINT_NEWEST,
    SQL_CHECKPOINT_AT,
    SQL_CHECKPOINT_INSERT,
    SQL_CHECKPOINT_ALL,
    SQL_CHECK_FILE,
    SQL_VACUUM_INTO,
    SQL_COSIGNATURE,
    SQL_COSIGNATURE_OF,
    SQL_COSIGNATURE_INSERT,
    SQL_COSIGNATURE_SIZES,
    SQL_COSIGNATURE_ALL,
    SQL_WITNESS_LATEST,
    SQL_WITNESS_INSERT,
    SQL_WITNESS_UPDATE,
    N_STORE_SQL,
};
enum { STORE_ROWS_WIDE = 64, STORE_TILE_LEN = TILE_HASHES * SHA256_LEN };
/* Places for complete tiles of 16 KiB: of tile level 0, and of all above, which are in every proof.
 * Memory is taken as they are met. */
enum { STORE_MET_LOW = 256, STORE_MET_HIGH = 64, STORE_MET = STORE_MET_LOW + STORE_MET_HIGH };

struct store_check;

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[N_STORE_SQL]; /* prepared at first use */
    char *path;
    int lock_fd; /* -1, or holds the writer's or a lone reader's lock */
    bool writer;
    bool started;               /* the writer found all in order, so closing may checkpoint */
    char failed[512];           /* why no later call may succeed; "" while all is well */
    struct note_key key;        /* what meta says; its name is the origin */
    struct buf vkey;            /* its text */
    struct ed25519_key *secret; /* writer only: of `key` */
    struct store_check *check;  /* writer only */
    struct checkpoint newest;   /* a reader's: the newest that it has seen, verified */
    struct buf newest_note;
    struct tile_tree tree;             /* under `newest`, or behind it: store_tree_grow */
    struct tile_hashes met[STORE_MET]; /* complete tiles that were read; each has one place */
};

/* How a connection is opened. */
enum store_mode {
    STORE_WRITE,     /* the one writer */
    STORE_READ,      /* beside a writer: never writes, never checkpoints */
    STORE_IMMUTABLE, /* a file that nobody writes: no locks, nothing made beside it */
};

/* A store around a hardened connection; nothing in the file is checked yet. */
struct err store_db_open(struct store **out, const char *path, enum store_mode mode) MUST_USE;
/* For a file of our own making that is to become a log. */
struct err store_db_create(struct store **out, const char *path) MUST_USE;
/* Durability is asked for and read back: a build of SQLite could ignore it. */
struct err store_set_durable(struct store *s) MUST_USE;
/* One table or trigger of a schema; the order is that of creation, the name that of sqlite_schema.
 */
struct store_object {
    const char *type, *name, *sql;
};
/* The file holds exactly these objects, byte for byte. */
struct err store_objects_check(struct store *s, const struct store_object *objects,
                               size_t n_objects) MUST_USE;
/* ERR_USAGE if `path` exists; gives a finished, closed file its name, durably. */
struct err store_publish(const char *temp, const char *path) MUST_USE;
/* Makes the schema in an empty file; checks that a file's schema is exactly ours. */
struct err store_schema_create(struct store *s) MUST_USE;
struct err store_schema_check(struct store *s) MUST_USE;
/* The cosignatures, each against its checkpoint; for store_fsck. */
struct err store_fsck_cosignatures(struct store *s) MUST_USE;

/* The error of the last SQLite call on `db`, for "cannot <what>". */
struct err store_db_err(struct store *s, const char *what) MUST_USE;
struct err store_exec(struct store *s, const char *sql) MUST_USE;
/* The first column of the first row of a pragma. */
struct err store_pragma_int(struct store *s, const char *sql, int64_t *out) MUST_USE;

/* A statement, ready for binding; STORE_STATEMENT lets go of it (and of its locks). */
struct err store_statement(sqlite3_stmt **out, struct store *s, enum store_sql which) MUST_USE;
void store_statement_done(sqlite3_stmt **st);
#define STORE_STATEMENT __attribute__((cleanup(store_statement_done))) sqlite3_stmt

struct err store_bind_int(struct store *s, sqlite3_stmt *st, int parameter,
                          uint64_t value) MUST_USE;
/* Borrows `v` until the statement is done. */
struct err store_bind_blob(struct store *s, sqlite3_stmt *st, int parameter,
                           struct bytes v) MUST_USE;
/* *row tells whether there is a row. */
struct err store_step(struct store *s, sqlite3_stmt *st, bool *row) MUST_USE;
/* For statements without rows. */
struct err store_run(struct store *s, sqlite3_stmt *st) MUST_USE;
/* Columns, strictly of their type; borrowed until the next step. ERR_MALFORMED, naming `what`. */
struct err store_column_blob(struct bytes *out, sqlite3_stmt *st, int column, size_t max,
                             const char *what) MUST_USE;
struct err store_column_hash(struct merkle_hash *out, sqlite3_stmt *st, int column,
                             const char *what) MUST_USE;
struct err store_column_u64(uint64_t *out, sqlite3_stmt *st, int column, const char *what) MUST_USE;
struct err store_column_tile(struct merkle_hash out[TILE_HASHES], sqlite3_stmt *st,
                             int column) MUST_USE;

/* ERR_IO with the first reason if the store has failed for good. */
struct err store_usable(const struct store *s) MUST_USE;
/* Makes the failure that err_message() tells of final. */
void store_fail(struct store *s);

/* Brings the tree to the newest checkpoint that was seen, and proves it against that. ERR_UNTRUE,
 * ERR_MALFORMED: then the tree is empty. */
struct err store_tree_grow(struct store *s) MUST_USE;
/* What follows reads the tree as it was last grown. */
/* A merkle_source; the context is the store. */
merkle_source store_node;
/* A tile with all its hashes, borrowed until the next; the newest may be incomplete. */
struct err store_tile_hashes(struct store *s, const struct tile_hashes **out, unsigned level,
                             uint64_t index) MUST_USE;
/* The number of entries under the newest checkpoint, to which the tree is brought. */
struct err store_size(struct store *s, uint64_t *out) MUST_USE;
/* Loads meta into s->key and s->vkey. */
struct err store_load_meta(struct store *s) MUST_USE;
/* A checkpoint row's note: signature and origin by s->key, and `size`. */
struct err store_check_note(const struct store *s, struct checkpoint *out, uint64_t size,
                            struct bytes note) MUST_USE;

/* A thread of the writer's: it looks at a checkpoint while COMMIT waits for the disk. */
struct err store_check_new(struct store_check **out, const struct store *s) MUST_USE;
void store_check_free(struct store_check *c);
/* store_check_note begins; `note` is borrowed until store_check_wait, which says nothing of what
 * came of it: that is store_check_result's. */
void store_check_begin(struct store_check *c, uint64_t size, struct bytes note);
void store_check_wait(struct store_check *c);
struct err store_check_result(const struct store_check *c, struct checkpoint *out) MUST_USE;

/* The lock file "<path>.lock". Exclusive for a writer (ERR_BUSY if another has it); shared for a
 * reader without SQLite's own locks. ERR_NOT_FOUND where a reader finds none. */
struct err store_lock(int *fd, const char *path, bool exclusive) MUST_USE;
/* What a crash in store_create may have left beside the log; for the holder of the lock. */
void store_remove_leftover(const char *path);

#endif
