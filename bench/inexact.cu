/*
 * The kernels without what makes them exact, to measure what that costs: powers and quotients by
 * the hardware's approximations, sums contracted as the compiler likes (bench/CMakeLists.txt),
 * attention without rounded exponents and without splits within one item. A benchmark loads it
 * beside the kernels; no program that is shipped holds it.
 */
#include "kernels/cuda/device.cuh"
#include "kernels/det.h"

#if defined(__CUDACC__)
DEVICE float fast_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE float fast_divide(float a, float b)
{
    return __fdividef(a, b);
}
#else
DEVICE float fast_exp2(float x)
{
    return exp2f(x);
}

DEVICE float fast_divide(float a, float b)
{
    return a / b;
}
#endif

DEVICE float fast_exp(float x)
{
    return fast_exp2(x * 1.44269504f);
}

DEVICE float fast_silu(float g)
{
    return fast_divide(g, 1.0f + fast_exp(-g));
}

#define det_exp fast_exp
#define det_silu fast_silu
#define __fdiv_rn fast_divide
#define ATTENTION_GRID 0.0f
#define ATTENTION_FIXED_SPLITS false

#include "kernels/cuda/kernels.cu"
