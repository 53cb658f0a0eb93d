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

/* Weights are powers of two of a score less an integer that follows the largest score only where
 * that exceeds it, and is then this much more than it: sums are seldom scaled, and no weight is
 * above 2. */
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

/* A score times `exponent` is its power of two, times `unit` that for det_exp2_bf16. */
struct scores_scale {
    float exponent, unit;
};

DEVICE scores_scale make_scale(float scale)
{
    const float exponent = scale * 1.44269504f;
    return scores_scale{exponent, exponent * 0.0078125f};
}

/* What a query has gathered beside its sums: the power of two that its weights refer to and their
 * sum; within a split that of the thread's columns alone. */
struct gathered {
    float m, l;
};

DEVICE gathered nothing()
{
    return gathered{MINUS_INFINITY, 0.0f};
}

/* Scores of keys that a query does not see: their weights are exactly 0. */
DEVICE void mask(accumulators<KEYS> &s, const view (&v)[2], uint32_t position)
{
    UNROLL
    for (int i = 0; i < KEYS / 2; i++)
        if (!sees(v[half_of(i)], position + column_of(i)))
            s.d[i] = MINUS_INFINITY;
}

/* The largest of the thread's own columns. Four chains, which do not wait for each other. */
DEVICE void find_best(float (&best)[2], const accumulators<KEYS> &s)
{
    float of[2][2];
    UNROLL
    for (int i = 0; i < KEYS / 2; i++) {
        float &x = of[half_of(i)][i / 4 % 2];
        x = i < 8 && i % 2 == 0 ? s.d[i] : fmaxf(x, s.d[i]);
    }
    for (int h = 0; h < 2; h++)
        best[h] = fmaxf(of[h][0], of[h][1]);
}

DEVICE bool exceeds(float score, const gathered &of, const scores_scale &scale)
{
    return fmaf(score, scale.exponent, -of.m) > 0.0f;
}

/* m follows where the best exceeds it. `factor`: what the sums so far are to be scaled by. */
DEVICE void follow(gathered (&of)[2], float (&factor)[2], float (&best)[2],
                   const scores_scale &scale)
{
    UNROLL
    for (int h = 0; h < 2; h++) {
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 1));
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 2));
        const float whole = best[h] * scale.exponent + 12582912.0f - 12582912.0f;
        const bool moves = exceeds(best[h], of[h], scale);
        factor[h] = moves ? det_exp2_integer(of[h].m - (whole + ATTENTION_SLACK)) : 1.0f;
        of[h].m = moves ? whole + ATTENTION_SLACK : of[h].m;
        of[h].l = of[h].l * factor[h];
    }
}

/* Scores of one page become weights. True where m moved for a query of the warp: the sums so far
 * are to be scaled by `factor`. */
DEVICE bool weigh(accumulators<KEYS> &s, gathered (&of)[2], float (&factor)[2],
                  const scores_scale &scale)
{
    float best[2];
    find_best(best, s);
    const bool more = exceeds(best[0], of[0], scale) || exceeds(best[1], of[1], scale);
    const bool moved = __ballot_sync(ALL_LANES, more) != 0;
    if (moved)
        follow(of, factor, best, scale);
    const float base[2] = {(127.0f - of[0].m) * 0.0078125f, (127.0f - of[1].m) * 0.0078125f};
    UNROLL
    for (int i = 0; i < KEYS / 2; i++) {
        const int h = half_of(i);
        s.d[i] = det_exp2_bf16(det_unit(fmaf(s.d[i], scale.unit, base[h])));
        of[h].l = of[h].l + s.d[i];
    }
    return moved;
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

DEVICE folding fold_in(gathered &all, const gathered &own)
{
    folding f;
    f.seen = own.m > MINUS_INFINITY;
    f.first = f.seen && !(all.m > MINUS_INFINITY);
    const bool moved = f.seen && own.m > all.m + ATTENTION_SLACK;
    f.keep = moved ? det_exp2_integer(all.m - own.m) : 1.0f;
    f.add = moved ? 1.0f : det_exp2_integer(own.m - all.m);
    all.l = f.first ? own.l : f.seen ? fmaf(own.l, f.add, all.l * f.keep) : all.l;
    all.m = moved ? own.m : all.m;
    return f;
}

/* Whether the sums so far stay as they are: then fold is fma(own, add, sums). */
DEVICE bool only_adds(const folding &f)
{
    return f.seen && !f.first && f.keep == 1.0f;
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
