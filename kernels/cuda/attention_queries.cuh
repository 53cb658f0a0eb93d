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

/* Four elements of a query's sums, as one access. */
struct alignas(16) quad {
    float x[4];
};

/* A thread's sums of splits that have ended: the first n_kept are in registers, the others in
 * shared memory, 16 bytes of each thread of a group beside each other. */
template <int n_kept> struct sums_of_splits {
    quad *others;
    float kept[n_kept];

    DEVICE_MEMBER quad get(int i) const
    {
        if (i < n_kept)
            return quad{{kept[i], kept[i + 1], kept[i + 2], kept[i + 3]}};
        return others[(i - n_kept) / 4 * GROUP];
    }

    DEVICE_MEMBER void put(int i, const quad &x)
    {
        if (i >= n_kept)
            others[(i - n_kept) / 4 * GROUP] = x;
        else
            for (int j = 0; j < 4; j++)
                kept[i + j] = x.x[j];
    }
};

template <int head_dim, int n_kept> struct two_queries {
    const cuda_attention_args &args;
    const work &w;
    const place &p;
    const float scale;
    reference of[2]; /* in this split */
    /* Of this split: weighted values; behind them the sum of weights, in each of eight columns. */
    accumulators<head_dim + 8> own;
    sums_of_splits<n_kept> sums; /* weighted values of the splits before, folded */
    gathered all[2];             /* of those */

    DEVICE_MEMBER two_queries(const cuda_attention_args &its_args, const work &its_work,
                              const place &its_place, quad *others)
        : args(its_args), w(its_work), p(its_place),
          scale(make_scale(its_args.scale)), sums{others, {}}
    {
        for (int h = 0; h < 2; h++)
            all[h] = nothing();
        UNROLL
        for (int i = n_kept; i < head_dim / 2; i += 4)
            sums.put(i, quad{});
    }

    DEVICE_MEMBER float weight_of(int h) const
    {
        return own.d[head_dim / 2 + 2 * h];
    }

    /* A block that begins a split, or that comes first. Blocks are named by their first page. */
    DEVICE_MEMBER bool begins_split(uint32_t page) const
    {
        return (ATTENTION_FIXED_SPLITS && page % PAGES_OF_SPLIT == 0) || page <= w.first;
    }

    /* Of the threads that share queries the first has the first position's scores. */
    DEVICE_MEMBER void begin_split(const accumulators<BLOCK> &s, uint32_t page)
    {
        UNROLL
        for (int h = 0; h < 2; h++) {
            const float score = __shfl_sync(ALL_LANES, s.d[2 * h], threadIdx.x % WARP / 4 * 4);
            of[h].m = page % PAGES_OF_SPLIT == 0 ? first_m(score, scale) : MINUS_INFINITY;
        }
    }

    DEVICE_MEMBER void mask_block(accumulators<BLOCK> &s, uint32_t page) const
    {
        const uint32_t position = page * KEYS;
        if (position < p.low || position + BLOCK - 1 > p.high) {
            const view seen[2] = {find_view(args, w, p, 0), find_view(args, w, p, 1)};
            mask(s, seen, position);
        }
    }

    DEVICE_MEMBER void clear_own()
    {
        UNROLL
        for (int i = 0; i < head_dim / 2 + 4; i++)
            own.d[i] = 0.0f;
    }

    DEVICE_MEMBER void scale_own()
    {
        UNROLL
        for (int i = 0; i < head_dim / 2 + 4; i++)
            own.d[i] = own.d[i] * of[half_of(i)].factor;
    }

    /* Where a query's head stands in (n_rows, n_heads). */
    DEVICE_MEMBER size_t head_of(int h) const
    {
        return (size_t)(w.item.row + p.query[h] / p.per_row) * args.n_heads +
               w.kv_head * p.per_row + p.query[h] % p.per_row;
    }

    DEVICE_MEMBER void fold_own()
    {
        folding f[2];
        UNROLL
        for (int h = 0; h < 2; h++)
            f[h] = fold_in(all[h], gathered{of[h].m, weight_of(h)});
        if (__ballot_sync(ALL_LANES, fminf(f[0].keep, f[1].keep) < 1.0f) != 0)
            fold_all<true>(f);
        else
            fold_all<false>(f);
    }

    template <bool scaled> DEVICE_MEMBER void fold_all(const folding (&f)[2])
    {
        UNROLL
        for (int i = 0; i < head_dim / 2; i += 4) {
            quad x = sums.get(i);
            UNROLL
            for (int j = 0; j < 4; j++)
                x.x[j] = fmaf(own.d[i + j], f[j / 2].add, scaled ? x.x[j] * f[j / 2].keep : x.x[j]);
            sums.put(i, x);
        }
    }

    DEVICE_MEMBER void write_partial(uint32_t split) const
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
                *(pair *)(args.partial_weights + 2 * head) = pair{of[h].m, weight_of(h)};
        }
    }

    /* The split of `page` is whole, as far as it is covered here. */
    DEVICE_MEMBER void end_split(uint32_t page)
    {
        if (w.item.partial == ATTENTION_WHOLE)
            fold_own();
        else
            write_partial(ATTENTION_FIXED_SPLITS ? page / PAGES_OF_SPLIT : w.item.first_split);
    }

    DEVICE_MEMBER void write_out() const
    {
        const float by[2] = {result_scale(all[0].l), result_scale(all[1].l)};
        UNROLL
        for (int i = 0; i < head_dim / 2; i += 4) {
            const quad x = sums.get(i);
            UNROLL
            for (int h = 0; h < 2; h++)
                if (p.query[h] < p.n_queries)
                    *(uint32_t *)(args.out + head_of(h) * head_dim + column_of(i)) =
                        narrow_pair(result_of(x.x[2 * h], by[h]), result_of(x.x[2 * h + 1], by[h]));
        }
    }
};

} // namespace attention

#endif
