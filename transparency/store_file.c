/*
 * The files around the log's: the lock that makes the writer alone, the file's first making, and
 * copies.
 */
#include "transparency/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/file.h"

struct err store_lock(int *out, const char *path, bool exclusive)
{
    BUF_AUTO name = BUF_INIT;
    buf_printf(&name, "%s.lock", path);
    int flags = exclusive ? O_RDWR | O_CREAT : O_RDONLY;
    FD_AUTO fd = open(buf_str(&name), flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno("cannot open the lock file %s", buf_str(&name));
    if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return err_errno("cannot lock %s", buf_str(&name));
        return err_set(ERR_BUSY,
                       "%s: another process holds the log (%s is locked); a log has one writer, "
                       "so stop that one first",
                       path, buf_str(&name));
    }
    *out = fd;
    fd = -1;
    return err_ok();
}

static struct err sync_file(const char *path)
{
    FD_AUTO fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_errno("cannot fsync %s", path);
    return err_ok();
}

/* Never replaces a file. The old name is gone either way. */
struct err store_publish(const char *temp, const char *path)
{
    struct err e = sync_file(temp);
    if (!is_err(e) && link(temp, path) != 0)
        e = errno == EEXIST ? err_set(ERR_USAGE, "%s is there already and is not replaced", path)
                            : err_errno("cannot make %s", path);
    unlink(temp);
    TRY(e);
    return dir_sync(path);
}

static struct err fill(struct store *s, const struct note_signer *signer)
{
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &signer->key);
    struct checkpoint empty = {.size = 0, .root = merkle_empty()};
    memcpy(empty.origin, signer->key.name, sizeof empty.origin);
    BUF_AUTO note = BUF_INIT;
    TRY(checkpoint_sign(&note, &empty, signer));

    TRY(store_exec(s, "BEGIN IMMEDIATE"));
    TRY(store_schema_create(s));
    STORE_STATEMENT *meta = NULL;
    TRY(store_statement(&meta, s, SQL_META_INSERT));
    if (sqlite3_bind_text(meta, 1, signer->key.name, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(meta, 2, buf_str(&vkey), -1, SQLITE_STATIC) != SQLITE_OK)
        return store_db_err(s, "bind a text");
    TRY(store_run(s, meta));
    STORE_STATEMENT *checkpoint = NULL;
    TRY(store_statement(&checkpoint, s, SQL_CHECKPOINT_INSERT));
    TRY(store_bind_int(s, checkpoint, 1, 0));
    TRY(store_bind_blob(s, checkpoint, 2, buf_bytes(&note)));
    TRY(store_run(s, checkpoint));
    return store_exec(s, "COMMIT");
}

static struct err make(const char *temp, const struct note_signer *signer)
{
    struct store *s;
    TRY(store_db_create(&s, temp));
    struct err e = fill(s, signer);
    store_close(s);
    return e;
}

struct err store_create(const char *path, const struct note_signer *signer)
{
    if (signer->key.type != NOTE_ED25519)
        return err_set(ERR_USAGE, "the key of %s cannot sign a log's checkpoints",
                       signer->key.name);
    if (access(path, F_OK) == 0)
        return err_set(ERR_USAGE, "%s is there already and is not replaced", path);
    FD_AUTO lock = -1;
    TRY(store_lock(&lock, path, true));
    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s.new", path);
    store_remove_leftover(path);
    struct err e = make(buf_str(&temp), signer);
    if (is_err(e)) {
        unlink(buf_str(&temp));
        return e;
    }
    return store_publish(buf_str(&temp), path);
}

void store_remove_leftover(const char *path)
{
    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s.new", path);
    unlink(buf_str(&temp));
}

static struct err vacuum_into(struct store *s, const char *path)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_VACUUM_INTO));
    if (sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC) != SQLITE_OK)
        return store_db_err(s, "bind a text");
    return store_run(s, st);
}

struct err store_snapshot(struct store *s, const char *path)
{
    TRY(store_usable(s));
    if (access(path, F_OK) == 0)
        return err_set(ERR_USAGE, "%s is there already and is not replaced", path);
    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s%s.new.%ld", path[0] == '/' ? "" : "./", path, (long)getpid());
    unlink(buf_str(&temp));
    struct err e = vacuum_into(s, buf_str(&temp));
    if (is_err(e)) {
        unlink(buf_str(&temp));
        return e;
    }
    return store_publish(buf_str(&temp), path);
}
