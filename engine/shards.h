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
    struct safetensors *headers; /* n, after shards_read */
};

/* Finds the files and their sizes; reads (and so hashes) the index. */
struct err shards_find(struct shards *out, struct model_files *files) MUST_USE;
/* The index's text into a zeroed `s`, which the caller cleans up also on failure. */
struct err shards_parse_index(struct shards *s, struct bytes text) MUST_USE;
/* Reads and hashes every shard and checks it against the index. */
struct err shards_read(struct shards *s, struct model_files *files) MUST_USE;
void shards_cleanup(struct shards *s);

/* NULL if there is none. */
const struct tensor *shards_tensor(const struct shards *s, const char *name);
/* How many tensors all shards hold. */
size_t shards_n_tensors(const struct shards *s);

#endif
