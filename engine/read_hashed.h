/*
 * Reads whole files into memory and hashes what was read: several files at once, and where CPUs are
 * left the next part of a file is read while one is hashed. Every byte is read once; the hash is of
 * the bytes in memory. Disks want pages to read to: what comes from there to other places is moved
 * when it has been hashed, while it is in the core's cache. It is not file_parts.h, as here every
 * byte has a place of its own from the start: a reader waits for nobody and may pass by the page
 * cache in large pieces, and nobody takes anything.
 */
#ifndef ENGINE_READ_HASHED_H
#define ENGINE_READ_HASHED_H

#include "common/hash.h"

enum { READ_HASHED_PAGE = 4096 };

struct hashed_file {
    int fd; /* at the file's beginning */
    /* Room for `size` bytes; where it does not begin a page, up to a page more is written behind
     * them. */
    uint8_t *data;
    size_t size;
    uint8_t sha256[SHA256_LEN]; /* out */
    /* out, how it went: the error belongs to another thread than the caller's */
    enum err_code code;
    char message[256];
};

/* Reads n files, at most `n_threads` of them at once, one of these on the caller's thread. With
 * more threads than files each file has a second one that reads ahead, and so has one that the page
 * cache does not hold: there may be 2 n of them.
 * Each must hold exactly `size` bytes. The error is the first failed file's, by its place in
 * `files`; *failed is that place. ERR_IO (a file shrank or grew). */
struct err read_hashed(struct hashed_file *files, size_t n, unsigned n_threads,
                       size_t *failed) MUST_USE;

#endif
