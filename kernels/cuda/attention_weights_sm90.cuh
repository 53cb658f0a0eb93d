/*
 * The weights of a block on Hopper. They are made by the m that stands, on the guess that none will
 * be above 1: so it nearly always is, and looking at the weights, of which two go into a register,
 * takes a quarter of the maxima that looking at the scores would.
 */
#ifndef KERNELS_CUDA_ATTENTION_WEIGHTS_SM90_CUH
#define KERNELS_CUDA_ATTENTION_WEIGHTS_SM90_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ptx_rows.cuh"

namespace attention_sm90
{

enum { ONE = 0x3f80 }; /* as bf16; positive ones order as their bits do, a NaN comes last */

/* The block's weights for the thread's two queries; false where one is above 1, of a query of the
 * warp. An m of minus infinity makes each of them so. */
DEVICE bool weigh_block(uint32_t (&to)[BLOCK / STEP][4], const accumulators<BLOCK> &s, float scale,
                        float m_0, float m_1)
{
    const float m[2] = {m_0, m_1};
    const uint32_t ones = ONE << 16 | ONE;
    uint32_t most[2] = {ones, ones};
    UNROLL
    for (uint32_t step = 0; step < BLOCK / STEP; step++) {
        weigh(to[step], s, step, scale, m);
        UNROLL
        for (uint32_t i = 0; i < 2; i++)
            most[i] = most_u16x2(to[step][2 * i], to[step][2 * i + 1], most[i]);
    }
    return __ballot_sync(ALL_LANES, most[0] != ones || most[1] != ones) == 0;
}

} // namespace attention_sm90

#endif
