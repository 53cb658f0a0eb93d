#include "transparency/witness_db.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/text.h"
#include "transparency/store_db.h"

enum { APPLICATION_ID = 0x424c7769 /* "BLwi" */, USER_VERSION = 1 };

static const struct store_object objects[] = {
    {"table", "latest",
     "CREATE TABLE latest (\n"
     "  origin TEXT PRIMARY KEY,\n"
     "  size INTEGER NOT NULL CHECK (size >= 0),\n"
     "  root BLOB NOT NULL CHECK (length(root) = 32),\n"
     "  note BLOB NOT NULL\n"
     ") STRICT, WITHOUT ROWID"},
    {"trigger", "latest_no_delete",
     "CREATE TRIGGER latest_no_delete BEFORE DELETE ON latest\n"
     "BEGIN SELECT raise(ABORT, 'latest: what was cosigned is never forgotten'); END"},
    {"trigger", "latest_grows",
     "CREATE TRIGGER latest_grows BEFORE UPDATE ON latest\n"
     "WHEN NEW.origin IS NOT OLD.origin OR NEW.size < OLD.size\n"
     "  OR (NEW.size = OLD.size AND NEW.root IS NOT OLD.root)\n"
     "BEGIN SELECT raise(ABORT, 'latest: a log that is cosigned grows and has one root a size'); "
     "END"},
    {"trigger", "latest_guard",
     "CREATE TRIGGER latest_guard BEFORE INSERT ON latest\n"
     "WHEN EXISTS (SELECT 1 FROM latest WHERE origin = NEW.origin)\n"
     "BEGIN SELECT raise(ABORT, 'latest: it is there already'); END"},
};
enum { N_OBJECTS = sizeof objects / sizeof objects[0] };

struct witness_db {
    struct store *s; /* the connection alone: this file is no log */
    struct note_signer cosigner;
    struct witness_log *logs;
    size_t n_logs;
};

void witness_reply_cleanup(struct witness_reply *r)
{
    buf_cleanup(&r->body);
}

static struct err fill(struct store *s)
{
    TRY(store_exec(s, "BEGIN IMMEDIATE"));
    for (size_t i = 0; i < N_OBJECTS; i++)
        TRY(store_exec(s, objects[i].sql));
    char pragmas[96];
    sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d",
                     APPLICATION_ID, USER_VERSION);
    TRY(store_exec(s, pragmas));
    return store_exec(s, "COMMIT");
}

static struct err make(const char *temp)
{
    struct store *s;
    TRY(store_db_create(&s, temp));
    struct err e = fill(s);
    store_close(s);
    return e;
}

struct err witness_db_create(const char *path)
{
    if (access(path, F_OK) == 0)
        return err_set(ERR_USAGE, "%s is there already and is not replaced", path);
    FD_AUTO lock = -1;
    TRY(store_lock(&lock, path, true));
    store_remove_leftover(path);
    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s.new", path);
    struct err e = make(buf_str(&temp));
    if (is_err(e)) {
        unlink(buf_str(&temp));
        return e;
    }
    return store_publish(buf_str(&temp), path);
}

static struct err check_file(struct store *s)
{
    int64_t application = 0, version = 0;
    TRY(store_pragma_int(s, "PRAGMA application_id", &application));
    TRY(store_pragma_int(s, "PRAGMA user_version", &version));
    if (application != APPLICATION_ID)
        return err_set(ERR_MALFORMED, "%s is not the state of a witness", s->path);
    if (version != USER_VERSION)
        return err_set(ERR_UNSUPPORTED, "%s is of format %lld; this program reads format %d",
                       s->path, (long long)version, USER_VERSION);
    TRY(store_objects_check(s, objects, N_OBJECTS));
    return store_set_durable(s);
}

static struct err open_file(struct witness_db *w, const char *path)
{
    if (access(path, F_OK) != 0)
        return err_errno("no witness's state at %s (it is made only when asked for, because a "
                         "witness that has lost its state would cosign a second history)",
                         path);
    FD_AUTO lock = -1;
    TRY(store_lock(&lock, path, true));
    store_remove_leftover(path);
    TRY(store_db_open(&w->s, path, STORE_WRITE));
    w->s->lock_fd = lock;
    lock = -1;
    TRY(check_file(w->s));
    w->s->started = true; /* closing may empty the -wal */
    return err_ok();
}

struct err witness_db_open(struct witness_db **out, const char *path,
                           const struct note_signer *cosigner, const struct witness_log *logs,
                           size_t n_logs)
{
    if (cosigner->key.type != NOTE_COSIGNATURE)
        return err_set(ERR_USAGE, "the key of %s is not a witness's", cosigner->key.name);
    struct witness_db *w = calloc(1, sizeof *w);
    struct witness_log *copy = calloc(n_logs + 1, sizeof *copy);
    if (w == NULL || copy == NULL) {
        free(w);
        free(copy);
        return err_set(ERR_MEMORY, "out of memory for a witness");
    }
    if (n_logs > 0)
        memcpy(copy, logs, n_logs * sizeof *copy);
    *w = (struct witness_db){.cosigner = *cosigner, .logs = copy, .n_logs = n_logs};
    struct err e = open_file(w, path);
    if (is_err(e)) {
        witness_db_close(w);
        return e;
    }
    *out = w;
    return err_ok();
}

void witness_db_close(struct witness_db *w)
{
    if (w == NULL)
        return;
    store_close(w->s);
    note_signer_cleanup(&w->cosigner);
    free(w->logs);
    free(w);
}

static struct err bind_origin(struct store *s, sqlite3_stmt *st, const char *origin)
{
    if (sqlite3_bind_text(st, 1, origin, -1, SQLITE_STATIC) != SQLITE_OK)
        return store_db_err(s, "bind a text");
    return err_ok();
}

