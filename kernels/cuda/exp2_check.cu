/*
 * Whether a chip's own power of two is as near to det_exp2 as attention takes it to be
 * (attention_weights_sm90.cuh): for every float that may be the exponent of a weight, and up to 1.
 * Attention is exact where it is, so whoever opens a chip runs this first; it takes milliseconds.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/attention_weights_sm90.cuh"

namespace
{

/* 0 to 1, then -0 to -200, by their bits; below -126 both are 0. */
enum : uint32_t { UP_TO_1 = 0x3f800001, DOWN_TO_200 = 0x43480001, SIGN = 0x80000000 };

DEVICE bool is_beyond(uint32_t bits)
{
    const float x = __uint_as_float(bits);
    const uint32_t chips = __float_as_uint(exp2_approximate(x));
    return chips - __float_as_uint(det_exp2(x)) + attention_sm90::EXP2_APART >
           2 * attention_sm90::EXP2_APART;
}

} // namespace

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
KERNEL(exp2_check, cuda_exp2_check_args, CUDA_BLOCK)
{
    const uint64_t n = (uint64_t)UP_TO_1 + DOWN_TO_200;
    const uint64_t stride = (uint64_t)gridDim.x * CUDA_BLOCK * args.step;
    uint64_t n_beyond = 0;
    for (uint64_t i = ((uint64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x) * args.step; i < n;
         i += stride)
        n_beyond += is_beyond(i < UP_TO_1 ? (uint32_t)i : SIGN + (uint32_t)(i - UP_TO_1));
    if (n_beyond > 0)
        atomic_add(args.n_beyond, n_beyond);
}
#endif
