/*
 * Hash maps for the tokenizer: built once at load, then only read (so from any thread). Keys come
 * from the model folder, never from users.
 */
#ifndef ENGINE_TOKENIZER_MAP_H
#define ENGINE_TOKENIZER_MAP_H

#include "common/buf.h"

/* u64 to u64; open addressing, at most half full. */
struct u64_map {
    uint64_t *keys, *values;
    bool *used;
    size_t n_slots, n_used;
};

void u64_map_cleanup(struct u64_map *m);
/* Replaces the value of a key that is there. ERR_MEMORY. */
struct err u64_map_put(struct u64_map *m, uint64_t key, uint64_t value) MUST_USE;
bool u64_map_get(const struct u64_map *m, uint64_t key, uint64_t *value);

/* Byte strings to u32. The strings are copied into one pool. */
struct bytes_map {
    struct bytes_map_slot *slots;
    size_t n_slots, n_used;
    struct buf pool;
};

void bytes_map_cleanup(struct bytes_map *m);
/* ERR_MALFORMED if the key is there already; ERR_MEMORY; ERR_LIMIT over 4 GiB of keys. */
struct err bytes_map_put(struct bytes_map *m, struct bytes key, uint32_t value) MUST_USE;
bool bytes_map_get(const struct bytes_map *m, struct bytes key, uint32_t *value);

#endif
