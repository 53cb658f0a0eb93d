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

struct err kv_init(struct kv *kv, const struct model_config *config, size_t n_pages)
{
    uint64_t size = 0;
    if (n_pages == 0 || n_pages > (size_t)1 << 31 ||
        __builtin_mul_overflow(kv_page_size(config), (uint64_t)n_pages, &size))
        return err_set(ERR_LIMIT, "the KV cache cannot have %zu pages", n_pages);
    uint32_t *free_pages = calloc(n_pages, sizeof *free_pages);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (free_pages == NULL || data == MAP_FAILED) {
        free(free_pages);
        if (data != MAP_FAILED)
            munmap(data, size);
        return err_set(ERR_MEMORY, "no memory for a KV cache of %" PRIu64 " bytes; ask for less",
                       size);
    }
    madvise(data, size, MADV_DONTDUMP);
    for (size_t i = 0; i < n_pages; i++)
        free_pages[i] = (uint32_t)(n_pages - 1 - i);
    *kv = (struct kv){.cache = {.data = data,
                                .n_pages = n_pages,
                                .n_layers = config->n_layers,
                                .n_kv_heads = config->n_kv_heads,
                                .head_dim = config->head_dim},
                      .free_pages = free_pages,
                      .n_free = n_pages};
    return err_ok();
}

static void zero_page(struct kv *kv, size_t page)
{
    size_t len = kv_cache_page_len(&kv->cache);
    explicit_bzero(kv->cache.data + page * len, len * sizeof(float));
}

void kv_cleanup(struct kv *kv)
{
    if (kv->cache.data != NULL) {
        size_t len = kv_cache_page_len(&kv->cache) * sizeof(float);
        munmap(kv->cache.data, len * kv->cache.n_pages);
    }
    free(kv->free_pages);
    *kv = (struct kv){0};
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

bool kv_reserve(struct kv *kv, struct page_list *list, size_t n_tokens)
{
    size_t n = kv_pages_for(n_tokens);
    if (n <= list->n)
        return true;
    if (n - list->n > kv->n_free || !list_room(list, n))
        return false;
    while (list->n < n)
        list->pages[list->n++] = kv->free_pages[--kv->n_free];
    return true;
}

void kv_release(struct kv *kv, struct page_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        zero_page(kv, list->pages[i]);
        kv->free_pages[kv->n_free++] = list->pages[i];
    }
    free(list->pages);
    *list = (struct page_list){0};
}
