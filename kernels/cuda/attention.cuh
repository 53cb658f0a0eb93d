/*
 * The arithmetic of attention (docs/CUDA.md, "Attention"), by the layout in which a warpgroup's
 * accumulators hold 64 queries and 64 keys: a thread has two queries (`half` 0 and 1), eight rows
 * apart, and of each of them every fourth pair of columns. Nothing here depends on where a query
 * stands in a tile.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/args.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/det.h"

enum { KEYS = ATTENTION_KEYS, PAGES_OF_SPLIT = ATTENTION_SPLIT / ATTENTION_KEYS };

/* Every split of ATTENTION_SPLIT positions is gathered for itself, then folded. bench/inexact.cu,
 * which measures what that costs, goes on to an item's end. */
#if !defined(ATTENTION_FIXED_SPLITS)
#define ATTENTION_FIXED_SPLITS true
#endif

/* A maximum follows the scores only when they exceed it by more than this factor, as a power of 2:
 * weights are at most that, and accumulators are seldom scaled. */
#define ATTENTION_SLACK 8.0f

#define MINUS_INFINITY __uint_as_float(0xff800000u)

/* Element i of a thread's accumulators: its query, and its column. */
DEVICE int half_of(int i)
{
    return i / 2 % 2;
}

DEVICE uint32_t column_of(int i)
{
    return (uint32_t)(i / 4 * 8 + i % 2) + threadIdx.x % 4 * 2;
}

/* Two floats that lie beside each other, as one access. */
struct alignas(8) pair {
    float x, y;
};

/* The positions that a query sees. */
struct view {
    uint32_t first, last;
};

DEVICE bool sees(const view &v, uint32_t position)
{
    return position - v.first <= v.last - v.first; /* what is before the first wraps round */
}

/* Of the scores' powers of two. */
struct scores_scale {
    float factor, slack; /* of a score, to the exponent; in scores */
};

DEVICE scores_scale make_scale(float scale)
{
    const float factor = scale * 1.44269504f;
    return scores_scale{factor, __fdiv_rn(ATTENTION_SLACK, factor)};
}

/* What a query has gathered beside its sums: the maximum that its weights refer to and their sum;
 * within a split that of the thread's columns alone. */
struct gathered {
    float m, l;
};

DEVICE gathered nothing()
{
    return gathered{MINUS_INFINITY, 0.0f};
}

/* Scores of one page become weights, 0 where a key is not seen. `factor`: what the sums so far are
 * to be scaled by. True where that is not 1 for a query of the warp. */
template <bool masked>
DEVICE bool weigh(accumulators<KEYS> &s, gathered (&of)[2], float (&factor)[2], const view (&v)[2],
                  uint32_t position, const scores_scale &scale)
{
    float best[2] = {MINUS_INFINITY, MINUS_INFINITY};
    UNROLL
    for (int i = 0; i < KEYS / 2; i++)
        if (!masked || sees(v[half_of(i)], position + column_of(i)))
            best[half_of(i)] = fmaxf(best[half_of(i)], s.d[i]);
    bool moved[2];
    float shift[2];
    UNROLL
    for (int h = 0; h < 2; h++) {
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 1));
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 2));
        moved[h] = best[h] > of[h].m + scale.slack;
        factor[h] = moved[h] ? det_exp2(scale.factor * (of[h].m - best[h])) : 1.0f;
        of[h].m = moved[h] ? best[h] : of[h].m;
        of[h].l = of[h].l * factor[h];
        shift[h] = scale.factor * of[h].m;
    }
    UNROLL
    for (int i = 0; i < KEYS / 2; i++) {
        const int h = half_of(i);
        float p = det_exp2_bf16(fmaf(scale.factor, s.d[i], -shift[h]));
        if (masked)
            p = sees(v[h], position + column_of(i)) ? p : 0.0f;
        s.d[i] = p;
        of[h].l = of[h].l + p;
    }
    return __ballot_sync(ALL_LANES, moved[0] || moved[1]) != 0;
}

/* At a split's end: the sum of all columns' weights. */
DEVICE float join_columns(float l)
{
    l = l + __shfl_xor_sync(ALL_LANES, l, 1);
    return l + __shfl_xor_sync(ALL_LANES, l, 2);
}

/* How one split is added to those before it: sums = first ? own : seen ? fma(own, add, sums * keep)
 * : sums. */
struct folding {
    float keep, add;
    bool first, seen;
};

DEVICE folding fold_in(gathered &all, const gathered &own, const scores_scale &scale)
{
    folding f;
    f.seen = own.m > MINUS_INFINITY;
    f.first = f.seen && !(all.m > MINUS_INFINITY);
    const bool moved = f.seen && own.m > all.m + scale.slack;
    const float power = det_exp2(scale.factor * (moved ? all.m - own.m : own.m - all.m));
    f.keep = moved ? power : 1.0f; /* of the first: of no account */
    f.add = moved ? 1.0f : power;
    all.l = f.first ? own.l : f.seen ? fmaf(own.l, f.add, all.l * f.keep) : all.l;
    all.m = moved ? own.m : all.m;
    return f;
}

DEVICE float fold(const folding &f, float sum, float own)
{
    return f.first ? own : f.seen ? fmaf(own, f.add, sum * f.keep) : sum;
}

/* Of the folded l; a sum times it is the result. */
DEVICE float result_scale(float l)
{
    return __fdiv_rn(1.0f, l);
}

#endif
