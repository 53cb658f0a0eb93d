/*
 * Elementary functions with the same bits everywhere: IEEE add, subtract, multiply, divide and
 * nothing else (fmaf where it says so), in one written order, never a library's. The float
 * exponentials are for kernels (branch-free, so compilers vectorise them without changing a bit;
 * those of 2 are what attention on a GPU computes with); the double functions are for
 * tables made at load and for logprobs. NaN gives NaN. Errors against the true value are in
 * docs/NUMERICS.md and tested.
 */
#ifndef KERNELS_DET_H
#define KERNELS_DET_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__) /* the same functions in kernels for a GPU */
#define DET static __device__ __forceinline__
#else
#define DET static inline
#endif

DET uint32_t det_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

DET float det_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* 2^n for n from -1022 to 1023, as double. */
DET double det_pow2(int n)
{
    uint64_t u = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* e^x in float. 0 from about -104 down, infinity from about 88.73 up. */
DET float det_exp(float x)
{
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    /* x = n ln 2 + r: adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. */
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    /* ln 2 in two parts; the first ends in nine zero bits, so n times it is exact. */
    float r = (x - n * 0.693145751953125f) - n * 1.42860677e-06f;
    float p = 1.98412698e-4f; /* 1/7!, then 1/6! and so on: Taylor */
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    /* 2^n as two factors, so that results below the normal range are rounded once, at the end. */
    uint32_t k = det_bits(shifted) - 0x4b400000u + 254u; /* n + 254, at least 104 */
    uint32_t half = k >> 1;
    return (p * det_float(half << 23)) * det_float((k - half) << 23);
}

/* p times 2^n, `shifted` being n + 1.5 * 2^23; n is at least -126 and not so large that the result
 * overflows. */
DET float det_exp2_of(float shifted, float p)
{
    return det_float(det_bits(p) + (det_bits(shifted) << 23));
}

/* 2^n for an integer n from -126 to 127, and 0 for all below. */
DET float det_exp2_integer(float n)
{
    n = n > -127.0f ? n : -127.0f;
    return det_float(det_bits(n + 12583039.0f) << 23); /* 1.5 * 2^23 + 127 */
}

/* 2^x in float for x up to 126, within 1.5e-7; exact for an integer; 0 for all x below -126. Fused:
 * one rounding a step. */
DET float det_exp2(float x)
{
    float shifted = x + 12582912.0f; /* as in det_exp */
    float r = x - (shifted - 12582912.0f);
    float p = 1.54630863e-4f; /* minimax */
    p = fmaf(p, r, 1.34023244e-3f);
    p = fmaf(p, r, 9.61805321e-3f);
    p = fmaf(p, r, 5.55032343e-2f);
    p = fmaf(p, r, 2.40226507e-1f);
    p = fmaf(p, r, 6.93147182e-1f);
    p = fmaf(p, r, 1.0f);
    p = det_exp2_of(shifted, p);
    return x >= -126.0f ? p : x < -126.0f ? 0.0f : x;
}

/* g / (1 + e^-g) where bf16 is made of it: within 1.2e-4 for g from -80 up, g e^-80 below. Without
 * a branch and a division: 1 / d is guessed by the bits of d and made better by two steps of
 * Newton, of which the first has more than 2 so that its error is as large above as below. */
DET float det_silu(float g)
{
    float x = fminf(fmaxf(g, -80.0f), 80.0f);
    float shifted = fmaf(x, -1.44269504f, 12582912.0f);
    float r = fmaf(x, -1.44269504f, 12582912.0f - shifted);
    float p = 5.50089516e-2f; /* 2^r within 1.1e-4: minimax among those with 1 for 0 */
    p = fmaf(p, r, 2.42211014e-1f);
    p = fmaf(p, r, 6.93282902e-1f);
    p = fmaf(p, r, 1.0f);
    float d = 1.0f + det_exp2_of(shifted, p);
    float q = det_float(0x7ef36000u - det_bits(d));
    q = q * fmaf(-d, q, 2.00132036f);  /* within 1.4e-3 of 1 / d */
    q = fmaf(q, fmaf(-d, q, 1.0f), q); /* within 2e-6 */
    return g * q;
}

/* e^x in double for |x| <= 700. */
DET double det_exp64(double x)
{
    double n = (x * 1.4426950408889634074 + 6755399441055744.0) - 6755399441055744.0;
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double p = 1.0;
    for (int k = 16; k >= 1; k--) /* Horner on the Taylor series: 1 + r/1 (1 + r/2 (1 + ...)) */
        p = 1.0 + p * r / (double)k;
    return p * det_pow2((int)n);
}

/* Natural logarithm in double of a normal x > 0. */
DET double det_log64(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    int e = (int)(u >> 52) - 1023;
    u = (u & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &u, sizeof m);
    if (m > 1.4142135623730951) { /* m from sqrt(1/2) to sqrt(2) */
        m *= 0.5;
        e += 1;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 0.0;
    for (int k = 25; k >= 3; k -= 2) /* log m = 2 (s + s^3/3 + s^5/5 + ...) */
        p = (p + 1.0 / (double)k) * z;
    double log_m = 2.0 * s + 2.0 * s * p;
    return (double)e * 6.93147180369123816490e-01 +
           (log_m + (double)e * 1.90821492927058770002e-10);
}

/* Sine and cosine in double for 0 <= x <= 2^20. */
DET void det_sincos64(double x, double *sine, double *cosine)
{
    /* pi / 2 in two parts; the first has 33 bits, so n times it is exact. */
    int64_t n = (int64_t)(x * 0.63661977236758134308 + 0.5);
    double r = (x - (double)n * 1.57079632673412561417) - (double)n * 6.07710050650619224932e-11;
    double z = r * r, s = 1.0, c = 1.0;
    for (int k = 20; k >= 2; k -= 2) {
        s = 1.0 - s * z / (double)(k * (k + 1));
        c = 1.0 - c * z / (double)(k * (k - 1));
    }
    s = s * r;
    switch (n & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
    }
}

#endif
