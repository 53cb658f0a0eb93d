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
DEVICE void multiply_keys(accumulators<KEYS> &scores, const uint8_t *queries, const uint8_t *keys)
{
    using r = rows<head_dim>;
    UNROLL
    for (uint32_t k = 0; k < head_dim; k += STEP) {
        const uint32_t at = k / r::chunk * r::chunk_len + k % r::chunk * 2;
        wgmma(scores, wgmma_operand<r::swizzle>(shared_address(queries) + at, 0),
              wgmma_operand<r::swizzle>(shared_address(keys) + at, 0), k == 0);
    }
    wgmma_commit();
}

/* sums += weights times values: the chain goes on along the keys. */
template <int head_dim>
DEVICE void multiply_values(accumulators<head_dim> &sums, const uint32_t (&weights)[KEYS / STEP][4],
                            const uint8_t *values, bool fresh)
{
    using r = rows<head_dim>;
    UNROLL
    for (uint32_t k = 0; k < KEYS; k += STEP)
        wgmma_rows(sums, weights[k / STEP],
                   wgmma_operand<r::swizzle>(shared_address(values) + k * r::swizzle, r::chunk_len),
                   fresh && k == 0);
    wgmma_commit();
}

/* One warpgroup's way through one piece of work. */
template <int head_dim, int tile> struct consumer {
    ring<head_dim, tile> &r; /* at the page whose weights are computed, or that comes first */
    turns<head_dim, tile> &turn;
    const work &w;
    const place &p;
    uint8_t *const queries;
    two_queries<head_dim> q;
    uint32_t weights[KEYS / STEP][4]; /* of the page whose values are added */

    DEVICE_MEMBER consumer(const cuda_attention_args &args, ring<head_dim, tile> &its_ring,
                           turns<head_dim, tile> &its_turn, const work &its_work,
                           const place &its_place)
        : r(its_ring), turn(its_turn), w(its_work), p(its_place),
          queries(shared_at<uint8_t>(p.group * rows<head_dim>::len, rows<head_dim>::len)),
          q(args, its_work, its_place)
    {
    }

    DEVICE_MEMBER void narrow_all()
    {
        UNROLL
        for (uint32_t step = 0; step < KEYS / STEP; step++)
            narrow_weights(weights[step], q.s, step);
    }

    /* Its scores and weights. */
    DEVICE_MEMBER void first_page()
    {
        mbarrier_wait_parity(r.keys_full(), r.parity);
        wgmma_fence();
        multiply_keys<head_dim>(q.s, queries, r.keys());
        wgmma_wait<0>();
        q.weigh_page(w.first);
        narrow_all();
    }

    /* Its scores and weights, and the values of the page before it. */
    DEVICE_MEMBER void next_page(uint32_t page)
    {
        ring<head_dim, tile> next = r;
        next.advance();
        mbarrier_wait_parity(next.keys_full(), next.parity);
        mbarrier_wait_parity(r.values_full(), r.parity);
        turn.take(p.group);
        wgmma_fence();
        multiply_keys<head_dim>(q.s, queries, next.keys());
        multiply_values<head_dim>(q.own, weights, r.values(), q.begins_split(page - 1));
        turn.give(p.group);
        wgmma_wait<1>();
        gathered ended[2] = {q.of_split[0], q.of_split[1]};
        const bool split_ends = ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0;
        if (split_ends)
            q.of_split[0] = q.of_split[1] = nothing();
        const bool moved = q.weigh_page(page);
        wgmma_wait<0>();
        release(r);
        narrow_all();
        if (split_ends)
            q.end_split(ended, page - 1);
        else if (moved)
            q.scale_own();
        r = next;
    }

    DEVICE_MEMBER void last_values()
    {
        mbarrier_wait_parity(r.values_full(), r.parity);
        clear_unwritten<head_dim>(r.values(), w, p);
        wgmma_fence();
        multiply_values<head_dim>(q.own, weights, r.values(), q.begins_split(w.end - 1));
        wgmma_wait<0>();
        release(r);
        r.advance();
        q.end_split(q.of_split, w.end - 1);
    }
};

template <int head_dim, int tile>
DEVICE void attend(const cuda_attention_args &args, ring<head_dim, tile> &r,
                   turns<head_dim, tile> &turn, const work &w)
{
    const place p = find_place(args, w, threadIdx.x / GROUP - 1);
    consumer<head_dim, tile> c(args, r, turn, w, p);
    grid_wait(); /* for the queries */
    load_queries<head_dim>(c.queries, args, w, p);
    c.first_page();
    for (uint32_t page = w.first + 1; page < w.end; page++)
        c.next_page(page);
    c.last_values();
    if (w.item.partial == ATTENTION_WHOLE)
        c.q.write_out();
}

template <int head_dim, int tile> DEVICE void run(const cuda_attention_args &args)
{
    ring<head_dim, tile> r;
    grid_launch_dependents();
    const uint32_t n_work = count_work(args);
    if (blockIdx.x >= n_work && blockIdx.x > 0)
        return; /* the first block waits for the launch ahead, so that no launch behind is too early
                 */
    if (threadIdx.x == 0) {
        for (ring<head_dim, tile> i; i.parity == 0; i.advance()) {
            mbarrier_init(i.keys_full(), 1);
            mbarrier_init(i.values_full(), 1);
            mbarrier_init(i.empty(), tile / QUERIES * GROUP / WARP);
        }
        for (uint32_t group = 0; group < 2; group++)
            mbarrier_init(turns<head_dim, tile>::of_group(group), GROUP / WARP);
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        registers_release<24>();
        if (threadIdx.x == 0)
            fill<head_dim, tile>(args, r);
        return;
    }
    registers_take<tile == QUERIES ? 232 : 240>();
    turns<head_dim, tile> turn;
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        const work w = find_work(args, number);
        if (w.first < w.end)
            attend<head_dim, tile>(args, r, turn, w);
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
