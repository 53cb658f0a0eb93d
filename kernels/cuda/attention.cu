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
#include "kernels/cuda/attention_work.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
namespace attention
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

DEVICE void narrow_weights(uint32_t (&to)[KEYS / STEP][4], const accumulators<KEYS> &weights)
{
    UNROLL
    for (int i = 0; i < KEYS / 4; i++)
        to[i / 4][i % 4] = narrow_pair(weights.d[2 * i], weights.d[2 * i + 1]);
}

/* One warpgroup's way through one piece of work. */
template <int head_dim, int tile> struct consumer {
    const cuda_attention_args &args;
    ring<head_dim, tile> &r; /* at the page whose weights are computed, or that comes first */
    turns<head_dim, tile> &turn;
    const work &w;
    const place &p;
    uint8_t *const queries;
    const scores_scale scale;
    accumulators<KEYS> s;             /* scores, then weights */
    uint32_t weights[KEYS / STEP][4]; /* of the page whose values are added */
    accumulators<head_dim> own;       /* of this split */
    float sums[head_dim / 2];         /* of the splits before, folded */
    gathered of_split[2], all[2];
    float factor[2];

    DEVICE_MEMBER consumer(const cuda_attention_args &its_args, ring<head_dim, tile> &its_ring,
                           turns<head_dim, tile> &its_turn, const work &its_work,
                           const place &its_place)
        : args(its_args), r(its_ring), turn(its_turn), w(its_work), p(its_place),
          queries(shared_at<uint8_t>(p.group * rows<head_dim>::len, rows<head_dim>::len)),
          scale(make_scale(its_args.scale))
    {
        for (int h = 0; h < 2; h++)
            of_split[h] = all[h] = nothing();
    }

    DEVICE_MEMBER bool weigh_page(uint32_t page)
    {
        const uint32_t position = page * KEYS;
        if (position >= p.low && position + KEYS - 1 <= p.high)
            return weigh<false>(s, of_split, factor, p.seen, position, scale);
        return weigh<true>(s, of_split, factor, p.seen, position, scale);
    }

    DEVICE_MEMBER bool begins_split(uint32_t page) const
    {
        return (ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0) || page == w.first;
    }

    DEVICE_MEMBER void scale_own()
    {
        UNROLL
        for (int i = 0; i < head_dim / 2; i++)
            own.d[i] = own.d[i] * factor[half_of(i)];
    }

    /* Where a query's head stands in (n_rows, n_heads). */
    DEVICE_MEMBER size_t head_of(int h) const
    {
        return (size_t)(w.item.row + p.query[h] / p.per_row) * args.n_heads +
               w.kv_head * p.per_row + p.query[h] % p.per_row;
    }

    DEVICE_MEMBER void fold_own(const gathered (&ended)[2])
    {
        folding f[2];
        UNROLL
        for (int h = 0; h < 2; h++)
            f[h] = fold_in(all[h], ended[h], scale);
        UNROLL
        for (int i = 0; i < head_dim / 2; i++)
            sums[i] = fold(f[half_of(i)], sums[i], own.d[i]);
    }

    DEVICE_MEMBER void write_partial(const gathered (&ended)[2], uint32_t split)
    {
        UNROLL
        for (int h = 0; h < 2; h++) {
            if (p.query[h] >= p.n_queries)
                continue;
            const size_t partial = w.item.partial +
                                   (size_t)(p.query[h] / p.per_row) * w.item.partial_stride +
                                   (split - w.item.first_split);
            const size_t head =
                partial * args.n_heads + w.kv_head * p.per_row + p.query[h] % p.per_row;
            float *to = args.partial_sums + head * head_dim;
            UNROLL
            for (int i = 0; i < head_dim / 2; i += 2)
                if (half_of(i) == h)
                    *(pair *)(to + column_of(i)) = pair{own.d[i], own.d[i + 1]};
            if (threadIdx.x % 4 == 0)
                *(pair *)(args.partial_weights + 2 * head) = pair{ended[h].m, ended[h].l};
        }
    }

    /* The split of `page`, its last one here, is whole. */
    DEVICE_MEMBER void end_split(gathered (&ended)[2], uint32_t page)
    {
        UNROLL
        for (int h = 0; h < 2; h++)
            ended[h].l = join_columns(ended[h].l);
        if (w.item.partial == ATTENTION_WHOLE)
            fold_own(ended);
        else
            write_partial(ended,
                          ATTENTION_FIXED_SPLITS ? page / PAGES_OF_SPLIT : w.item.first_split);
    }

    /* Its scores and weights. */
    DEVICE_MEMBER void first_page()
    {
        mbarrier_wait_parity(r.keys_full(), r.parity);
        wgmma_fence();
        multiply_keys<head_dim>(s, queries, r.keys());
        wgmma_wait<0>();
        weigh_page(w.first);
        narrow_weights(weights, s);
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
        multiply_keys<head_dim>(s, queries, next.keys());
        multiply_values<head_dim>(own, weights, r.values(), begins_split(page - 1));
        turn.give(p.group);
        wgmma_wait<1>();
        gathered ended[2] = {of_split[0], of_split[1]};
        const bool split_ends = ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0;
        if (split_ends)
            of_split[0] = of_split[1] = nothing();
        const bool moved = weigh_page(page);
        wgmma_wait<0>();
        release(r);
        narrow_weights(weights, s);
        if (split_ends)
            end_split(ended, page - 1);
        else if (moved)
            scale_own();
        r = next;
    }

    DEVICE_MEMBER void last_values()
    {
        mbarrier_wait_parity(r.values_full(), r.parity);
        clear_unwritten<head_dim>(r.values(), w, p);
        wgmma_fence();
        multiply_values<head_dim>(own, weights, r.values(), begins_split(w.end - 1));
        wgmma_wait<0>();
        release(r);
        r.advance();
        end_split(of_split, w.end - 1);
    }

    DEVICE_MEMBER void write_out() const
    {
        UNROLL
        for (int h = 0; h < 2; h++) {
            if (p.query[h] >= p.n_queries)
                continue;
            uint16_t *to = args.out + head_of(h) * head_dim;
            const float by = result_scale(all[h].l);
            UNROLL
            for (int i = 0; i < head_dim / 2; i += 2)
                if (half_of(i) == h)
                    *(uint32_t *)(to + column_of(i)) = narrow_pair(sums[i] * by, sums[i + 1] * by);
        }
    }
};

