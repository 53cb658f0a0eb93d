/* Queries and keys turned by their positions' angles, keys and values to the cache: ref-1's
 * products and sums to the bit, a vector of pairs at a time. */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

/* Less is no faster with another thread. What is stored was not in a cache, so this is little. */
enum { ROPE_GRAIN_ELEMENTS = 1024 };

/* The first n_turned elements of a head, the others as they are; to may be from. */
static void turn(const struct rope_args *a, float *to, const float *from, size_t position)
{
    size_t half = a->n_turned / 2, d = 0;
    const float *c = a->cos_sin + position * 2 * half, *s = c + half;
    for (; d + LANES <= half; d += LANES) {
        vec first = vec_load(from + d), second = vec_load(from + half + d);
        vec cosine = vec_load(c + d), sine = vec_load(s + d);
        vec_store(to + d, first * cosine - second * sine);
        vec_store(to + half + d, second * cosine + first * sine);
    }
    for (; d < half; d++) {
        float first = from[d], second = from[half + d];
        to[d] = first * c[d] - second * s[d];
        to[half + d] = second * c[d] + first * s[d];
    }
    if (to != from)
        memcpy(to + 2 * half, from + 2 * half, (a->cache->head_dim - 2 * half) * sizeof *to);
}

/* Where a row's keys of a head go in the cache; its values are as far from values' beginning. */
static size_t place(const struct rope_args *a, size_t row, size_t head)
{
    return (head * KV_PAGE_TOKENS + a->rows[row].position % KV_PAGE_TOKENS) * a->cache->head_dim;
}

static size_t page_of(const struct rope_args *a, size_t row)
{
    return a->rows[row].page_table[a->rows[row].position / KV_PAGE_TOKENS];
}

/* A key head and its values, to their places in the cache. */
static void store_head(const struct rope_args *a, size_t row, size_t head)
{
    const struct kv_cache *c = a->cache;
    size_t page = page_of(a, row), to = place(a, row, head);
    size_t from = (row * c->n_kv_heads + head) * c->head_dim;
    turn(a, kv_cache_keys(c, page, a->layer) + to, a->k + from, a->rows[row].position);
    memcpy(kv_cache_values(c, page, a->layer) + to, a->v + from, c->head_dim * sizeof *a->v);
}

/* These lines are in no cache, and stores wait for them one after the other. */
static void fetch_head(const struct rope_args *a, size_t row, size_t head)
{
    size_t page = page_of(a, row), to = place(a, row, head);
    const float *keys = kv_cache_keys(a->cache, page, a->layer) + to;
    const float *values = kv_cache_values(a->cache, page, a->layer) + to;
    for (size_t i = 0; i < a->cache->head_dim; i += 16) {
        _mm_prefetch((const void *)(keys + i), _MM_HINT_T0);
        _mm_prefetch((const void *)(values + i), _MM_HINT_T0);
    }
}

/* Items are heads: a row's queries, then its keys. */
static void rope_heads(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct rope_args *a = context;
    size_t n = a->n_heads + a->cache->n_kv_heads;
    for (size_t i = begin; i < end; i++)
        if (i % n >= a->n_heads)
            fetch_head(a, i / n, i % n - a->n_heads);
    for (size_t i = begin; i < end; i++) {
        size_t row = i / n, head = i % n;
        float *q = a->q + (row * a->n_heads + head) * a->cache->head_dim;
        if (head < a->n_heads)
            turn(a, q, q, a->rows[row].position);
        else
            store_head(a, row, head - a->n_heads);
    }
}

void cpu_rope_write(struct pool *pool, const struct rope_args *args)
{
    struct rope_args copy = *args; /* a pool's context is not const */
    pool_run(pool, args->n_rows * (args->n_heads + args->cache->n_kv_heads),
             1 + ROPE_GRAIN_ELEMENTS / args->cache->head_dim, rope_heads, &copy);
}
