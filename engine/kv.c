#include "engine/kv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint64_t kv_page_size(const struct model_config *config)
{
    return (uint64_t)config->n_layers * 2 * config->n_kv_heads * KV_PAGE_TOKENS * config->head_dim *
           sizeof(float);
}

size_t kv_pages_for(size_t n_tokens)
{
    return (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

static size_t page_size(const struct kv *kv)
{
    return kv_cache_page_len(&kv->cache) * sizeof(float);
}

/* All pages free, page 0 on top; no page known. */
static bool make_tables(struct kv *kv, size_t n_pages)
{
    kv->n_buckets = 1;
    while (kv->n_buckets < n_pages)
        kv->n_buckets *= 2;
    kv->pages = calloc(n_pages, sizeof *kv->pages);
    kv->free_pages = calloc(n_pages, sizeof *kv->free_pages);
    kv->buckets = malloc(kv->n_buckets * sizeof *kv->buckets);
    if (kv->pages == NULL || kv->free_pages == NULL || kv->buckets == NULL)
        return false;
    for (size_t i = 0; i < n_pages; i++)
        kv->free_pages[i] = (uint32_t)(n_pages - 1 - i);
    for (size_t i = 0; i < kv->n_buckets; i++)
        kv->buckets[i] = KV_NO_PAGE;
    kv->n_free = n_pages;
    kv->oldest = kv->newest = KV_NO_PAGE;
    return true;
}

static struct kv_cache shape_of(const struct model_config *config, size_t n_pages, float *data)
{
    return (struct kv_cache){.data = data,
                             .n_pages = n_pages,
                             .n_layers = config->n_layers,
                             .n_kv_heads = config->n_kv_heads,
                             .head_dim = config->head_dim};
}

struct err kv_init_elsewhere(struct kv *kv, const struct model_config *config, size_t n_pages,
                             const struct kv_store *store)
{
    struct kv made = {.cache = shape_of(config, n_pages, NULL), .store = *store};
    if (n_pages == 0 || n_pages > (size_t)1 << 31)
        return err_set(ERR_LIMIT, "the KV cache cannot have %zu pages", n_pages);
    if (!make_tables(&made, n_pages)) {
        kv_cleanup(&made);
        return err_set(ERR_MEMORY, "no memory for the tables of %zu pages", n_pages);
    }
    *kv = made;
    return err_ok();
}

struct err kv_init(struct kv *kv, const struct model_config *config, size_t n_pages,
                   struct pool *pool)
{
    uint64_t size = 0;
    if (n_pages == 0 || n_pages > (size_t)1 << 31 ||
        __builtin_mul_overflow(kv_page_size(config), (uint64_t)n_pages, &size))
        return err_set(ERR_LIMIT, "the KV cache cannot have %zu pages", n_pages);
    struct kv made = {.pool = pool};
    void *data = MAP_FAILED;
    if (make_tables(&made, n_pages))
        data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (data == MAP_FAILED) {
        kv_cleanup(&made);
        return err_set(ERR_MEMORY, "no memory for a KV cache of %" PRIu64 " bytes; ask for less",
                       size);
    }
    madvise(data, size, MADV_DONTDUMP);
    madvise(data, size, MADV_HUGEPAGE); /* advice: without it everything still works */
    made.cache = shape_of(config, n_pages, data);
    *kv = made;
    return err_ok();
}

void kv_cleanup(struct kv *kv)
{
    if (kv->cache.data != NULL) {
        munmap(kv->cache.data, page_size(kv) * kv->cache.n_pages);
    }
    if (kv->pages != NULL)
        explicit_bzero(kv->pages, kv->cache.n_pages * sizeof *kv->pages);
    free(kv->pages);
    free(kv->free_pages);
    free(kv->buckets);
    *kv = (struct kv){0};
}

/* Keys are hashes, so any bytes of them are a hash. */
static uint32_t *bucket_of(const struct kv *kv, const uint8_t key[SHA256_LEN])
{
    uint64_t number;
    memcpy(&number, key, sizeof number);
    return &kv->buckets[number & (kv->n_buckets - 1)];
}

static uint32_t find(const struct kv *kv, const uint8_t key[SHA256_LEN])
{
    uint32_t page = *bucket_of(kv, key);
    while (page != KV_NO_PAGE && memcmp(kv->pages[page].key, key, SHA256_LEN) != 0)
        page = kv->pages[page].next;
    return page;
}

static void make_unknown(struct kv *kv, uint32_t page)
{
    struct kv_page *p = &kv->pages[page];
    uint32_t *at = bucket_of(kv, p->key);
    while (*at != page)
        at = &kv->pages[*at].next;
    *at = p->next;
    p->known = false;
    explicit_bzero(p->key, sizeof p->key);
}

static void make_idle(struct kv *kv, uint32_t page)
{
    struct kv_page *p = &kv->pages[page];
    p->idle_since_ms = kv->now_ms;
    p->older = kv->newest;
    p->newer = KV_NO_PAGE;
    *(kv->newest != KV_NO_PAGE ? &kv->pages[kv->newest].newer : &kv->oldest) = page;
    kv->newest = page;
    kv->n_idle++;
}

static void end_idle(struct kv *kv, uint32_t page)
{
    const struct kv_page *p = &kv->pages[page];
    *(p->older != KV_NO_PAGE ? &kv->pages[p->older].newer : &kv->oldest) = p->newer;
    *(p->newer != KV_NO_PAGE ? &kv->pages[p->newer].older : &kv->newest) = p->older;
    kv->n_idle--;
}

/* The pages on the stack of free ones from `first` on are not zero yet. */
struct zeroing {
    struct kv *kv;
    size_t first;
    size_t n_pieces; /* of a page */
};

enum { PIECE = 1 << 20, PIECES_MIN = 4 /* less is not worth another thread */ };

/* Items are pieces, page by page. */
static void zero_pieces(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct zeroing *z = context;
    size_t size = page_size(z->kv);
    while (begin < end) {
        size_t page = begin / z->n_pieces, next = (page + 1) * z->n_pieces;
        size_t from = (begin - page * z->n_pieces) * PIECE;
        size_t to = end < next ? (end - page * z->n_pieces) * PIECE : size;
        uint8_t *data = (uint8_t *)z->kv->cache.data + z->kv->free_pages[z->first + page] * size;
        explicit_bzero(data + from, to - from);
        begin = end < next ? end : next;
    }
}

/* Whoever freed pages calls this before anything else can take them. */
static void zero_freed(struct kv *kv, size_t first)
{
    struct zeroing z = {kv, first, (page_size(kv) + PIECE - 1) / PIECE};
    size_t n = (kv->n_free - first) * z.n_pieces;
    if (kv->store.zero != NULL)
        for (size_t i = first; i < kv->n_free; i++)
            kv->store.zero(kv->store.context, kv->free_pages[i]);
    else if (kv->pool != NULL)
        pool_run(kv->pool, n, PIECES_MIN, zero_pieces, &z);
    else
        zero_pieces(&z, 0, n, 0);
}

/* Not yet zeroed. */
static void free_idle(struct kv *kv, uint32_t page)
{
    end_idle(kv, page);
    make_unknown(kv, page);
    kv->free_pages[kv->n_free++] = page;
}

static bool list_room(struct page_list *list, size_t n)
{
    if (n <= list->capacity)
        return true;
    size_t capacity = n < 2 * list->capacity ? 2 * list->capacity : n;
    uint32_t *pages = reallocarray(list->pages, capacity, sizeof *pages);
    if (pages == NULL)
        return false;
    list->pages = pages;
    list->capacity = capacity;
    return true;
}

/* Idle pages make room until n are free. */
static void evict_for(struct kv *kv, size_t n)
{
    size_t first = kv->n_free;
    for (; kv->n_free < n; kv->n_evicted++)
        free_idle(kv, kv->oldest);
    zero_freed(kv, first);
}

bool kv_reserve(struct kv *kv, struct page_list *list, size_t n_tokens)
{
    size_t n = kv_pages_for(n_tokens);
    if (n <= list->n)
        return true;
    if (n - list->n > kv->n_free + kv->n_idle || !list_room(list, n))
        return false;
    evict_for(kv, n - list->n);
    while (list->n < n) {
        uint32_t page = kv->free_pages[--kv->n_free];
        kv->pages[page].n_holders = 1;
        list->pages[list->n++] = page;
    }
    return true;
}

void kv_release(struct kv *kv, struct page_list *list)
{
    size_t first = kv->n_free;
    while (list->n > 0) {
        uint32_t page = list->pages[--list->n];
        if (--kv->pages[page].n_holders > 0)
            continue;
        if (kv->pages[page].known)
            make_idle(kv, page);
        else
            kv->free_pages[kv->n_free++] = page;
    }
    zero_freed(kv, first);
    free(list->pages);
    *list = (struct page_list){0};
}

void kv_publish(struct kv *kv, uint32_t page, const uint8_t key[SHA256_LEN])
{
    struct kv_page *p = &kv->pages[page];
    if (p->known || find(kv, key) != KV_NO_PAGE)
        return;
    uint32_t *bucket = bucket_of(kv, key);
    memcpy(p->key, key, SHA256_LEN);
    p->known = true;
    p->next = *bucket;
    *bucket = page;
}

bool kv_share(struct kv *kv, struct page_list *list, const uint8_t key[SHA256_LEN])
{
    uint32_t page = find(kv, key);
    if (page == KV_NO_PAGE || !list_room(list, list->n + 1))
        return false;
    if (kv->pages[page].n_holders++ == 0)
        end_idle(kv, page);
    list->pages[list->n++] = page;
    return true;
}

void kv_forget(struct kv *kv, const uint8_t *keys, size_t n)
{
    size_t first = kv->n_free;
    for (size_t i = 0; i < n; i++) {
        uint32_t page = find(kv, keys + i * SHA256_LEN);
        if (page != KV_NO_PAGE && kv->pages[page].n_holders == 0)
            free_idle(kv, page);
    }
    zero_freed(kv, first);
}

uint64_t kv_next_expiry_ms(const struct kv *kv, uint64_t age_ms)
{
    return kv->n_idle > 0 ? kv->pages[kv->oldest].idle_since_ms + age_ms : UINT64_MAX;
}

void kv_expire(struct kv *kv, uint64_t age_ms, size_t n_max)
{
    size_t first = kv->n_free;
    while (kv->n_free - first < n_max && kv_next_expiry_ms(kv, age_ms) <= kv->now_ms) {
        free_idle(kv, kv->oldest);
        kv->n_expired++;
    }
    zero_freed(kv, first);
}

void kv_expire_all(struct kv *kv)
{
    size_t first = kv->n_free;
    while (kv->n_idle > 0) {
        free_idle(kv, kv->oldest);
        kv->n_expired++;
    }
    zero_freed(kv, first);
}

static void copy_heads(const struct kv_cache *c, float *to, const float *from, size_t n_tokens)
{
    for (size_t head = 0; head < c->n_kv_heads; head++) {
        size_t at = head * KV_PAGE_TOKENS * c->head_dim;
        memcpy(to + at, from + at, n_tokens * c->head_dim * sizeof *to);
    }
}

void kv_copy(struct kv *kv, uint32_t to, uint32_t from, size_t n_tokens)
{
    const struct kv_cache *c = &kv->cache;
    if (kv->store.copy != NULL) {
        kv->store.copy(kv->store.context, to, from, n_tokens);
        return;
    }
    for (size_t layer = 0; layer < c->n_layers; layer++) {
        copy_heads(c, kv_cache_keys(c, to, layer), kv_cache_keys(c, from, layer), n_tokens);
        copy_heads(c, kv_cache_values(c, to, layer), kv_cache_values(c, from, layer), n_tokens);
    }
}
