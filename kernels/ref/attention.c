/*
 * Attention of ref-1: for one row and query head, all scores over positions 0 to the row's own,
 * their maximum, exponentials of the differences, the lanes' sum of those, then the weighted sum of
 * values with positions ascending, divided by the sum at the end.
 */
#include "kernels/ref/lanes.h"
#include "kernels/ref/ref.h"

struct attention_job {
    const struct attention_args *args;
    const struct lanes *lanes;
};

static size_t page_keys(size_t n_keys, size_t page_index)
{
    size_t left = n_keys - page_index * KV_PAGE_TOKENS;
    return left < KV_PAGE_TOKENS ? left : KV_PAGE_TOKENS;
}

static float max_of(const float *x, size_t n)
{
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

/* The heads of one group read the same keys and values, page by page. */
static void attend_group(const struct attention_job *job, size_t row, size_t kv_head,
                         float *scratch)
{
    const struct attention_args *a = job->args;
    size_t head_dim = a->cache->head_dim, group = a->n_heads / a->cache->n_kv_heads;
    size_t first = (row * a->n_heads + kv_head * group) * head_dim;
    size_t n_keys = (size_t)a->rows[row].position + 1;
    size_t n_pages = (n_keys + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    size_t head_offset = kv_head * KV_PAGE_TOKENS * head_dim;
    const uint32_t *table = a->rows[row].page_table;

    for (size_t i = 0; i < n_pages; i++) {
        const float *keys = kv_cache_keys(a->cache, table[i], a->layer) + head_offset;
        for (size_t h = 0; h < group; h++)
            job->lanes->scores(scratch + h * n_keys + i * KV_PAGE_TOKENS,
                               a->q + first + h * head_dim, keys, page_keys(n_keys, i), head_dim,
                               a->scale);
    }
    for (size_t h = 0; h < group; h++) {
        float *p = scratch + h * n_keys, *out = a->out + first + h * head_dim;
        float sum = job->lanes->exp_sum(p, n_keys, max_of(p, n_keys));
        for (size_t d = 0; d < head_dim; d++)
            out[d] = 0.0f;
        for (size_t i = 0; i < n_pages; i++)
            job->lanes->accumulate(out, p + i * KV_PAGE_TOKENS,
                                   kv_cache_values(a->cache, table[i], a->layer) + head_offset,
                                   page_keys(n_keys, i), head_dim);
        for (size_t d = 0; d < head_dim; d++)
            out[d] = out[d] / sum;
    }
}

static void attend(void *context, size_t begin, size_t end, unsigned thread)
{
    const struct attention_job *job = context;
    size_t n_kv_heads = job->args->cache->n_kv_heads;
    for (size_t i = begin; i < end; i++)
        attend_group(job, i / n_kv_heads, i % n_kv_heads,
                     job->args->scratch + thread * job->args->scratch_len);
}

void ref_attention(struct pool *pool, const struct attention_args *args)
{
    struct attention_job job = {args, lanes_best()};
    pool_run(pool, args->n_rows * args->cache->n_kv_heads, 1, attend, &job);
}
