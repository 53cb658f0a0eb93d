/*
 * Weights by the chip's own power of two, to the bits of those defined (attention.cuh, weigh). The
 * chip's is off by a few units in the last place. Rounded to bf16 that is nothing, unless a weight
 * lies that near to the middle between two of bf16: then its step is weighed again as defined.
 */
#ifndef KERNELS_CUDA_ATTENTION_WEIGHTS_SM90_CUH
#define KERNELS_CUDA_ATTENTION_WEIGHTS_SM90_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ptx_rows.cuh"

namespace attention_sm90
{

/* bench/inexact.cu, which measures what exactness costs, has det_exp2 itself be the chip's. */
#if !defined(ATTENTION_WEIGHS_QUICKLY)
#define ATTENTION_WEIGHS_QUICKLY true
#endif

/* Units in the last place that exp2_approximate and det_exp2 are apart at most (docs/CUDA.md). */
enum { EXP2_APART = 2 };

/* Of float bits the lower half is what bf16 rounds away; 8000 is the middle. */
DEVICE uint32_t nearest_to_middle(float x, uint32_t nearest)
{
    return least_of_sum_u16x2(__float_as_uint(x), 0x8000 + EXP2_APART, nearest);
}

DEVICE bool is_too_near(uint32_t nearest)
{
    return (nearest & 0xffff) <= 2 * EXP2_APART;
}

DEVICE uint32_t weigh_quickly(uint32_t (&to)[4], const accumulators<BLOCK> &s, uint32_t step,
                              float scale, const float (&m)[2])
{
    uint32_t nearest = 0xffff;
    UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        const float *scores = &s.d[8 * step + 2 * i];
        const float x = exp2_approximate(exponent_of(scores[0], scale, m[i % 2]));
        const float y = exp2_approximate(exponent_of(scores[1], scale, m[i % 2]));
        to[i] = narrow_pair(x, y);
        nearest = nearest_to_middle(y, nearest_to_middle(x, nearest));
    }
    return nearest;
}

DEVICE void weigh_block(uint32_t (&to)[BLOCK / STEP][4], const accumulators<BLOCK> &s, float scale,
                        const reference (&of)[2])
{
    const float m[2] = {finite(of[0].m), finite(of[1].m)};
    if (!ATTENTION_WEIGHS_QUICKLY) {
        UNROLL
        for (uint32_t step = 0; step < BLOCK / STEP; step++)
            weigh(to[step], s, step, scale, m);
        return;
    }
    uint32_t nearest[BLOCK / STEP], of_all = 0xffff;
    UNROLL
    for (uint32_t step = 0; step < BLOCK / STEP; step++) {
        nearest[step] = weigh_quickly(to[step], s, step, scale, m);
        of_all = least_of_sum_u16x2(nearest[step], 0, of_all);
    }
    if (__ballot_sync(ALL_LANES, is_too_near(of_all)) == 0)
        return;
    UNROLL
    for (uint32_t step = 0; step < BLOCK / STEP; step++)
        if (__ballot_sync(ALL_LANES, is_too_near(nearest[step])) != 0)
            weigh(to[step], s, step, scale, m);
}

} // namespace attention_sm90

#endif
