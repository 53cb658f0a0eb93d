/*
 * Reads whole files in parts, for bytes that go elsewhere than to this process's memory. Each byte
 * is read once, hashed where it was read, and taken from there: what was hashed is what is used.
 * It is not read_hashed.h, as here few slots of memory go round between readers and a device that
 * gives them back late, so that no reader may run ahead of its hash, as it does there.
 */
#ifndef ENGINE_FILE_PARTS_H
#define ENGINE_FILE_PARTS_H

#include "common/hash.h"

struct parted_file {
    int fd;
    uint64_t size, at;          /* bytes; those that were read and hashed */
    struct sha256_stream *hash; /* of these */
    uint8_t sha256[SHA256_LEN]; /* when the whole file was read */
    enum err_code code;         /* how it went: the error belongs to another thread */
    char message[256];
};

/* Takes the file descriptor of a file of that size, at its beginning. */
void parted_file_init(struct parted_file *f, int fd, uint64_t size);
void parted_file_cleanup(struct parted_file *f);
/* The next `len` bytes, which are hashed with the rest. ERR_IO when the file ends before. */
struct err parted_file_next(struct parted_file *f, uint8_t *out, size_t len) MUST_USE;

struct part {
    size_t file; /* its place in the array */
    uint64_t at; /* of the part's first byte in the file */
    struct bytes data;
};

/* Where parts lie while they are on their way: n_slots (at least 2) of part_len bytes. */
struct part_memory {
    uint8_t *data;
    size_t part_len, n_slots;
};

struct part_taker {
    void *context;
    /* Whether the bytes are good. On several threads at once; before `take`. */
    struct err (*check)(void *context, const struct part *part);
    /* On the caller's thread, the parts of one file in their order. They stay where they are until
     * `settle` of their slot has returned, which is called once for each. */
    struct err (*take)(void *context, const struct part *part, size_t slot);
    struct err (*settle)(void *context, size_t slot);
};

/* Reads what is left of n files, `n_threads` of them at once (at least 1), each on a thread of its
 * own. Each must end where its size says. The error is the first failed file's, by its place, and
 * *failed is that place; it is n when no file is to blame. After an error some parts may not have
 * been settled. ERR_IO (a file shrank or grew). */
struct err file_parts_read(struct parted_file *files, size_t n, unsigned n_threads,
                           const struct part_memory *memory, const struct part_taker *taker,
                           size_t *failed) MUST_USE;

#endif
