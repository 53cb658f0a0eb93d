#include "kernels/backend.h"

#include <string.h>

#include "kernels/ref/lanes.h"
#include "kernels/ref/ref.h"

size_t weight_type_size(enum weight_type type)
{
    return type == WEIGHT_F32 ? 4 : 2;
}

void weight_widen(float *out, const void *data, enum weight_type type, size_t n)
{
    lanes_best()->widen(out, data, type, n);
}

static size_t block_len(const struct kv_cache *c)
{
    return c->n_kv_heads * KV_PAGE_TOKENS * c->head_dim;
}

size_t kv_cache_page_len(const struct kv_cache *c)
{
    return c->n_layers * 2 * block_len(c);
}

float *kv_cache_keys(const struct kv_cache *c, size_t page, size_t layer)
{
    return c->data + page * kv_cache_page_len(c) + layer * 2 * block_len(c);
}

float *kv_cache_values(const struct kv_cache *c, size_t page, size_t layer)
{
    return kv_cache_keys(c, page, layer) + block_len(c);
}

struct err backend_get(const struct backend **out, const char *name)
{
    if (name == NULL || strcmp(name, backend_ref.name) == 0) {
        *out = &backend_ref;
        return err_ok();
    }
    return err_set(ERR_NOT_FOUND, "there is no backend \"%.40s\"; this build has: ref", name);
}
