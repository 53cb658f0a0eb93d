#include "kernels/emu/tensor_core.h"

#include <cmath>
#include <cstring>

namespace
{

enum { EXPONENT_MIN = -126, ALIGN_MIN = -133 };

/* value = significand * 2^(exponent - 23) for a float, 2^(exponent - 14) for a product. */
struct term {
    bool negative, is_nan, is_inf;
    int exponent;
    uint64_t significand; /* with `bits` fractional bits */
    int bits;
};

uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A float's fields: subnormals and zero have the least exponent and no hidden bit. */
term split(uint32_t bits)
{
    term t = {};
    uint32_t e = bits >> 23 & 0xff, fraction = bits & 0x7fffff;
    t.negative = bits >> 31 != 0;
    t.is_nan = e == 0xff && fraction != 0;
    t.is_inf = e == 0xff && fraction == 0;
    t.exponent = e == 0 ? EXPONENT_MIN : (int)e - 127;
    t.significand = e == 0 ? fraction : fraction | 0x800000u;
    t.bits = 23;
    return t;
}

bool is_zero(const term &t)
{
    return t.significand == 0 && !t.is_nan && !t.is_inf;
}

/* Exact; its exponent is the sum of both, not normalised. */
term product(uint16_t a, uint16_t b)
{
    term x = split((uint32_t)a << 16), y = split((uint32_t)b << 16), t = {};
    t.negative = x.negative != y.negative;
    t.is_nan = x.is_nan || y.is_nan || (x.is_inf && is_zero(y)) || (is_zero(x) && y.is_inf);
    t.is_inf = !t.is_nan && (x.is_inf || y.is_inf);
    t.exponent = x.exponent + y.exponent;
    t.significand = (x.significand >> 16) * (y.significand >> 16);
    t.bits = 14;
    return t;
}

/* In units of 2^(exponent - fraction), cut toward zero. */
int64_t align(const term &t, int exponent, int fraction)
{
    int shift = exponent - t.exponent - (fraction - t.bits);
    uint64_t units = 0;
    if (shift <= 0 && !is_zero(t)) /* a zero's exponent may be any */
        units = t.significand << -shift;
    else if (shift > 0 && shift < 64)
        units = t.significand >> shift;
    return t.negative ? -(int64_t)units : (int64_t)units;
}

/* sum * 2^(exponent - fraction), cut toward zero to float. */
float cut(int64_t sum, int exponent, int fraction)
{
    if (sum == 0)
        return 0.0f;
    uint64_t size = sum < 0 ? (uint64_t)-sum : (uint64_t)sum;
    int top = 63 - __builtin_clzll(size); /* size is at least 2^top */
    int e = top + exponent - fraction;    /* of the result */
    int last = (e < EXPONENT_MIN ? EXPONENT_MIN : e) - 23;
    int shift = last - (exponent - fraction);
    if (shift > 0)
        size = shift < 64 ? size >> shift : 0;
    double x = shift > 0 ? ldexp((double)size, last) : ldexp((double)size, exponent - fraction);
    if (e > 127)
        return sum < 0 ? -INFINITY : INFINITY;
    return size == 0 ? 0.0f : (float)(sum < 0 ? -x : x);
}

/* Tiles are zero beyond a matrix's edge: nothing but the accumulator. */
bool adds_nothing(float c, const uint16_t *a, const uint16_t *b, int n)
{
    uint32_t all_a = 0, all_b = 0, largest = 0;
    for (int i = 0; i < n; i++) {
        uint32_t x = a[i] & 0x7fffu, y = b[i] & 0x7fffu;
        all_a |= x;
        all_b |= y;
        largest = x > largest ? x : largest;
        largest = y > largest ? y : largest;
    }
    return (all_a == 0 || all_b == 0) && largest >> 7 < 0xff && (bits_of(c) >> 23 & 0xff) < 0xff;
}

/* c plus n products, at most TENSOR_K, with so many bits of fraction. */
float add_products(float c, const uint16_t *a, const uint16_t *b, int n, int fraction)
{
    term terms[TENSOR_K + 1];
    bool is_nan = false, plus = false, minus = false;
    if (adds_nothing(c, a, b, n))
        return c + 0.0f;
    for (int i = 0; i < n; i++)
        terms[i] = product(a[i], b[i]);
    terms[n] = split(bits_of(c));
    int exponent = ALIGN_MIN;
    for (int i = 0; i <= n; i++) {
        const term &t = terms[i];
        is_nan |= t.is_nan;
        (t.negative ? minus : plus) |= t.is_inf;
        if (!is_zero(t) && t.exponent > exponent)
            exponent = t.exponent;
    }
    if (is_nan || (plus && minus)) {
        uint32_t bits = 0x7fffffff;
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
    if (plus || minus)
        return plus ? INFINITY : -INFINITY;
    int64_t sum = 0;
    for (int i = 0; i <= n; i++)
        sum += align(terms[i], exponent, fraction);
    return cut(sum, exponent, fraction);
}

} // namespace

float tensor_core_step(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K])
{
    return add_products(c, a, b, TENSOR_K, 25);
}

float tensor_core_step_80(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K])
{
    enum { HALF = TENSOR_K / 2 };
    c = add_products(c, a, b, HALF, 24);
    return add_products(c, a + HALF, b + HALF, HALF, 24);
}