template <int head_dim, int tile>
DEVICE void attend(const cuda_attention_args &args, ring<head_dim, tile> &r,
                   turns<head_dim, tile> &turn, const work &w)
{
    const place p = find_place(args, w);
    consumer<head_dim, tile> c(args, r, turn, w, p);
    load_queries<head_dim>(c.queries, args, w, p);
    c.first_page();
    for (uint32_t page = w.first + 1; page < w.end; page++)
        c.next_page(page);
    c.last_values();
    if (w.item.partial == ATTENTION_WHOLE)
        c.write_out();
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
    registers_take<240>();
    turns<head_dim, tile> turn;
    const uint32_t n_work = count_work(args);
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        const work w = find_work(args, number);
        if (w.first < w.end)
            attend<head_dim, tile>(args, r, turn, w);
    }
}

} // namespace attention

#define ATTENTION_KERNEL(head_dim, tile)                                                           \
    KERNEL(attention_##head_dim##_##tile, cuda_attention_args, ATTENTION_BLOCK(tile))              \
    {                                                                                              \
        attention::run<head_dim, tile>(args);                                                      \
    }

ATTENTION_KERNEL(64, 64)
ATTENTION_KERNEL(64, 128)
ATTENTION_KERNEL(96, 64)
ATTENTION_KERNEL(96, 128)
ATTENTION_KERNEL(128, 64)
ATTENTION_KERNEL(128, 128)
#endif
