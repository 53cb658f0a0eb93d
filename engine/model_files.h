/*
 * The files of a model folder, each read once: the bytes that are hashed are the bytes that are
 * used. A file is read with read(2) into anonymous memory, hashed there, and the memory is made
 * read-only; nothing looks at the file again. It begins a page, or, if its name ends in
 * ".safetensors", it lies so that its data begin a cache line: real headers end at any multiple of
 * 8, and decoding reads weights that lie across lines up to 8 % slower.
 */
#ifndef ENGINE_MODEL_FILES_H
#define ENGINE_MODEL_FILES_H

#include "engine/engine.h"
#include "engine/file_parts.h"

struct model_file {
    struct engine_file info;
    /* Its own read-only mapping; data is NULL when the file is empty. Of a file that is read in
     * parts it is a range of addresses that stand for the file's bytes and cannot be read. */
    struct bytes data;
};

struct model_files {
    char *dir;
    struct model_file *items;
    size_t n;
};

enum { MODEL_FILES_MAX = 1024 };

struct err model_files_init(struct model_files *f, const char *dir) MUST_USE;
void model_files_cleanup(struct model_files *f);

/* The size of a regular file in the folder; ERR_NOT_FOUND, ERR_UNSUPPORTED (not a regular file). */
struct err model_files_size(const struct model_files *f, const char *name, uint64_t *size) MUST_USE;

/* Reads and hashes `name`, which must hold at most `max` bytes, and appends it. The name is of a
 * file in the folder, or, with one slash, in a folder of it. `out` is valid until cleanup, its
 * address until the next read. ERR_NOT_FOUND, ERR_LIMIT, ERR_MEMORY, ERR_IO (also when the file
 * shrinks or grows while it is read). */
struct err model_files_read(struct model_files *f, const char *name, uint64_t max,
                            struct bytes *out) MUST_USE;
/* The same for n files at once, with threads as in read_hashed.h: all are appended in the order of
 * `names`, or none. The error is that of the first one that failed. */
struct err model_files_read_all(struct model_files *f, const char *const *names, size_t n,
                                uint64_t max, unsigned n_threads) MUST_USE;
/* As model_files_read; a file that is not there gives an empty view with NULL data, and no error.
 */
struct err model_files_read_optional(struct model_files *f, const char *name, uint64_t max,
                                     struct bytes *out) MUST_USE;

/* Opens a file for file_parts_read and appends it, with a hash still to be set; `out` is the
 * caller's to clean up. */
struct err model_files_open(struct model_files *f, const char *name,
                            struct parted_file *out) MUST_USE;
/* Opens it once more: ERR_UNTRUE when it has another size than before. */
struct err model_files_reopen(const struct model_files *f, const char *name,
                              struct parted_file *out) MUST_USE;
/* Takes the newest `n` off the list again. */
void model_files_drop(struct model_files *f, size_t n);
/* NULL if it is not in the list. */
struct model_file *model_files_find(const struct model_files *f, const char *name);

/* Sorts bytewise by name. */
void model_files_sort(struct model_files *f);

/* A name that stays inside the folder: 1 to 255 bytes, no '/', no leading '.', no control bytes. */
bool model_file_name_valid(const char *name);

/* Bytes that this process can still use: the least of what the machine says is available and what
 * its control groups and limits allow. */
uint64_t memory_available(void);
uint64_t memory_of_machine(void);

#endif
