/*
 * Files: whole reads with a limit, and writes that are durable when they return. An error of fsync
 * is final (the page cache may hold what the disk does not): callers must not try again.
 */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "common/buf.h"

/* Appends the whole file to `out`; ERR_LIMIT if it holds more than `max` bytes. */
struct err file_read(struct buf *out, const char *path, size_t max) MUST_USE;

/* Writes beside `path`, fsyncs, renames over it and fsyncs the folder. `mode` as for open(2). */
struct err file_write_durable(const char *path, struct bytes data, unsigned mode) MUST_USE;

/* All of `data` to `fd`, whatever write(2) says in between. */
struct err fd_write_all(int fd, struct bytes data) MUST_USE;
/* Exactly `len` bytes; ERR_NOT_FOUND at a clean end before the first byte, ERR_IO in the middle. */
struct err fd_read_exact(int fd, void *out, size_t len) MUST_USE;

/* Like mkdir -p, mode 0700. */
struct err dir_make(const char *path) MUST_USE;

/* fsyncs the folder that holds `path`, so that a file made or renamed there is durable. */
struct err dir_sync(const char *path) MUST_USE;

/* "<dir>/<name>", appended to `out` as a C string. */
const char *path_join(struct buf *out, const char *dir, const char *name);

void fd_close(int *fd); /* for FD_AUTO; ignores -1 */
#define FD_AUTO __attribute__((cleanup(fd_close))) int

#endif
