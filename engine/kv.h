/*
 * The pages of the KV cache. A page is free (all zero), held by one request or more, or idle: held
 * by nobody, but kept because its key may be asked for again. Only a page that is full and fully
 * computed has a key (prefix.h), and from then on nobody writes to it. Idle pages are given up when
 * pages run out, the one that was let go first before others, or when they are too old; a page is
 * zeroed before it is free, so that none ever shows one request what another wrote. Pages that are
 * given up together are zeroed together, by all threads of the pool: of a large model one page has
 * 16 MiB, and everybody's step waits.
 */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include "common/hash.h"
#include "engine/config.h"
#include "kernels/backend.h"
#include "kernels/pool.h"

struct kv_page {
    uint8_t key[SHA256_LEN]; /* if known */
    bool known;              /* can be found by its key */
    uint32_t n_holders;      /* lists that it is in */
    uint32_t next;           /* of the same bucket */
    uint32_t older, newer;   /* if idle */
    uint64_t idle_since_ms;
};

/* What is done to pages that are not in this process's memory. Nothing fails here: what a device
 * could not do is its next step's error. */
struct kv_store {
    void *context;
    void (*zero)(void *context, uint32_t page);
    /* The first n_tokens positions. */
    void (*copy)(void *context, uint32_t to, uint32_t from, size_t n_tokens);
};

struct kv {
    struct kv_cache cache; /* data is NULL where `store` has the pages */
    struct kv_store store; /* zero is NULL: they are in `cache` */
    struct pool *pool;     /* borrowed; NULL: the caller's thread alone zeroes pages */
    struct kv_page *pages; /* cache.n_pages */
    uint32_t *free_pages;  /* a stack */
    size_t n_free;
    uint32_t *buckets; /* first page of each; KV_NO_PAGE: empty */
    size_t n_buckets;  /* a power of two */
    uint32_t oldest, newest;
    size_t n_idle;
    uint64_t n_evicted; /* idle pages given up for others */
    uint64_t n_expired; /* idle pages given up for their age */
    uint64_t now_ms;    /* set by the owner: any clock that never goes back */
};

#define KV_NO_PAGE UINT32_MAX

uint64_t kv_page_size(const struct model_config *config); /* bytes */
/* How many pages hold that many tokens. */
size_t kv_pages_for(size_t n_tokens);

/* Not included in core dumps. 1 to 2^31 pages. */
struct err kv_init(struct kv *kv, const struct model_config *config, size_t n_pages,
                   struct pool *pool) MUST_USE;
/* The same with the pages elsewhere, all of them zero. */
struct err kv_init_elsewhere(struct kv *kv, const struct model_config *config, size_t n_pages,
                             const struct kv_store *store) MUST_USE;
/* Unmaps the cache: the system zeroes the memory before anyone else sees it. */
void kv_cleanup(struct kv *kv);

/* One request's pages, in the order of its positions. */
struct page_list {
    uint32_t *pages;
    size_t n, capacity;
};

/* Grows the list to hold `n_tokens`; idle pages make room. False, and nothing taken, when too few
 * pages are free or idle. */
bool kv_reserve(struct kv *kv, struct page_list *list, size_t n_tokens);
/* Lets go of all of the list's pages, the last one first. Those that nobody else holds become idle
 * if they are known, and are zeroed and freed if not. */
void kv_release(struct kv *kv, struct page_list *list);

/* Makes a page that is held, full and computed known. Nothing happens if it is known already, or
 * if another page is known by that key. */
void kv_publish(struct kv *kv, uint32_t page, const uint8_t key[SHA256_LEN]);
/* Appends the page of that key to the list, for reading; false when none is known. */
bool kv_share(struct kv *kv, struct page_list *list, const uint8_t key[SHA256_LEN]);
/* Zeroes and frees those pages of the keys that are idle. keys: (n, SHA256_LEN) */
void kv_forget(struct kv *kv, const uint8_t *keys, size_t n);
/* Zeroes and frees pages that have been idle for `age_ms`, the oldest first, at most n_max. */
void kv_expire(struct kv *kv, uint64_t age_ms, size_t n_max);
/* The same with all that are idle. */
void kv_expire_all(struct kv *kv);
/* When the first idle page is that old; UINT64_MAX when none is idle. */
uint64_t kv_next_expiry_ms(const struct kv *kv, uint64_t age_ms);

/* Copies the first n_tokens positions of a page, at most KV_PAGE_TOKENS. */
void kv_copy(struct kv *kv, uint32_t to, uint32_t from, size_t n_tokens);

#endif
