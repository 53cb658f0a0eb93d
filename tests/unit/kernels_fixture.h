/*
 * What the tests of the kernels share: random inputs, and the sums of docs/NUMERICS.md written out
 * one element at a time. A test program runs its tests once for each kernel set of the machine.
 */
#ifndef TESTS_UNIT_KERNELS_FIXTURE_H
#define TESTS_UNIT_KERNELS_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/backend.h"
#include "kernels/det.h"
#include "kernels/ref/lanes.h"
#include "tests/unit/tiny_model.h"

static const struct backend *tested __attribute__((unused)); /* the kernel set of this turn */

static inline size_t n_lanes_of(const struct backend *b)
{
    return strcmp(b->name, "avx2") == 0 ? 8 : 16;
}

static inline struct pool *pool_of(unsigned n_threads)
{
    struct pool *p = NULL;
    assert_false(is_err(pool_new(&p, n_threads)));
    return p;
}

static inline float *random_floats(size_t n, uint64_t seed)
{
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = tiny_normal(&seed);
    return x;
}

/* n weights of a type, from random floats, with their exact values. */
static inline void *random_weights(enum weight_type type, size_t n, uint64_t seed, float *values)
{
    uint8_t *data = calloc(n + 1, 4);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        float x = tiny_normal(&seed);
        uint32_t u = det_bits(x);
        uint16_t half =
            (uint16_t)(type == WEIGHT_BF16 ? u >> 16
                                           : (u >> 16 & 0x8000u) | (0x3c00u + (u >> 13 & 0x3ffu)));
        if (type == WEIGHT_F32)
            memcpy(data + 4 * i, &x, 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
    weight_widen(values, data, type, n);
    return data;
}

static inline void assert_same_bits(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

static inline void poison(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = NAN;
}

static inline double ldexp_half(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    double sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    return exponent == 0 ? sign * ldexp(fraction, -24)
                         : sign * ldexp(1024 + fraction, exponent - 25);
}

/* The lane sum of docs/NUMERICS.md, written out one element at a time; NULL w: of x alone. */
static inline float lane_sum(const struct backend *b, const float *x, const float *w, size_t n)
{
    float lanes[16] = {0};
    size_t n_lanes = n_lanes_of(b);
    bool fused = strcmp(b->name, "ref") != 0;
    for (size_t k = 0; k < (n + n_lanes - 1) / n_lanes * n_lanes; k++) {
        float a = k < n ? x[k] : 0.0f, c = w == NULL ? 1.0f : k < n ? w[k] : 0.0f;
        volatile float product = a * c;
        float *lane = &lanes[k % n_lanes];
        *lane = fused ? fmaf(a, c, *lane) : *lane + product;
    }
    for (size_t step = n_lanes / 2; step > 0; step /= 2)
        for (size_t l = 0; l < step; l++)
            lanes[l] = lanes[l] + lanes[l + step];
    return lanes[0];
}

/* Runs `tests` once for each kernel set, the slowest first; returns how many failed. */
#define RUN_ON_EVERY_BACKEND(tests)                                                                \
    __extension__({                                                                                \
        const struct backend *all[BACKENDS_MAX];                                                   \
        int failed = 0;                                                                            \
        for (size_t i = backend_all(all); i-- > 0;) {                                              \
            tested = all[i];                                                                       \
            print_message("backend %s\n", tested->name);                                           \
            failed += cmocka_run_group_tests_name(tested->name, tests, NULL, NULL);                \
        }                                                                                          \
        failed;                                                                                    \
    })

#endif
