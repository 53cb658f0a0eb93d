#include "kernels/emu/tensor_core.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace
{

enum { EXPONENT_MIN = -126, ALIGN_MIN = -133, FRACTION_80 = 24, FRACTION_90 = 25 };
enum : uint32_t { NAN_BITS = 0x7fffffff, INFINITY_BITS = 0x7f800000, SIGN = 0x80000000 };

uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool is_special(uint32_t bits)
{
    return (bits & INFINITY_BITS) == INFINITY_BITS;
}

/* A finite number is significand * 2^(exponent - fraction bits): subnormals and zero have the least
 * exponent and no hidden bit. */
struct term {
    uint32_t significand;
    int exponent;
    bool negative;
};

term split(uint32_t bits, int n_fraction)
{
    const int e = (int)(bits >> n_fraction & 0xff);
    const uint32_t hidden = e == 0 ? 0 : 1u << n_fraction;
    return term{(bits & ((1u << n_fraction) - 1)) | hidden, (e == 0 ? 1 : e) - 127,
                bits >> (n_fraction + 8) != 0};
}

/* Exact, with 14 bits of fraction; its exponent is the sum of both, not normalised. */
term product(uint16_t a, uint16_t b)
{
    const term x = split(a, 7), y = split(b, 7);
    return term{x.significand * y.significand, x.exponent + y.exponent, x.negative != y.negative};
}

/* In units of 2^(exponent - bits of fraction), cut toward zero. A zero's exponent may be any. */
int64_t align(const term &t, int exponent, int more_bits)
{
    const int shift = std::min(std::max(exponent - t.exponent, 0), 31);
    const int64_t units = (int64_t)(t.significand << more_bits >> shift);
    return t.negative ? -units : units;
}

/* sum * 2^unit, cut toward zero to float. */
float cut(int64_t sum, int unit)
{
    if (sum == 0)
        return 0.0f;
    uint64_t size = sum < 0 ? (uint64_t)-sum : (uint64_t)sum;
    const uint32_t sign = sum < 0 ? (uint32_t)SIGN : 0;
    const int last = std::max(63 - __builtin_clzll(size) + unit - 23, EXPONENT_MIN - 23);
    const int shift = last - unit;
    size = shift < 0 ? size << -shift : shift < 64 ? size >> shift : 0;
    if (size < 1u << 23) /* subnormal, or nothing */
        return float_of(size == 0 ? 0 : sign | (uint32_t)size);
    if (last + 150 >= 0xff)
        return float_of(sign | INFINITY_BITS);
    return float_of(sign | (uint32_t)(last + 150) << 23 | ((uint32_t)size & 0x7fffffu));
}

/* Some operand is an infinity or a NaN: plain float knows what becomes of it, but for the bits of a
 * NaN. */
float add_specials(float c, const uint16_t *a, const uint16_t *b, int n)
{
    float sum = is_special(bits_of(c)) ? c : 0.0f;
    for (int i = 0; i < n; i++) {
        const uint32_t x = (uint32_t)a[i] << 16, y = (uint32_t)b[i] << 16;
        if (is_special(x) || is_special(y))
            sum += float_of(x) * float_of(y);
    }
    return std::isnan(sum) ? float_of(NAN_BITS) : sum;
}

/* c plus n products, at most TENSOR_K, with so many bits of fraction. */
float add_products(float c, const uint16_t *a, const uint16_t *b, int n, int fraction)
{
    term terms[TENSOR_K];
    uint32_t all_a = 0, all_b = 0;
    bool special = is_special(bits_of(c));
    for (int i = 0; i < n; i++) {
        special |= is_special((uint32_t)a[i] << 16) || is_special((uint32_t)b[i] << 16);
        all_a |= a[i] & 0x7fffu;
        all_b |= b[i] & 0x7fffu;
    }
    if (special)
        return add_specials(c, a, b, n);
    if (all_a == 0 || all_b == 0) /* beyond a matrix's edge */
        return c + 0.0f;
    const term own = split(bits_of(c), 23);
    int exponent = own.significand == 0 ? (int)ALIGN_MIN : std::max<int>(own.exponent, ALIGN_MIN);
    for (int i = 0; i < n; i++) {
        terms[i] = product(a[i], b[i]);
        if (terms[i].significand != 0)
            exponent = std::max(exponent, terms[i].exponent);
    }
    int64_t sum = align(own, exponent, fraction - 23);
    for (int i = 0; i < n; i++)
        sum += align(terms[i], exponent, fraction - 14);
    return cut(sum, exponent - fraction);
}

} // namespace

float tensor_core_step(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K])
{
    return add_products(c, a, b, TENSOR_K, FRACTION_90);
}

float tensor_core_step_80(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K])
{
    const int half = TENSOR_K / 2;
    c = add_products(c, a, b, half, FRACTION_80);
    return add_products(c, a + half, b + half, half, FRACTION_80);
}
