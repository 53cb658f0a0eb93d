/*
 * Causal attention over the paged cache on Hopper, for prefill and decode alike. A tile of 64 or
 * 128 queries (rows of one sequence, each with the query heads that share a key head) goes through
 * the pages that it sees. A thread of the first warpgroup keeps a ring of pages filled by the copy
 * engine; each of the others has 64 queries: scores by the tensor cores, weights in registers,
 * weighted values by the tensor cores. The scores of a page are computed while the values of the
 * page before it are added.
 *
 * A query's bits depend on neither its tile nor how its splits were shared among blocks.
 */
#include "kernels/cuda/attention_queries.cuh"
#include "kernels/cuda/attention_ring_sm90.cuh"
#include "kernels/cuda/ptx_rows.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
namespace attention_sm90
{

/* scores = queries times keys: one chain along head_dim, from +0. */
template <int head_dim>
DEVICE void multiply_keys(accumulators<KEYS> &scores, uint32_t queries, uint32_t keys)
{
    using r = rows<head_dim>;
    const uint64_t a = wgmma_operand<r::swizzle>(queries, 0);
    const uint64_t b = wgmma_operand<r::swizzle>(keys, 0);
    UNROLL
    for (uint32_t k = 0; k < head_dim; k += STEP) {
        const uint32_t at = k / r::chunk * r::chunk_len + k % r::chunk * 2;
        wgmma(scores, wgmma_operand_behind(a, at), wgmma_operand_behind(b, at), k == 0);
    }
    wgmma_commit();
}

/* sums += weights times values: the chain goes on along the keys. */
template <int head_dim>
DEVICE void multiply_values(accumulators<head_dim> &sums, const uint32_t (&weights)[KEYS / STEP][4],
                            uint32_t values, bool fresh)
{
    using r = rows<head_dim>;
    const uint64_t b = wgmma_operand<r::swizzle>(values, r::chunk_len);
    UNROLL
    for (uint32_t k = 0; k < KEYS; k += STEP)
        wgmma_rows(sums, weights[k / STEP], wgmma_operand_behind(b, k * r::swizzle),
                   fresh && k == 0);
    wgmma_commit();
}

/*
 * One warpgroup's way through one piece of work. Scores are computed a page ahead, so that the
 * tensor cores have the next page's scores and the last page's values to do while this page's
 * weights are computed: two places for scores, `i` the page's own.
 */
template <int head_dim, int tile> struct consumer {
    ring<head_dim, tile> &values; /* at the page whose values are next */
    ring<head_dim, tile> keys;    /* at the page whose scores are newest */
    const work &w;
    const place &p;
    uint32_t queries; /* where they are in shared memory */
    two_queries<head_dim> q;
    accumulators<KEYS> s[2];          /* scores, then weights */
    uint32_t weights[KEYS / STEP][4]; /* of the page whose values are added */

    DEVICE_MEMBER consumer(const cuda_attention_args &args, ring<head_dim, tile> &r,
                           const work &its_work, const place &its_place, const uint8_t *its_queries)
        : values(r), keys(r), w(its_work), p(its_place), queries(shared_address(its_queries)),
          q(args, its_work, its_place)
    {
    }

    template <int i> DEVICE_MEMBER void narrow_all()
    {
        UNROLL
        for (uint32_t step = 0; step < KEYS / STEP; step++)
            narrow_weights(weights[step], s[i], step);
    }

    template <int i> DEVICE_MEMBER void ask_scores()
    {
        mbarrier_wait_parity(keys.keys_full(), keys.parity);
        wgmma_fence();
        multiply_keys<head_dim>(s[i], queries, shared_address(keys.keys()));
    }

    /* Behind the last page its scores are computed once more, which nobody reads: that costs less
     * than a loop of its own for the last page. */
    template <int i> DEVICE_MEMBER void ask_scores_behind(uint32_t page)
    {
        if (page + 1 < w.end)
            keys.advance();
        ask_scores<i>();
    }

    DEVICE_MEMBER void first_page()
    {
        ask_scores<0>();
        wgmma_wait<0>();
        ask_scores_behind<1>(w.first);
        q.weigh_page(s[0], w.first);
        mbarrier_wait_parity(values.values_full(), values.parity);
        wgmma_wait<0>();
        narrow_all<0>();
    }

    /* Its scores are known. */
    template <int i> DEVICE_MEMBER void next_page(uint32_t page)
    {
        wgmma_fence();
        multiply_values<head_dim>(q.own, weights, shared_address(values.values()),
                                  q.begins_split(page - 1));
        ask_scores_behind<1 - i>(page);
        gathered ended[2] = {q.of_split[0], q.of_split[1]};
        const bool split_ends = ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0;
        if (split_ends)
            q.of_split[0] = q.of_split[1] = nothing();
        const bool moved = q.weigh_page(s[i], page);
        const ring<head_dim, tile> before = values;
        values.advance();
        mbarrier_wait_parity(values.values_full(), values.parity);
        wgmma_wait<0>();
        release(before);
        narrow_all<i>();
        if (split_ends)
            q.end_split(ended, page - 1);
        else if (moved)
            q.scale_own();
    }

    DEVICE_MEMBER void last_values()
    {
        clear_unwritten<head_dim>(values.values(), w, p);
        wgmma_fence();
        multiply_values<head_dim>(q.own, weights, shared_address(values.values()),
                                  q.begins_split(w.end - 1));
        wgmma_wait<0>();
        release(values);
        values.advance();
        q.end_split(q.of_split, w.end - 1);
    }
};

template <int head_dim, int tile>
DEVICE void attend(const cuda_attention_args &args, ring<head_dim, tile> &r, const work &w)
{
    const place p = find_place(args, w, uniform(threadIdx.x / GROUP) - 1);
    uint8_t *queries = shared_at<uint8_t>(p.group * rows<head_dim>::len, rows<head_dim>::len);
    load_queries<head_dim>(queries, args, w, p);
    consumer<head_dim, tile> c(args, r, w, p, queries);
    c.first_page();
    for (uint32_t page = w.first + 1; page < w.end; page += 2) {
        c.template next_page<1>(page);
        if (page + 1 < w.end)
            c.template next_page<0>(page + 1);
    }
    c.last_values();
    if (w.item.partial == ATTENTION_WHOLE)
        c.q.write_out();
}

template <int head_dim, int tile> DEVICE void run(const cuda_attention_args &args)
{
    ring<head_dim, tile> r;
    if (threadIdx.x == 0) {
        for (ring<head_dim, tile> i; i.parity == 0; i.advance()) {
            mbarrier_init(i.keys_full(), 1);
            mbarrier_init(i.values_full(), 1);
            mbarrier_init(i.empty(), tile / QUERIES * GROUP / WARP);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        registers_release<24>();
        if (threadIdx.x == 0)
            fill<head_dim, tile>(args, r);
        return;
    }
    registers_take<240>();
    const uint32_t n_work = count_work(args);
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        work w = find_work(args, number);
        w.first = uniform(w.first), w.end = uniform(w.end);
        if (w.first < w.end)
            attend<head_dim, tile>(args, r, w);
    }
}

} // namespace attention_sm90

#define ATTENTION_KERNEL(head_dim, tile)                                                           \
    KERNEL(attention_##head_dim##_##tile, cuda_attention_args, ATTENTION_BLOCK(tile))              \
    {                                                                                              \
        attention_sm90::run<head_dim, tile>(args);                                                 \
    }

ATTENTION_KERNEL(64, 64)
ATTENTION_KERNEL(64, 128)
ATTENTION_KERNEL(96, 64)
ATTENTION_KERNEL(96, 128)
ATTENTION_KERNEL(128, 64)
ATTENTION_KERNEL(128, 128)
#endif
