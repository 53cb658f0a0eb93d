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
enum { BLOCK = 2 * KEYS, PAGES_OF_BLOCK = 2, STEP = 16 }; /* keys that are weighed together */

/* Every split of ATTENTION_SPLIT positions is gathered for itself, then folded. bench/inexact.cu,
 * which measures what that costs, goes on to an item's end. */
#if !defined(ATTENTION_FIXED_SPLITS)
#define ATTENTION_FIXED_SPLITS true
#endif

/* Weights are powers of two of a score less an integer m. A split begins with one this much above
 * the score of its first position; m follows the largest score only where a weight would be above
 * 1, and is then less above it. So looking for the largest, and scaling sums, is seldom needed. */
#define ATTENTION_SLACK_OF_FIRST 24.0f
#define ATTENTION_SLACK 8.0f

/* How far a split's m may be above that of the splits before it until their sums are scaled. */
#define ATTENTION_SLACK_OF_FOLD 32.0f

/* Exponents are multiples of 1/1024, since adding and subtracting this rounds them so: of each of
 * them any chip's power of two makes the same weight. bench/inexact.cu does without. */
#if !defined(ATTENTION_GRID)
#define ATTENTION_GRID 12288.0f
#endif

/* The largest exponent whose weight is not above 1. */
#define ATTENTION_MOST (5 / 1024.0f)

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

/* Of a score, its power of two. */
DEVICE float make_scale(float scale)
{
    return scale * 1.44269504f;
}

/* Of a query: the power of two that its weights refer to. `factor`: what the sums so far are to be
 * scaled by. */
struct reference {
    float m, factor;
};

/* Scores of keys that a query does not see: their weights are exactly 0. */
DEVICE void mask(accumulators<BLOCK> &s, const view (&v)[2], uint32_t position)
{
    UNROLL
    for (int i = 0; i < BLOCK / 2; i++)
        if (!sees(v[half_of(i)], position + column_of(i)))
            s.d[i] = MINUS_INFINITY;
}

/* The largest of the thread's own columns. Four chains, which do not wait for each other. */
DEVICE void find_best(float (&best)[2], const accumulators<BLOCK> &s)
{
    float of[2][2];
    UNROLL
    for (int i = 0; i < BLOCK / 2; i++) {
        float &x = of[half_of(i)][i / 4 % 2];
        x = i < 8 && i % 2 == 0 ? s.d[i] : fmaxf(x, s.d[i]);
    }
    UNROLL
    for (int h = 0; h < 2; h++)
        best[h] = fmaxf(of[h][0], of[h][1]);
}

DEVICE float exponent_of(float score, float scale, float m)
{
    return fmaf(score, scale, ATTENTION_GRID - m) - ATTENTION_GRID;
}

DEVICE float nearest_integer(float x)
{
    return x + 12582912.0f - 12582912.0f;
}

/* Of a split, by the score of its first position: minus infinity where a query does not see it. */
DEVICE float first_m(float score, float scale)
{
    return nearest_integer(score * scale) + ATTENTION_SLACK_OF_FIRST;
}

/* m follows where a weight would be above 1. True where it moved for a query of the warp. */
DEVICE bool follow(reference (&of)[2], const accumulators<BLOCK> &s, float scale)
{
    float best[2];
    find_best(best, s);
    const float most =
        fmaxf(exponent_of(best[0], scale, of[0].m), exponent_of(best[1], scale, of[1].m));
    if (__ballot_sync(ALL_LANES, most > ATTENTION_MOST) == 0)
        return false;
    UNROLL
    for (int h = 0; h < 2; h++) {
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 1));
        best[h] = fmaxf(best[h], __shfl_xor_sync(ALL_LANES, best[h], 2));
        const float m = nearest_integer(best[h] * scale) + ATTENTION_SLACK;
        const bool moves = exponent_of(best[h], scale, of[h].m) > ATTENTION_MOST;
        of[h].factor = moves ? det_exp2_integer(of[h].m - m) : 1.0f;
        of[h].m = moves ? m : of[h].m;
    }
    return true;
}

/* What `exponent_of` takes for m: a query that has seen nothing yet has only scores of minus
 * infinity. */
DEVICE float finite(float m)
{
    return m > MINUS_INFINITY ? m : 0.0f;
}

/* Weights of 16 keys as the first operand of a product. */
DEVICE void weigh(uint32_t (&to)[4], const accumulators<BLOCK> &s, uint32_t step, float scale,
                  const float (&m)[2])
{
    UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        const float *pair_of = &s.d[8 * step + 2 * i];
        to[i] = narrow_pair(exp2_approximate(exponent_of(pair_of[0], scale, m[i % 2])),
                            exp2_approximate(exponent_of(pair_of[1], scale, m[i % 2])));
    }
}

/* What a query has of one split, or of all so far, beside its sums. */
struct gathered {
    float m, l;
};

DEVICE gathered nothing()
{
    return gathered{MINUS_INFINITY, 0.0f};
}

/* How one split is added to those before it: sums = fma(own, add, sums * keep). One that a query
 * sees nothing of changes nothing, but for the sign of a zero: see result_of. */
struct folding {
    float keep, add;
};

DEVICE folding fold_in(gathered &all, const gathered &own)
{
    const bool moved = own.m > all.m + ATTENTION_SLACK_OF_FOLD;
    const float power = det_exp2_integer(moved ? all.m - own.m : own.m - all.m);
    const folding f = {moved ? power : 1.0f, moved ? 1.0f : power};
    all.l = fmaf(own.l, f.add, all.l * f.keep);
    all.m = moved ? own.m : all.m;
    return f;
}

DEVICE float fold(const folding &f, float sum, float own)
{
    return fmaf(own, f.add, sum * f.keep);
}

/* Of the folded l. */
DEVICE float result_scale(float l)
{
    return __fdiv_rn(1.0f, l);
}

/* No zero is negative in a result. */
DEVICE float result_of(float sum, float by)
{
    return sum * by + 0.0f;
}

#endif
