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

struct u64_map_slot {
    uint64_t key_plus_1; /* 0: free */
    uint64_t value;
};

void u64_map_cleanup(struct u64_map *m)
{
    free(m->slots);
    free(m->bits);
    *m = (struct u64_map){0};
}

/* The key's bit, chosen by the hash's upper half, where its slot is chosen by the lower. */
static size_t bit_of(const struct u64_map *m, uint64_t hash)
{
    return (hash >> 32) & (8 * m->n_slots - 1);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct u64_map_slot *u64_slot(const struct u64_map *m, uint64_t hash, uint64_t key)
{
    size_t i = hash & (m->n_slots - 1);
    while (m->slots[i].key_plus_1 != 0 && m->slots[i].key_plus_1 != key + 1)
        i = (i + 1) & (m->n_slots - 1);
    return &m->slots[i];
}

static void u64_store(struct u64_map *m, uint64_t key, uint64_t value)
{
    uint64_t hash = mix(key);
    struct u64_map_slot *slot = u64_slot(m, hash, key);
    size_t bit = bit_of(m, hash);
    m->n_used += slot->key_plus_1 == 0;
    m->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
    *slot = (struct u64_map_slot){key + 1, value};
}

static struct err u64_grow(struct u64_map *m)
{
    size_t n = m->n_slots == 0 ? 64 : m->n_slots * 2;
    struct u64_map wider = {
        .slots = calloc(n, sizeof *wider.slots), .bits = calloc(n, 1), .n_slots = n};
    if (wider.slots == NULL || wider.bits == NULL) {
        u64_map_cleanup(&wider);
        return err_set(ERR_MEMORY, "no memory for a table of %zu entries", n);
    }
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].key_plus_1 != 0)
            u64_store(&wider, m->slots[i].key_plus_1 - 1, m->slots[i].value);
    u64_map_cleanup(m);
    *m = wider;
    return err_ok();
}

struct err u64_map_put(struct u64_map *m, uint64_t key, uint64_t value)
{
    if (key == UINT64_MAX)
        return err_set(ERR_LIMIT, "a table's key is too large");
    if (m->n_used * 2 >= m->n_slots)
        TRY(u64_grow(m));
    u64_store(m, key, value);
    return err_ok();
}

bool u64_map_get(const struct u64_map *m, uint64_t key, uint64_t *value)
{
    if (m->n_slots == 0 || key == UINT64_MAX)
        return false;
    uint64_t hash = mix(key);
    size_t bit = bit_of(m, hash);
    if ((m->bits[bit / 8] >> bit % 8 & 1) == 0)
        return false;
    const struct u64_map_slot *slot = u64_slot(m, hash, key);
    if (slot->key_plus_1 == 0)
        return false;
    *value = slot->value;
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

/* Eight bytes at a time; the last ones with zeros behind them, so the length counts too. */
static uint32_t bytes_hash(struct bytes key)
{
    uint64_t h = key.len;
    size_t i = 0;
    for (; i + 8 <= key.len; i += 8) {
        uint64_t word;
        memcpy(&word, key.data + i, 8);
        h = mix(h ^ word);
    }
    uint64_t last = 0;
    for (unsigned shift = 0; i < key.len; i++, shift += 8)
        last |= (uint64_t)key.data[i] << shift;
    return (uint32_t)mix(h ^ last * 0x9e3779b97f4a7c15u);
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

bool bytes_map_next(const struct bytes_map *m, size_t *at, struct bytes *key, uint32_t *value)
{
    while (*at < m->n_slots && !m->slots[*at].used)
        ++*at;
    if (*at == m->n_slots)
        return false;
    const struct bytes_map_slot *s = &m->slots[(*at)++];
    *key = bytes_of(m->pool.data + s->offset, s->len);
    *value = s->value;
    return true;
}
