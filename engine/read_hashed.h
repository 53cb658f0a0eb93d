/*
 * Reads whole files into memory and hashes what was read: several files at once, and where CPUs are
 * left the next part of a file is read while one is hashed. Every byte is read once; the hash is of
 * the bytes in memory.
 */
#ifndef ENGINE_READ_HASHED_H
#define ENGINE_READ_HASHED_H

#include "common/hash.h"

struct hashed_file {
    int fd;        /* at the file's beginning */
    uint8_t *data; /* room for `size` bytes */
    size_t size;
    uint8_t sha256[SHA256_LEN]; /* out */
    /* out, how it went: the error belongs to another thread than the caller's */
    enum err_code code;
    char message[256];
};

/* Reads n files, at most `n_threads` of them at once, one of these on the caller's thread. With
 * more threads than files each file has a second one that reads ahead, so there may be 2 n of them.
 * Each must hold exactly `size` bytes. The error is the first failed file's, by its place in
 * `files`; *failed is that place. ERR_IO (a file shrank or grew). */
struct err read_hashed(struct hashed_file *files, size_t n, unsigned n_threads,
                       size_t *failed) MUST_USE;

/* What every reader of a file does. The next `len` bytes, of which the first is byte `at` of the
 * file; the system is told now and then what will be wanted next. ERR_IO when it ends before. */
struct err read_part(int fd, uint64_t at, uint8_t *out, size_t len) MUST_USE;
/* Behind the last byte there must be nothing: ERR_IO. */
struct err read_end(int fd) MUST_USE;

#endif
