/*
 * Where a model's tensors are: model.safetensors, or the shards that model.safetensors.index.json
 * lists. Sizes are known before anything large is read; every tensor must be exactly where the
 * index says, and nowhere else.
 *
 * Maximum: index 16 MiB, 1,000 shards.
 */
#ifndef ENGINE_SHARDS_H
#define ENGINE_SHARDS_H

#include <jansson.h>

#include "engine/model_files.h"
#include "engine/safetensors.h"

enum { SHARDS_INDEX_MAX = 16 << 20, SHARDS_MAX = 1000 };

struct shards {
    char (*names)[256]; /* sorted bytewise */
    size_t n;
    json_t *weight_map;          /* tensor to file; NULL for a single file */
    uint64_t total_size;         /* of the files, in bytes */
    struct safetensors *headers; /* n, after shards_read or shards_open */
    struct parted_file *parts;   /* n, between shards_open and the end of shards_stream */
    size_t n_opened;             /* by shards_open, so far */
    bool in_memory;              /* the tensors' bytes are where `headers` say */
};

/* Finds the files and their sizes; reads (and so hashes) the index. */
struct err shards_find(struct shards *out, struct model_files *files) MUST_USE;
/* The index's text into a zeroed `s`, which the caller cleans up also on failure. */
struct err shards_parse_index(struct shards *s, struct bytes text) MUST_USE;
/* Reads and hashes every shard and checks it against the index. */
struct err shards_read(struct shards *s, struct model_files *files) MUST_USE;
/* Opens every shard and reads its header alone. Each tensor's data are then addresses that cannot
 * be read, those of its bytes in the file (model_files.h). */
struct err shards_open(struct shards *s, struct model_files *files) MUST_USE;
/* Back to before shards_open. */
void shards_close(struct shards *s, struct model_files *files);
/* Reads and hashes what follows the headers, in parts. Their hashes become those of `files`; where
 * these have some already, because shards_reopen was called, they must be the same: ERR_UNTRUE. */
struct err shards_stream(struct shards *s, struct model_files *files,
                         const struct part_memory *memory, const struct part_taker *taker) MUST_USE;
/* For one more shards_stream, of the same bytes. */
struct err shards_reopen(struct shards *s, const struct model_files *files) MUST_USE;
void shards_cleanup(struct shards *s);

/* NULL if there is none. */
const struct tensor *shards_tensor(const struct shards *s, const char *name);
/* The tensor that an address belongs to; NULL if it is no tensor's. */
const struct tensor *shards_tensor_at(const struct shards *s, const uint8_t *address);
/* How many tensors all shards hold. */
size_t shards_n_tensors(const struct shards *s);

#endif
