/*
 * One file, read from its beginning to its end in pieces, for read_hashed.h. A reader that is ahead
 * of whoever uses the bytes passes by the page cache where the file is not in it: copies from there
 * cost a core that could hash, and would keep the file in memory twice. What the cache holds is
 * copied. Where the filesystem cannot do that, or nobody says what is cached (Linux tells only a
 * file's owner and those who may write to it), all is read through the cache.
 */
#ifndef ENGINE_FILE_READER_H
#define ENGINE_FILE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct file_reader {
    int fd;          /* borrowed */
    size_t size, at; /* bytes: of the file, and read so far */
    bool selective;  /* chooses for each part how to read it */
    bool direct;     /* the descriptor's state: past the page cache */
};

enum { FILE_READER_PIECE_MAX = 4 << 20 };

/* The descriptor is at the file's beginning. */
struct file_reader file_reader_of(int fd, size_t size, bool ahead);
/* Whether most of a file would have to come from the disk; a guess. Reads nothing. */
bool file_reader_is_cold(int fd, size_t size);

/* The next piece, at most FILE_READER_PIECE_MAX bytes, to its place in `data`, which has room for
 * `size` bytes; then `at` is behind it. Not at the end. ERR_IO: the file is shorter than `size`, or
 * cannot be read. */
struct err file_reader_next(struct file_reader *r, uint8_t *data) MUST_USE;
/* Behind the last piece: ERR_IO when the file is longer than `size`. */
struct err file_reader_end(struct file_reader *r) MUST_USE;

#endif
