#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

struct err file_read(struct buf *out, const char *path, size_t max)
{
    FD_AUTO fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno("cannot open %s", path);
    size_t start = out->len;
    uint8_t chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            out->len = start;
            return err_errno("cannot read %s", path);
        }
        if (n == 0)
            return err_ok();
        if ((size_t)n > max - (out->len - start)) {
            out->len = start;
            return err_set(ERR_LIMIT, "%s is larger than the %zu bytes allowed", path, max);
        }
        buf_append(out, chunk, (size_t)n);
    }
}

struct err fd_write_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("cannot write");
        data.data += n;
        data.len -= (size_t)n;
    }
    return err_ok();
}

struct err fd_read_exact(int fd, void *out, size_t len)
{
    uint8_t *p = out;
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, p + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("cannot read");
        if (n == 0)
            return err_set(got == 0 ? ERR_NOT_FOUND : ERR_IO,
                           "the other side closed after %zu of %zu bytes", got, len);
        got += (size_t)n;
    }
    return err_ok();
}

struct err dir_sync(const char *path)
{
    BUF_AUTO copy = BUF_INIT;
    buf_append_str(&copy, path);
    buf_str(&copy);
    const char *folder = dirname((char *)copy.data);
    FD_AUTO fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno("cannot open folder %s", folder);
    if (fsync(fd) != 0)
        return err_errno("cannot fsync folder %s", folder);
    return err_ok();
}

struct err file_write_durable(const char *path, struct bytes data, unsigned mode)
{
    BUF_AUTO temp = BUF_INIT;
    buf_printf(&temp, "%s.tmp.%ld", path, (long)getpid());
    const char *temp_path = buf_str(&temp);
    FD_AUTO fd = open(temp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return err_errno("cannot create %s", temp_path);
    struct err e = fd_write_all(fd, data);
    if (is_err(e)) {
        unlink(temp_path);
        return err_context(e, "%s", temp_path);
    }
    if (fsync(fd) != 0 || rename(temp_path, path) != 0) {
        e = err_errno("cannot write %s", path);
        unlink(temp_path);
        return e;
    }
    return dir_sync(path);
}

struct err dir_make(const char *path)
{
    BUF_AUTO copy = BUF_INIT;
    buf_append_str(&copy, path);
    buf_str(&copy);
    char *text = (char *)copy.data;
    for (char *p = text + 1; *p != 0; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(text, 0700) != 0 && errno != EEXIST)
            return err_errno("cannot make folder %s", text);
        *p = '/';
    }
    struct stat st;
    if (mkdir(text, 0700) != 0 && errno != EEXIST)
        return err_errno("cannot make folder %s", text);
    if (stat(text, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(ERR_IO, "%s is not a folder", text);
    return err_ok();
}

const char *path_join(struct buf *out, const char *dir, const char *name)
{
    buf_printf(out, "%s/%s", dir, name);
    return buf_str(out);
}
