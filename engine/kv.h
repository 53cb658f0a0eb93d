/*
 * The pages of the KV cache: taken one at a time, zeroed when given back, so that no page ever
 * shows one request what another wrote.
 */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include "engine/config.h"
#include "kernels/backend.h"

struct kv {
    struct kv_cache cache;
    uint32_t *free_pages; /* a stack */
    size_t n_free;
};

uint64_t kv_page_size(const struct model_config *config); /* bytes */
/* How many pages hold that many tokens. */
size_t kv_pages_for(size_t n_tokens);

/* Not included in core dumps. 1 to 2^31 pages. */
struct err kv_init(struct kv *kv, const struct model_config *config, size_t n_pages) MUST_USE;
/* Unmaps the cache: the system zeroes the memory before anyone else sees it. */
void kv_cleanup(struct kv *kv);

/* One request's pages, in the order of its positions. */
struct page_list {
    uint32_t *pages;
    size_t n, capacity;
};

/* Grows the list to hold `n_tokens`. False, and nothing taken, when too few pages are free. */
bool kv_reserve(struct kv *kv, struct page_list *list, size_t n_tokens);
/* Zeroes and gives back all of the list's pages. */
void kv_release(struct kv *kv, struct page_list *list);

#endif
