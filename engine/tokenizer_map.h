/*
 * Hash maps for the tokenizer: built once at load, then only read (so from any thread). Keys come
 * from the model folder, never from users.
 */
#ifndef ENGINE_TOKENIZER_MAP_H
#define ENGINE_TOKENIZER_MAP_H

#include "common/buf.h"

/* u64 to u64; open addressing, at most half full. A key and its value share a cache line; most keys
 * that are not there are found out by a table of bits, which is small enough for a nearer cache. */
struct u64_map {
    struct u64_map_slot *slots;
    uint8_t *bits; /* (n_slots): eight bits a slot */
    size_t n_slots, n_used;
};

void u64_map_cleanup(struct u64_map *m);
/* Replaces the value of a key that is there. ERR_MEMORY; ERR_LIMIT for the key UINT64_MAX. */
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
/* One entry after the other, from *at = 0; false behind the last one. */
bool bytes_map_next(const struct bytes_map *m, size_t *at, struct bytes *key, uint32_t *value);

#endif
