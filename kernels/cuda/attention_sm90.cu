/*
 * Causal attention over the paged cache on Hopper, for prefill and decode alike. A tile of 64 or
 * 128 queries (rows of one sequence, each with the query heads that share a key head) goes through
 * the pages that it sees, two at a time: a block. Two threads of the first warpgroup keep rings of
 * keys and values filled by the copy engine; each of the other warpgroups has 64 queries: scores by
 * the tensor cores, weights in registers, weighted values by the tensor cores. The scores of a
 * block are computed with the values of the block before it, and while one warpgroup waits for
 * these, the other computes weights.
 *
 * A query's bits depend on neither its tile nor how its splits were shared among blocks.
 */
#include "kernels/cuda/attention_queries.cuh"
#include "kernels/cuda/attention_ring_sm90.cuh"
#include "kernels/cuda/attention_weights_sm90.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
namespace attention_sm90
{

/* scores = queries times keys: one chain along head_dim, from +0. */
template <int head_dim>
DEVICE void multiply_keys(accumulators<BLOCK> &scores, uint32_t queries, uint32_t keys)
{
    using q = rows<head_dim, QUERIES>;
    using r = rows<head_dim, BLOCK>;
    const uint64_t a = wgmma_operand<q::swizzle>(queries, 0);
    const uint64_t b = wgmma_operand<r::swizzle>(keys, 0);
    UNROLL
    for (uint32_t k = 0; k < head_dim; k += STEP) {
        const uint32_t chunk = k / r::chunk, at = k % r::chunk * 2;
        wgmma(scores, wgmma_operand_behind(a, chunk * q::chunk_len + at),
              wgmma_operand_behind(b, chunk * r::chunk_len + at), k == 0);
    }
    wgmma_commit();
}

/* sums += weights times values and the ones behind them: chains that go on along the keys. */
template <int head_dim>
DEVICE void multiply_values(accumulators<head_dim + 8> &sums,
                            const uint32_t (&weights)[BLOCK / STEP][4], uint64_t values, bool fresh)
{
    UNROLL
    for (uint32_t k = 0; k < BLOCK; k += STEP)
        wgmma_rows(sums, weights[k / STEP],
                   wgmma_operand_behind(values, k * rows<head_dim, BLOCK>::swizzle),
                   fresh && k == 0);
    wgmma_commit();
}

/* One warpgroup's way through one piece of work. Blocks are named by their first page. */
template <int head_dim, int tile> struct consumer {
    rings<head_dim, tile> &r;
    turns<head_dim, tile> &turn;
    const work &w;
    const place &p;
    const uint32_t queries; /* where they are in shared memory */
    two_queries<head_dim, ATTENTION_SUMS_KEPT(head_dim, tile)> q;
    accumulators<BLOCK> s;                  /* scores */
    uint32_t weights[BLOCK / STEP][4] = {}; /* of the block whose values are added */

    DEVICE_MEMBER consumer(const cuda_attention_args &args, rings<head_dim, tile> &its_rings,
                           turns<head_dim, tile> &its_turn, const work &its_work,
                           const place &its_place, const uint8_t *its_queries)
        : r(its_rings), turn(its_turn), w(its_work), p(its_place),
          queries(shared_address(its_queries)), q(args, its_work, its_place, its_sums(p.group))
    {
    }

    DEVICE_MEMBER static quad *its_sums(uint32_t group)
    {
        constexpr uint32_t len = ATTENTION_SUMS_LEN(head_dim, tile) * QUERIES / tile;
        return shared_at<quad>(tile * head_dim * 2 + group * len, len / sizeof(quad)) +
               threadIdx.x % GROUP;
    }

    /* `apart`: how far from each other chunks of columns are. */
    DEVICE_MEMBER void ask_values(uint32_t from, uint32_t apart, uint32_t page)
    {
        multiply_values<head_dim>(q.own, weights,
                                  wgmma_operand<rows<head_dim, BLOCK>::swizzle>(from, apart),
                                  q.begins_split(page));
    }

    DEVICE_MEMBER void weigh_scores()
    {
        if (weigh_block(weights, s, q.scale, q.of[0].m, q.of[1].m))
            return;
        if (follow(q.of, s, q.scale))
            q.scale_own();
        weigh_block(weights, s, q.scale, finite(q.of[0].m), finite(q.of[1].m));
    }

    /* Its scores, the values of the block before it, its weights. Ahead of the first block columns
     * of keys stand for values: what becomes of these is dropped, and no loop of its own is needed
     * for it. */
    DEVICE_MEMBER void next_block(uint32_t page)
    {
        const bool first = page <= w.first;
        r.keys.wait();
        if (!first)
            r.values.wait();
        const uint32_t keys = shared_address(r.keys.data());
        const uint32_t values = first ? keys : shared_address(r.values.data());
        turn.take(p.group);
        wgmma_fence();
        multiply_keys<head_dim>(s, queries, keys);
        ask_values(values, first ? 0 : rows<head_dim, BLOCK>::chunk_len, page - PAGES_OF_BLOCK);
        turn.give(p.group);
        wgmma_wait<1>();
        if (!first)
            r.keys.leave();
        wgmma_wait<0>();
        if (first)
            r.keys.leave();
        else
            r.values.leave();
        q.mask_block(s, page);
        if (q.begins_split(page)) {
            if (!first)
                q.end_split(page - 1);
            q.begin_split(s, page);
        }
        weigh_scores();
    }

    DEVICE_MEMBER void last_values()
    {
        const uint32_t page = first_of_block(w.end - 1);
        r.values.wait();
        clear_unwritten<head_dim>(r.values.data(), w, p);
        wgmma_fence();
        ask_values(shared_address(r.values.data()), rows<head_dim, BLOCK>::chunk_len, page);
        wgmma_wait<0>();
        r.values.leave();
        q.end_split(page);
    }
};

template <int head_dim, int tile>
DEVICE void attend(const cuda_attention_args &args, rings<head_dim, tile> &r,
                   turns<head_dim, tile> &turn, const work &w)
{
    const place p = find_place(args, w, uniform(threadIdx.x / GROUP) - 1);
    uint8_t *queries = shared_at<uint8_t>(p.group * QUERIES * head_dim * 2, QUERIES * head_dim * 2);
    grid_wait(); /* for the queries */
    load_queries<head_dim>(queries, args, w, p);
    consumer<head_dim, tile> c(args, r, turn, w, p, queries);
    for (uint32_t page = first_of_block(w.first); page < w.end; page += PAGES_OF_BLOCK)
        c.next_block(page);
    c.last_values();
    if (w.item.partial == ATTENTION_WHOLE)
        c.q.write_out();
}

template <int head_dim, int tile> DEVICE void run(const cuda_attention_args &args)
{
    constexpr uint32_t of_producers = tile == QUERIES && head_dim == 128 ? 32 : 40; /* registers */
    rings<head_dim, tile> r;
    grid_launch_dependents();
    const uint32_t n_work = count_work(args);
    if (blockIdx.x >= n_work && blockIdx.x > 0)
        return; /* the first block waits for the launch ahead, so that no launch behind is too early
                 */
    if (threadIdx.x == 0) {
        init(r.keys);
        init(r.values);
        for (uint32_t group = 0; group < 2; group++)
            mbarrier_init(turns<head_dim, tile>::of_group(group), GROUP / WARP);
        fence_mbarrier_init();
    }
    if (threadIdx.x < BLOCK)
        r.values.put_ones(threadIdx.x);
    fence_proxy_async();
    __syncthreads();
    if (threadIdx.x < GROUP) {
        registers_release<of_producers>();
        if (threadIdx.x == 0)
            fill(args, r.keys);
        else if (threadIdx.x == WARP)
            fill(args, r.values);
    } else {
        registers_take<tile == QUERIES ? 256 - of_producers : 232>();
        turns<head_dim, tile> turn;
        for (uint32_t round = 0; number_of(round) < n_work; round++) {
            work w = find_work(args, number_of(round));
            w.first = uniform(w.first), w.end = uniform(w.end);
            if (w.first < w.end)
                attend<head_dim, tile>(args, r, turn, w);
        }
    }
}

} // namespace attention_sm90

#define ATTENTION_KERNEL(head_dim, tile)                                                           \
    KERNEL_BESIDE(attention_##head_dim##_##tile, cuda_attention_args, ATTENTION_BLOCK(tile),       \
                  ATTENTION_BESIDE(tile))                                                          \
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
