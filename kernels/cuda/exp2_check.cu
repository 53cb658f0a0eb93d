/*
 * Whether a chip's own power of two makes the weights of attention that det_exp2 makes: for every
 * exponent that there is, and none that should be above 1 is not (attention.cuh). Attention is
 * exact where it does, so whoever opens a chip runs this first.
 */
#include "kernels/cuda/attention.cuh"

namespace
{

/* Exponents in multiples of 1/1024: from -256, below which there are but zeros, to 128. */
enum : int32_t { FIRST = -(256 << 10), END = 128 << 10 };

DEVICE bool is_other(float x)
{
    const uint16_t chips = narrow(exp2_approximate(x)).bits;
    if (x > ATTENTION_MOST)
        return chips <= 0x3f80;
    return chips != narrow(det_exp2(x)).bits || chips > 0x3f80;
}

} // namespace

KERNEL(exp2_check, cuda_exp2_check_args, CUDA_BLOCK)
{
    const int32_t stride = (int32_t)(gridDim.x * CUDA_BLOCK);
    uint64_t n_other = 0;
    for (int32_t i = FIRST + (int32_t)(blockIdx.x * CUDA_BLOCK + threadIdx.x); i <= END;
         i += stride)
        n_other += is_other((float)i / 1024.0f);
    if (n_other > 0)
        atomic_add(args.n_other, n_other);
}
