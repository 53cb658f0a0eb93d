/*
 * One vector of floats of the instruction set that a file is compiled for, and what the kernels of
 * this folder do with it: LANES is 16 with AVX-512, 8 with AVX2. Multiplication and addition are
 * fused (one rounding); all else is IEEE, lane by lane.
 *
 * A sum over lanes is joined by one tree: lane l gets lane l + LANES / 2 added, then l + LANES / 4,
 * and so on down to l + 1; lane 0 is the sum. vec_join4 does four sums at once by the same tree.
 */
#ifndef KERNELS_CPU_VEC_H
#define KERNELS_CPU_VEC_H

#include <immintrin.h>
#include <string.h>

#include "kernels/backend.h"

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

/* Before a loop over a tile: without it a compiler may leave it rolled, and the lanes in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(__AVX512F__)

#define LANES ((size_t)16)
typedef __m512 vec;

INLINE vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

/* The first n < LANES floats; zeros after them, which are not read. */
INLINE vec vec_load_part(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}

INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c, rounded once. */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vec vec_load_bf16(const uint8_t *p)
{
    __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

INLINE vec vec_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* The four sums of a, b, c and d. Blocks of four lanes: [0 1 2 3] of each. */
INLINE __m128 vec_join4(vec a, vec b, vec c, vec d)
{
    vec ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    vec cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    /* Now [a a b b] and [c c d d], eight lanes each; then one block each. */
    vec all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xb1));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all));
}

/* Lane o of the result: the sum of a[o], 0 <= o < LANES, by the same tree for all at once. They
 * come together in an order in which none need be moved at the end. */
INLINE vec vec_join_all(const vec *a)
{
    vec fours[4], twos[2];
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        vec ab = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x44),
                               _mm512_shuffle_f32x4(a[i], a[i + 4], 0xee));
        vec cd = _mm512_add_ps(_mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x44),
                               _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xee));
        fours[i] =
            _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    }
    UNROLL
    for (size_t i = 0; i < 2; i++)
        twos[i] = _mm512_add_ps(_mm512_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0x44),
                                _mm512_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(twos[0], twos[1], 0x88),
                         _mm512_shuffle_ps(twos[0], twos[1], 0xdd));
}

#else

#define LANES ((size_t)8)
typedef __m256 vec;

INLINE vec vec_set(float x)
{
    return _mm256_set1_ps(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

/* The first n < LANES floats; zeros after them. */
INLINE vec vec_load_part(const float *p, size_t n)
{
    float padded[8] = {0};
    memcpy(padded, p, n * sizeof *p);
    return _mm256_loadu_ps(padded);
}

INLINE vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}

INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* a * b + c, rounded once. */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vec vec_load_bf16(const uint8_t *p)
{
    __m128i raw = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

INLINE vec vec_load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The four sums of a, b, c and d. */
INLINE __m128 vec_join4(vec a, vec b, vec c, vec d)
{
    vec ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    vec cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    /* Now [a | b] and [c | d], four lanes each; then [a a c c | b b d d], two lanes each. */
    vec all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    __m128 ac = _mm256_castps256_ps128(all), bd = _mm256_extractf128_ps(all, 1);
    __m128 acbd = _mm_add_ps(_mm_shuffle_ps(ac, bd, 0x88), _mm_shuffle_ps(ac, bd, 0xdd));
    return _mm_permute_ps(acbd, 0xd8);
}

/* Lane o of the result: the sum of a[o], 0 <= o < LANES. */
INLINE vec vec_join_all(const vec *a)
{
    vec fours[4], twos[2];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        fours[i] = _mm256_add_ps(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20),
                                 _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    UNROLL
    for (size_t i = 0; i < 2; i++)
        twos[i] = _mm256_add_ps(_mm256_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0x44),
                                _mm256_shuffle_ps(fours[2 * i], fours[2 * i + 1], 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(twos[0], twos[1], 0x88),
                         _mm256_shuffle_ps(twos[0], twos[1], 0xdd));
}

#endif

/* The sum of one vector, by the same tree. */
INLINE float vec_join(vec a)
{
    return _mm_cvtss_f32(vec_join4(a, a, a, a));
}

/* The sums of a tile's lanes: acc[i * tile_n + j] goes to y[i * y_stride + j * apart]. */
INLINE void vec_store_sums(float *y, size_t y_stride, size_t apart, const vec *acc,
                           size_t n_outputs, size_t tile_n)
{
    UNROLL
    for (size_t o = 0; o < n_outputs; o += 4) {
        float sums[4];
        size_t n = n_outputs - o < 4 ? n_outputs - o : 4;
        _mm_storeu_ps(sums, vec_join4(acc[o], acc[n > 1 ? o + 1 : o], acc[n > 2 ? o + 2 : o],
                                      acc[n > 3 ? o + 3 : o]));
        UNROLL
        for (size_t i = 0; i < n; i++)
            y[(o + i) / tile_n * y_stride + (o + i) % tile_n * apart] = sums[i];
    }
}

INLINE void vec_store_part(float *p, vec a, size_t n)
{
    float all[LANES];
    vec_store(all, a);
    memcpy(p, all, n * sizeof *p);
}

/* det_exp (kernels/det.h) of each lane, to the bit: its steps, nothing fused. */
INLINE vec vec_exp(vec x)
{
    typedef uint32_t bits __attribute__((vector_size(LANES * 4)));
    x = vec_max(vec_set(-104.0f), x); /* the second operand where one is NaN */
    x = vec_min(vec_set(89.0f), x);
    vec shifted = x * 1.44269504f + 12582912.0f;
    vec n = shifted - 12582912.0f;
    vec r = (x - n * 0.693145751953125f) - n * 1.42860677e-06f;
    vec p = vec_set(1.98412698e-4f);
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    bits k = (bits)shifted - 0x4b400000u + 254u;
    bits half = k >> 1;
    return (p * (vec)(half << 23)) * (vec)((k - half) << 23);
}

/* LANES weights, widened exactly. */
INLINE vec vec_load_weights(const uint8_t *p, enum weight_type type)
{
    if (type == WEIGHT_BF16)
        return vec_load_bf16(p);
    if (type == WEIGHT_F16)
        return vec_load_f16(p);
    return vec_load((const float *)(const void *)p);
}

/* The first n < LANES weights; zeros after them. */
INLINE vec vec_load_weights_part(const uint8_t *p, size_t n, enum weight_type type)
{
    uint8_t padded[LANES * 4] = {0};
    memcpy(padded, p, n * (type == WEIGHT_F32 ? 4 : 2));
    return vec_load_weights(padded, type);
}

#endif
