/*
 * The schema of the log's file, and its exact check. The triggers refuse what our own mistakes
 * could do to a log; a hostile file is refuted by its hashes, not by triggers.
 *
 * Each guard is BEFORE INSERT where a key could be met twice: "INSERT OR REPLACE" deletes rows
 * without firing delete triggers.
 */
#include "transparency/store_db.h"

#include <string.h>

enum { APPLICATION_ID = 0x424c6c67 /* "BLlg" */, USER_VERSION = 3 };

/* `verb` in small letters names the trigger. */
#define REFUSE(table, verb, VERB)                                                                  \
    {                                                                                              \
        "trigger", table "_no_" verb,                                                              \
            "CREATE TRIGGER " table "_no_" verb " BEFORE " VERB " ON " table "\n"                  \
            "BEGIN SELECT raise(ABORT, '" table ": rows are never changed or removed'); END"       \
    }
#define GUARD(table, condition, message)                                                           \
    {                                                                                              \
        "trigger", table "_guard",                                                                 \
            "CREATE TRIGGER " table "_guard BEFORE INSERT ON " table "\nWHEN " condition           \
            "\nBEGIN SELECT raise(ABORT, '" table ": " message "'); END"                           \
    }

static const struct store_object objects[] = {
    {"table", "meta",
     "CREATE TABLE meta (\n"
     "  id INTEGER PRIMARY KEY CHECK (id = 1),\n"
     "  origin TEXT NOT NULL,\n"
     "  vkey TEXT NOT NULL\n"
     ") STRICT"},
    {"table", "blob",
     "CREATE TABLE blob (\n"
     "  sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),\n"
     "  bytes BLOB NOT NULL\n"
     ") STRICT, WITHOUT ROWID"},
    {"table", "entry",
     "CREATE TABLE entry (\n"
     "  idx INTEGER PRIMARY KEY CHECK (idx >= 0),\n"
     "  bytes BLOB NOT NULL CHECK (length(bytes) BETWEEN 1 AND 65535)\n"
     ") STRICT"},
    {"table", "tile",
     "CREATE TABLE tile (\n"
     "  level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 6),\n"
     "  idx INTEGER NOT NULL CHECK (idx >= 0),\n"
     "  root BLOB NOT NULL CHECK (length(root) = 32),\n"
     "  hashes BLOB NOT NULL CHECK (length(hashes) = 16320),\n"
     "  PRIMARY KEY (level, idx)\n"
     ") STRICT, WITHOUT ROWID"},
    {"table", "checkpoint",
     "CREATE TABLE checkpoint (\n"
     "  size INTEGER PRIMARY KEY CHECK (size >= 0),\n"
     "  note BLOB NOT NULL\n"
     ") STRICT"},
    {"table", "cosignature",
     "CREATE TABLE cosignature (\n"
     "  size INTEGER NOT NULL,\n"
     "  public BLOB NOT NULL CHECK (length(public) = 32),\n"
     "  line BLOB NOT NULL CHECK (length(line) BETWEEN 1 AND 1024),\n"
     "  PRIMARY KEY (size, public)\n"
     ") STRICT, WITHOUT ROWID"},
    REFUSE("meta", "update", "UPDATE"),
    REFUSE("meta", "delete", "DELETE"),
    REFUSE("blob", "update", "UPDATE"),
    REFUSE("blob", "delete", "DELETE"),
    REFUSE("entry", "update", "UPDATE"),
    REFUSE("entry", "delete", "DELETE"),
    REFUSE("tile", "update", "UPDATE"),
    REFUSE("tile", "delete", "DELETE"),
    REFUSE("checkpoint", "update", "UPDATE"),
    REFUSE("checkpoint", "delete", "DELETE"),
    GUARD("meta", "EXISTS (SELECT 1 FROM meta)", "a log has one row of it"),
    GUARD("blob", "EXISTS (SELECT 1 FROM blob WHERE sha256 = NEW.sha256)", "it is there already"),
    GUARD("entry", "NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM entry)",
          "entries follow each other without gaps"),
    GUARD("tile",
          "NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM tile WHERE level = NEW.level)",
          "tiles follow each other without gaps"),
    GUARD("checkpoint",
          "NEW.size <= (SELECT max(size) FROM checkpoint)\n"
          "  OR NEW.size IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM entry)",
          "a size is signed once, over all entries, and never shrinks"),
    REFUSE("cosignature", "update", "UPDATE"),
    REFUSE("cosignature", "delete", "DELETE"),
    GUARD("cosignature",
          "EXISTS (SELECT 1 FROM cosignature WHERE size = NEW.size AND public = NEW.public)\n"
          "  OR NOT EXISTS (SELECT 1 FROM checkpoint WHERE size = NEW.size)",
          "one of a witness over a checkpoint that is there"),
};
enum { N_OBJECTS = sizeof objects / sizeof objects[0] };

struct err store_schema_create(struct store *s)
{
    for (size_t i = 0; i < N_OBJECTS; i++)
        TRY(store_exec(s, objects[i].sql));
    char pragmas[96];
    sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d",
                     APPLICATION_ID, USER_VERSION);
    return store_exec(s, pragmas);
}

static bool column_is(sqlite3_stmt *st, int column, const char *text)
{
    const char *found = (const char *)sqlite3_column_text(st, column);
    return found != NULL && strcmp(found, text) == 0 &&
           (size_t)sqlite3_column_bytes(st, column) == strlen(text);
}

struct err store_objects_check(struct store *s, const struct store_object *objs, size_t n_objs)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, rowid",
                           -1, &st, NULL) != SQLITE_OK)
        return store_db_err(s, "read the schema");
    size_t n = 0;
    struct err e = err_ok();
    for (bool row = true; !is_err(e); n++) {
        e = store_step(s, st, &row);
        if (is_err(e) || !row)
            break;
        if (n == n_objs || !column_is(st, 0, objs[n].type) || !column_is(st, 1, objs[n].name) ||
            !column_is(st, 2, objs[n].sql))
            e = err_set(ERR_MALFORMED, "%s: its schema is not the expected one (object %zu)",
                        s->path, n + 1);
    }
    sqlite3_finalize(st);
    TRY(e);
    if (n != n_objs)
        return err_set(ERR_MALFORMED, "%s: its schema lacks parts of the expected one", s->path);
    return err_ok();
}

struct err store_schema_check(struct store *s)
{
    int64_t application = 0, version = 0;
    TRY(store_pragma_int(s, "PRAGMA application_id", &application));
    TRY(store_pragma_int(s, "PRAGMA user_version", &version));
    if (application != APPLICATION_ID)
        return err_set(ERR_MALFORMED, "%s is an SQLite file, but not a log of this project",
                       s->path);
    if (version != USER_VERSION)
        return err_set(ERR_UNSUPPORTED,
                       "%s is a log of format %lld, this program reads and writes format %d: use "
                       "the release that made it, or move the file away and begin a new log",
                       s->path, (long long)version, USER_VERSION);
    return store_objects_check(s, objects, N_OBJECTS);
}
