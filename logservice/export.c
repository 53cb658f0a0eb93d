#include "logservice/export.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

struct export
{
    const char *folder;
    struct store *log;
    const struct published *p;
    uint64_t n_written;
};

/* A file that is written durably has its name only when it is whole. */
static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* The folders on the way to a file, which a web server of another user can read. */
static struct err make_folders(const char *path)
{
    BUF_AUTO copy = BUF_INIT;
    buf_append_str(&copy, path);
    buf_str(&copy);
    char *text = (char *)copy.data;
    for (char *p = text + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(text, 0755) != 0 && errno != EEXIST)
            return err_errno("cannot make folder %s", text);
        *p = '/';
    }
    return err_ok();
}

static struct err write_file(struct export *e, const char *path, struct bytes data)
{
    TRY(make_folders(path));
    TRY(file_write_durable(path, data, 0644));
    e->n_written++;
    return err_ok();
}

static struct err write_tile(struct export *e, const struct tile *t)
{
    BUF_AUTO name = BUF_INIT;
    BUF_AUTO path = BUF_INIT;
    tile_format(&name, t);
    path_join(&path, e->folder, buf_str(&name));
    if (is_there(buf_str(&path)))
        return err_ok();
    BUF_AUTO data = BUF_INIT;
    TRY(store_tile(e->log, t, &data));
    return write_file(e, buf_str(&path), buf_bytes(&data));
}

/* All tiles of one level of the tree that is shown, full ones and the partial one at its end. */
static struct err write_level(struct export *e, int level)
{
    uint64_t size = e->p->checkpoint.size;
    for (uint64_t index = 0;; index++) {
        struct tile t = {level, index, tile_width_at(level, index, size)};
        if (t.width == 0)
            return err_ok();
        TRY(write_tile(e, &t));
    }
}

static struct err write_blob(void *context, const uint8_t digest[SHA256_LEN], struct bytes blob)
{
    struct export *e = context;
    BUF_AUTO name = BUF_INIT;
    BUF_AUTO path = BUF_INIT;
    buf_append_str(&name, "blob/");
    buf_append_hex(&name, bytes_of(digest, SHA256_LEN));
    path_join(&path, e->folder, buf_str(&name));
    return is_there(buf_str(&path)) ? err_ok() : write_file(e, buf_str(&path), blob);
}

/* What was exported before must be the past of what is exported now. */
static struct err check_before(struct export *e, const char *path, bool *same)
{
    if (!is_there(path))
        return err_ok();
    BUF_AUTO note = BUF_INIT;
    struct checkpoint before;
    struct note_key key;
    TRY(file_read(&note, path, NOTE_MAX));
    TRY(note_vkey_parse(&key, bytes_of_str(store_vkey(e->log))));
    TRY(err_context(checkpoint_verify(&before, buf_bytes(&note), key.name, &key), "%s", path));
    TRY(err_context(store_check_extends(e->log, &before), "%s was exported before", path));
    if (before.size > e->p->checkpoint.size)
        return err_set(ERR_UNTRUE, "%s is newer than what has a quorum now: it stays", path);
    *same = bytes_equal(buf_bytes(&note), buf_bytes(&e->p->note));
    return err_ok();
}

struct err export_log(uint64_t *n_written, const char *folder, struct store *log,
                      const struct published *p)
{
    struct export e = {folder, log, p, 0};
    bool same = false;
    BUF_AUTO path = BUF_INIT;
    path_join(&path, folder, "checkpoint");
    TRY(check_before(&e, buf_str(&path), &same));
    TRY(store_each_blob(log, write_blob, &e));
    TRY(write_level(&e, TILE_LEVEL_ENTRIES));
    for (int level = 0; level < 8; level++)
        TRY(write_level(&e, level));
    if (!same)
        TRY(write_file(&e, buf_str(&path), buf_bytes(&p->note)));
    *n_written = e.n_written;
    return err_ok();
}
