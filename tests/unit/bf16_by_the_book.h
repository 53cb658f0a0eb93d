/*
 * Matmul of the set avx512bf16 as docs/NUMERICS.md writes it, in plain C, one element at a time,
 * for every float: subnormal, infinite and NaN too. (Which NaN comes out is not part of it.)
 */
#ifndef TESTS_UNIT_BF16_BY_THE_BOOK_H
#define TESTS_UNIT_BF16_BY_THE_BOOK_H

#include <math.h>
#include <stddef.h>

#include "kernels/det.h"

/* Zero of the same sign where x is subnormal. */
static inline float flushed(float x)
{
    return (det_bits(x) & 0x7f800000u) == 0 ? det_float(det_bits(x) & 0x80000000u) : x;
}

/* The bf16 nearest to x, ties to even, as a float; subnormals are zero first. */
static inline float bf16_nearest(float x)
{
    uint32_t u = det_bits(flushed(x));
    if (isnan(x))
        return x;
    return det_float((u + 0x7fffu + (u >> 16 & 1)) & 0xffff0000u);
}

/* a b + c rounded once to 24 bits and then, if it is smaller than 2^-126, to zero. fmaf rounds a
 * subnormal result to fewer bits, so one that it lifts to 2^-126 is looked at again, 2^64 times as
 * large. */
static inline float fma_flushed(float a, float b, float c)
{
    a = flushed(a), b = flushed(b), c = flushed(c);
    float sum = fmaf(a, b, c);
    if (!(fabsf(sum) <= 0x1p-126f))
        return sum;
    float small = fabsf(a) < fabsf(b) ? a : b, large = fabsf(a) < fabsf(b) ? b : a;
    float scaled = fmaf(small * 0x1p64f, large, c * 0x1p64f);
    return fabsf(scaled) < 0x1p-62f ? copysignf(0.0f, sum) : sum;
}

/* The sum over k of x[k], rounded, times w[k], which is a bf16. */
static inline float bf16_pair_sum(const float *x, const float *w, size_t n)
{
    float lanes[16] = {0};
    for (size_t k = 0; k < (n + 31) / 32 * 32; k += 2) {
        float *lane = &lanes[k / 2 % 16];
        for (size_t i = k + 1; i + 1 > k; i--) /* the odd one first */
            *lane = i < n ? fma_flushed(bf16_nearest(x[i]), w[i], *lane)
                          : fma_flushed(0.0f, 0.0f, *lane);
    }
    for (size_t step = 8; step > 0; step /= 2)
        for (size_t l = 0; l < step; l++)
            lanes[l] = lanes[l] + lanes[l + step];
    return lanes[0];
}

#endif