static struct err read_latest(struct witness_seen *seen, struct buf *note, bool *found,
                              struct store *s, const char *origin)
{
    *seen = (struct witness_seen){.size = 0, .root = merkle_empty()};
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_WITNESS_LATEST));
    TRY(bind_origin(s, st, origin));
    TRY(store_step(s, st, found));
    if (!*found)
        return err_ok();
    struct bytes bytes;
    TRY(store_column_u64(&seen->size, st, 0, "a size"));
    TRY(store_column_hash(&seen->root, st, 1, "a root"));
    TRY(store_column_blob(&bytes, st, 2, NOTE_MAX, "a note"));
    if (note != NULL)
        buf_append_bytes(note, bytes);
    return err_ok();
}

static struct err keep(struct store *s, bool known, const struct checkpoint *c, struct bytes note)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, known ? SQL_WITNESS_UPDATE : SQL_WITNESS_INSERT));
    TRY(bind_origin(s, st, c->origin));
    TRY(store_bind_int(s, st, 2, c->size));
    TRY(store_bind_blob(s, st, 3, bytes_of(c->root.bytes, SHA256_LEN)));
    TRY(store_bind_blob(s, st, 4, note));
    return store_run(s, st);
}

struct taken {
    const struct witness_log *log;
    struct witness_request request;
    struct checkpoint checkpoint;
};

/* The cosignature's line, and the note that is kept: text, the log's line, ours. */
static struct err cosign(struct buf *line, struct buf *kept, const struct witness_db *w,
                         const struct taken *t, uint64_t now_s)
{
    struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    struct err e = note_parse(note, t->request.note);
    if (!is_err(e))
        e = note_cosign(line, note->text, &w->cosigner, now_s);
    if (!is_err(e)) {
        buf_append_bytes(kept, note->text);
        buf_append_str(kept, "\n");
        note_signature_line(kept, note, &t->log->key);
        buf_append_bytes(kept, buf_bytes(line));
    }
    free(note);
    return e;
}

/* Whether `kept` but for our own line at its end, which has the time, is what is there already. */
static bool is_kept(struct bytes before, struct bytes kept, size_t line_len)
{
    size_t same = kept.len - line_len;
    return before.len == kept.len && memcmp(before.data, kept.data, same) == 0;
}

/* Inside the transaction. With any status but WITNESS_OK nothing has been changed. A checkpoint
 * that was cosigned last is cosigned again, with the time of now, and nothing written: what must
 * not be forgotten is on the disk. */
static struct err judge_and_keep(struct witness_db *w, struct witness_reply *out,
                                 const struct taken *t, uint64_t now_s)
{
    bool known = false;
    struct witness_seen seen;
    BUF_AUTO before = BUF_INIT;
    TRY(read_latest(&seen, &before, &known, w->s, t->log->origin));
    out->status = witness_judge(&t->request, &t->checkpoint, &seen);
    out->size = seen.size;
    if (out->status != WITNESS_OK)
        return err_ok();
    BUF_AUTO kept = BUF_INIT;
    TRY(cosign(&out->body, &kept, w, t, now_s));
    out->size = t->checkpoint.size;
    if (known && is_kept(buf_bytes(&before), buf_bytes(&kept), out->body.len))
        return err_ok();
    return keep(w->s, known, &t->checkpoint, buf_bytes(&kept));
}

static struct err run(struct store *s, enum store_sql which)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, which));
    return store_run(s, st);
}

static struct err transaction(struct witness_db *w, struct witness_reply *out,
                              const struct taken *t, uint64_t now_s)
{
    TRY(run(w->s, SQL_BEGIN_WRITE));
    struct err e = judge_and_keep(w, out, t, now_s);
    if (!is_err(e))
        e = run(w->s, SQL_COMMIT);
    if (!is_err(e))
        return e;
    store_fail(w->s);
    sqlite3_exec(w->s->db, "ROLLBACK", NULL, NULL, NULL);
    return err_set(ERR_IO, "%s could not keep what was to be cosigned; start again: %s", w->s->path,
                   w->s->failed);
}

static void reply_reason(struct witness_reply *out)
{
    buf_clear(&out->body);
    if (out->status == WITNESS_CONFLICT)
        buf_printf(&out->body, "%llu\n", (unsigned long long)out->size);
    else
        buf_printf(&out->body, "%s\n", err_message());
}

struct err witness_db_add_checkpoint(struct witness_db *w, struct witness_reply *out,
                                     struct bytes body, uint64_t now_s)
{
    TRY(store_usable(w->s));
    struct taken t;
    buf_clear(&out->body);
    out->size = 0;
    out->status = witness_take(&t.request, &t.checkpoint, &t.log, w->logs, w->n_logs, body);
    if (out->status == WITNESS_OK) {
        struct err e = transaction(w, out, &t, now_s);
        if (is_err(e)) {
            buf_clear(&out->body); /* no cosignature leaves that is not on the disk */
            return e;
        }
    }
    if (out->status != WITNESS_OK)
        reply_reason(out);
    return err_ok();
}

struct err witness_db_latest(struct witness_db *w, struct buf *note,
                             const uint8_t origin_sha256[SHA256_LEN])
{
    TRY(store_usable(w->s));
    for (size_t i = 0; i < w->n_logs; i++) {
        uint8_t digest[SHA256_LEN];
        sha256(digest, bytes_of_str(w->logs[i].origin));
        if (memcmp(digest, origin_sha256, SHA256_LEN) != 0)
            continue;
        bool found = false;
        struct witness_seen seen;
        TRY(read_latest(&seen, note, &found, w->s, w->logs[i].origin));
        if (found)
            return err_ok();
    }
    return err_set(ERR_NOT_FOUND, "nothing was cosigned for a log of that origin");
}
