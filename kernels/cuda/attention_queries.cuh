/*
 * What a thread has of its two queries on their way through the pages: the sums of the split that
 * it is in, those of the splits before; how scores become weights, and how a split ends. The same
 * for every chip: only the products differ.
 */
#ifndef KERNELS_CUDA_ATTENTION_QUERIES_CUH
#define KERNELS_CUDA_ATTENTION_QUERIES_CUH

#include "kernels/cuda/attention_work.cuh"

namespace attention
{

/* Weights of 16 keys as the first operand of a product. */
DEVICE void narrow_weights(uint32_t (&to)[4], const accumulators<KEYS> &weights, uint32_t step)
{
    UNROLL
    for (uint32_t i = 0; i < 4; i++)
        to[i] = narrow_pair(weights.d[8 * step + 2 * i], weights.d[8 * step + 2 * i + 1]);
}

template <int head_dim> struct two_queries {
    const cuda_attention_args &args;
    const work &w;
    const place &p;
    const scores_scale scale;
    accumulators<head_dim> own; /* of this split */
    float sums[head_dim / 2];   /* of the splits before, folded */
    gathered of_split[2], all[2];
    float factor[2];

    DEVICE_MEMBER two_queries(const cuda_attention_args &its_args, const work &its_work,
                              const place &its_place)
        : args(its_args), w(its_work), p(its_place), scale(make_scale(its_args.scale))
    {
        for (int h = 0; h < 2; h++)
            of_split[h] = all[h] = nothing();
    }

    /* Scores of a page become weights; true where `own` is to be scaled. */
    DEVICE_MEMBER bool weigh_page(accumulators<KEYS> &s, uint32_t page)
    {
        const uint32_t position = page * KEYS;
        if (position < p.low || position + KEYS - 1 > p.high) {
            const view seen[2] = {find_view(args, w, p, 0), find_view(args, w, p, 1)};
            mask(s, seen, position);
        }
        return weigh(s, of_split, factor, scale);
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
            f[h] = fold_in(all[h], ended[h]);
        if (__ballot_sync(ALL_LANES, only_adds(f[0]) && only_adds(f[1])) == ALL_LANES) {
            UNROLL
            for (int i = 0; i < head_dim / 2; i++)
                sums[i] = fmaf(own.d[i], f[half_of(i)].add, sums[i]);
            return;
        }
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

} // namespace attention

#endif
