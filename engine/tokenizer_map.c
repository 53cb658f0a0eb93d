#include "engine/tokenizer_map.h"

#include <stdlib.h>
#include <string.h>

/* The finalizer of splitmix64: every input bit reaches every output bit. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void u64_map_cleanup(struct u64_map *m)
{
    free(m->keys);
    free(m->values);
    free(m->used);
    *m = (struct u64_map){0};
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t u64_slot(const struct u64_map *m, uint64_t key)
{
    size_t i = mix(key) & (m->n_slots - 1);
    while (m->used[i] && m->keys[i] != key)
        i = (i + 1) & (m->n_slots - 1);
    return i;
}

static void u64_store(struct u64_map *m, uint64_t key, uint64_t value)
{
    size_t i = u64_slot(m, key);
    if (!m->used[i])
        m->n_used++;
    m->used[i] = true;
    m->keys[i] = key;
    m->values[i] = value;
}

static struct err u64_grow(struct u64_map *m)
{
    size_t n = m->n_slots == 0 ? 64 : m->n_slots * 2;
    struct u64_map wider = {.keys = calloc(n, sizeof *wider.keys),
                            .values = calloc(n, sizeof *wider.values),
                            .used = calloc(n, sizeof *wider.used),
                            .n_slots = n};
    if (wider.keys == NULL || wider.values == NULL || wider.used == NULL) {
        u64_map_cleanup(&wider);
        return err_set(ERR_MEMORY, "no memory for a table of %zu entries", n);
    }
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->used[i])
            u64_store(&wider, m->keys[i], m->values[i]);
    u64_map_cleanup(m);
    *m = wider;
    return err_ok();
}

struct err u64_map_put(struct u64_map *m, uint64_t key, uint64_t value)
{
    if (m->n_used * 2 >= m->n_slots)
        TRY(u64_grow(m));
    u64_store(m, key, value);
    return err_ok();
}

bool u64_map_get(const struct u64_map *m, uint64_t key, uint64_t *value)
{
    if (m->n_slots == 0)
        return false;
    size_t i = u64_slot(m, key);
    if (!m->used[i])
        return false;
    *value = m->values[i];
    return true;
}

struct bytes_map_slot {
    uint32_t hash, offset, len, value;
    bool used;
};

void bytes_map_cleanup(struct bytes_map *m)
{
    free(m->slots);
    buf_cleanup(&m->pool);
    *m = (struct bytes_map){0};
}

/* FNV-1a over the bytes, then mixed. */
static uint32_t bytes_hash(struct bytes key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 0x100000001b3u;
    return (uint32_t)mix(h);
}

static size_t bytes_slot(const struct bytes_map *m, struct bytes key, uint32_t hash)
{
    size_t i = hash & (m->n_slots - 1);
    for (; m->slots[i].used; i = (i + 1) & (m->n_slots - 1)) {
        const struct bytes_map_slot *s = &m->slots[i];
        if (s->hash == hash && s->len == key.len &&
            (key.len == 0 || memcmp(m->pool.data + s->offset, key.data, key.len) == 0))
            break;
    }
    return i;
}

static struct err bytes_grow(struct bytes_map *m)
{
    size_t n = m->n_slots == 0 ? 64 : m->n_slots * 2;
    struct bytes_map_slot *slots = calloc(n, sizeof *slots);
    if (slots == NULL)
        return err_set(ERR_MEMORY, "no memory for a table of %zu entries", n);
    for (size_t i = 0; i < m->n_slots; i++) {
        if (!m->slots[i].used)
            continue;
        size_t at = m->slots[i].hash & (n - 1);
        while (slots[at].used)
            at = (at + 1) & (n - 1);
        slots[at] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->n_slots = n;
    return err_ok();
}

struct err bytes_map_put(struct bytes_map *m, struct bytes key, uint32_t value)
{
    if (key.len > UINT32_MAX - m->pool.len)
        return err_set(ERR_LIMIT, "more than 4 GiB of token texts");
    if (m->n_used * 2 >= m->n_slots)
        TRY(bytes_grow(m));
    uint32_t hash = bytes_hash(key);
    struct bytes_map_slot *s = &m->slots[bytes_slot(m, key, hash)];
    if (s->used)
        return err_set(ERR_MALFORMED, "the same text stands for two tokens, %u and %u", s->value,
                       value);
    *s = (struct bytes_map_slot){hash, (uint32_t)m->pool.len, (uint32_t)key.len, value, true};
    m->n_used++;
    buf_append_bytes(&m->pool, key);
    return err_ok();
}

bool bytes_map_get(const struct bytes_map *m, struct bytes key, uint32_t *value)
{
    if (m->n_slots == 0)
        return false;
    const struct bytes_map_slot *s = &m->slots[bytes_slot(m, key, bytes_hash(key))];
    if (!s->used)
        return false;
    *value = s->value;
    return true;
}
