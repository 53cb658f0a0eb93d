#include "bench/bare_sqlite.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/log_bench.h"

enum { NOTE_LEN = 200, HASH_LEN = 32, TILE_ENTRIES = 256, TILE_LEN = 510 * HASH_LEN };

struct bare {
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit;
    sqlite3_stmt *tile, *checkpoint; /* NULL: entries alone */
};

static void must_be(struct bare *b, bool good)
{
    if (!good)
        must(err_set(ERR_IO, "bare SQLite: %s", sqlite3_errmsg(b->db)));
}

static sqlite3_stmt *prepare(struct bare *b, const char *sql)
{
    sqlite3_stmt *st = NULL;
    must_be(b,
            sqlite3_prepare_v3(b->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) == SQLITE_OK);
    return st;
}

static void step(struct bare *b, sqlite3_stmt *st)
{
    must_be(b, sqlite3_step(st) == SQLITE_DONE);
    sqlite3_reset(st);
}

struct bare *bare_new(const char *path, bool all_rows)
{
    static const char modes[] =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE entry (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
        "CREATE TABLE tile (level INTEGER NOT NULL, idx INTEGER NOT NULL, root BLOB NOT NULL,"
        " hashes BLOB NOT NULL, PRIMARY KEY (level, idx)) WITHOUT ROWID;"
        "CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note BLOB NOT NULL)";
    struct bare *b = calloc(1, sizeof *b);
    if (b == NULL)
        must(err_set(ERR_MEMORY, "no memory for a database"));
    must_be(b, sqlite3_open(path, &b->db) == SQLITE_OK);
    must_be(b, sqlite3_exec(b->db, modes, NULL, NULL, NULL) == SQLITE_OK);
    b->begin = prepare(b, "BEGIN IMMEDIATE");
    b->insert = prepare(b, "INSERT INTO entry (idx, bytes) VALUES (?1, ?2)");
    b->commit = prepare(b, "COMMIT");
    if (all_rows) {
        b->tile = prepare(b, "INSERT INTO tile (level, idx, root, hashes) VALUES (?1, ?2, ?3, ?4)");
        b->checkpoint = prepare(b, "INSERT INTO checkpoint (size, note) VALUES (?1, ?2)");
    }
    return b;
}

void bare_free(struct bare *b)
{
    sqlite3_finalize(b->begin);
    sqlite3_finalize(b->insert);
    sqlite3_finalize(b->commit);
    sqlite3_finalize(b->tile);
    sqlite3_finalize(b->checkpoint);
    sqlite3_close(b->db);
    free(b);
}

/* The last two columns of a row: a number and bytes. */
static void insert(struct bare *b, sqlite3_stmt *st, int column, uint64_t number, const void *data,
                   int len)
{
    must_be(b, sqlite3_bind_int64(st, column, (sqlite3_int64)number) == SQLITE_OK);
    must_be(b, sqlite3_bind_blob(st, column + 1, data, len, SQLITE_STATIC) == SQLITE_OK);
    step(b, st);
}

static void insert_tile(struct bare *b, unsigned level, uint64_t index, const uint8_t *hashes)
{
    must_be(b, sqlite3_bind_int64(b->tile, 1, level) == SQLITE_OK);
    must_be(b, sqlite3_bind_int64(b->tile, 2, (sqlite3_int64)index) == SQLITE_OK);
    must_be(b, sqlite3_bind_blob(b->tile, 3, hashes, HASH_LEN, SQLITE_STATIC) == SQLITE_OK);
    must_be(b, sqlite3_bind_blob(b->tile, 4, hashes, TILE_LEN, SQLITE_STATIC) == SQLITE_OK);
    step(b, b->tile);
}

/* The rows that a log keeps beside the entries from `first` to `end`, of the same size. */
static void insert_beside(struct bare *b, uint64_t first, uint64_t end)
{
    static const uint8_t bytes[TILE_LEN] = {1};
    uint64_t before = first, after = end;
    for (unsigned level = 0; after > 0; level++) {
        before /= TILE_ENTRIES;
        after /= TILE_ENTRIES;
        for (uint64_t i = before; i < after; i++)
            insert_tile(b, level, i, bytes);
    }
    insert(b, b->checkpoint, 1, end, bytes, NOTE_LEN);
}

void bare_append(struct bare *b, uint64_t first, unsigned batch, unsigned n_commits)
{
    uint8_t data[ENTRY_LEN];
    for (unsigned i = 0; i < n_commits; i++, first += batch) {
        step(b, b->begin);
        for (unsigned k = 0; k < batch; k++) {
            log_bench_entry(data, first + k);
            insert(b, b->insert, 1, first + k, data, ENTRY_LEN);
        }
        if (b->tile != NULL)
            insert_beside(b, first, first + batch);
        step(b, b->commit);
    }
}

void bare_check(struct bare *b, uint64_t n)
{
    uint8_t wanted[ENTRY_LEN];
    sqlite3_stmt *st = prepare(b, "SELECT idx, bytes FROM entry ORDER BY idx");
    uint64_t i = 0;
    for (; sqlite3_step(st) == SQLITE_ROW; i++) {
        log_bench_entry(wanted, i);
        if (sqlite3_column_int64(st, 0) != (sqlite3_int64)i ||
            sqlite3_column_bytes(st, 1) != ENTRY_LEN ||
            memcmp(sqlite3_column_blob(st, 1), wanted, ENTRY_LEN) != 0)
            must(err_set(ERR_UNTRUE, "bare SQLite: entry %llu is another", (unsigned long long)i));
    }
    sqlite3_finalize(st);
    if (i != n)
        must(err_set(ERR_UNTRUE, "bare SQLite holds %llu entries, not %llu", (unsigned long long)i,
                     (unsigned long long)n));
}
