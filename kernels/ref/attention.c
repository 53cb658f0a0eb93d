/*
 * Attention of ref-1: for one row and query head, all scores over positions 0 to the row's own (or
 * the window's), their maximum, exponentials of the differences, the lanes' sum of those, then the
 * weighted sum of values with positions ascending, divided by the sum at the end.
 */
#include "kernels/ref/lanes.h"
#include "kernels/ref/ref.h"

struct attention_job {
    const struct attention_args *args;
    const struct lanes *lanes;
};

/* How many positions from `position` on lie one behind the other on its page, before `end`. */
static size_t run_len(size_t position, size_t end)
{
    size_t room = KV_PAGE_TOKENS - position % KV_PAGE_TOKENS, left = end - position;
    return left < room ? left : room;
}

static float max_of(const float *x, size_t n)
{
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

/* The heads of one group read the same keys and values, page by page, of positions first to
 * end - 1. */
static void attend_group(const struct attention_job *job, size_t row, size_t kv_head,
                         float *scratch)
{
    const struct attention_args *a = job->args;
    size_t head_dim = a->cache->head_dim, group = a->n_heads / a->cache->n_kv_heads;
    size_t q_at = (row * a->n_heads + kv_head * group) * head_dim;
    size_t end = (size_t)a->rows[row].position + 1;
    size_t first = a->window != 0 && end > a->window ? end - a->window : 0, n_keys = end - first;
    const uint32_t *table = a->rows[row].page_table;

    for (size_t j = first, n; j < end; j += n) {
        size_t slot = (kv_head * KV_PAGE_TOKENS + j % KV_PAGE_TOKENS) * head_dim;
        const float *keys = kv_cache_keys(a->cache, table[j / KV_PAGE_TOKENS], a->layer) + slot;
        n = run_len(j, end);
        for (size_t h = 0; h < group; h++)
            job->lanes->scores(scratch + h * n_keys + (j - first), a->q + q_at + h * head_dim, keys,
                               n, head_dim, a->scale);
    }
    for (size_t h = 0; h < group; h++) {
        float *p = scratch + h * n_keys, *out = a->out + q_at + h * head_dim;
        float sum = job->lanes->exp_sum(p, n_keys, max_of(p, n_keys));
        for (size_t d = 0; d < head_dim; d++)
            out[d] = 0.0f;
        for (size_t j = first, n; j < end; j += n) {
            size_t slot = (kv_head * KV_PAGE_TOKENS + j % KV_PAGE_TOKENS) * head_dim;
            n = run_len(j, end);
            job->lanes->accumulate(
                out, p + (j - first),
                kv_cache_values(a->cache, table[j / KV_PAGE_TOKENS], a->layer) + slot, n, head_dim);
        }
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
