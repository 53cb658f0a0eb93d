#include "bench/probes.h"

#include <immintrin.h>
#include <stdatomic.h>
#include <time.h>

enum { READ_PASSES = 4, FMA_STEPS = 4000000, FMA_CHAINS = 12 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct probe {
    const uint8_t *data;
    unsigned n_lanes;
    atomic_uint_fast64_t sink; /* the results must be wanted, or the loops would be dropped */
};

__attribute__((target("avx512f"))) static uint64_t read_512(const uint8_t *p, size_t n_lines)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i + 4 <= n_lines; i += 4, p += 256) {
        _mm_prefetch((const char *)(p + 2048), _MM_HINT_T0);
        _mm_prefetch((const char *)(p + 2048 + 64), _MM_HINT_T0);
        _mm_prefetch((const char *)(p + 2048 + 128), _MM_HINT_T0);
        _mm_prefetch((const char *)(p + 2048 + 192), _MM_HINT_T0);
        a = _mm512_xor_si512(a, _mm512_loadu_si512(p));
        b = _mm512_xor_si512(b, _mm512_loadu_si512(p + 64));
        c = _mm512_xor_si512(c, _mm512_loadu_si512(p + 128));
        d = _mm512_xor_si512(d, _mm512_loadu_si512(p + 192));
    }
    a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
    return (uint64_t)_mm512_reduce_add_epi64(a);
}

__attribute__((target("avx2"))) static uint64_t read_256(const uint8_t *p, size_t n_lines)
{
    __m256i a = _mm256_setzero_si256(), b = a;
    for (size_t i = 0; i < n_lines; i++, p += 64) {
        _mm_prefetch((const char *)(p + 2048), _MM_HINT_T0);
        a = _mm256_xor_si256(a, _mm256_loadu_si256((const __m256i *)(const void *)p));
        b = _mm256_xor_si256(b, _mm256_loadu_si256((const __m256i *)(const void *)(p + 32)));
    }
    a = _mm256_xor_si256(a, b);
    return (uint64_t)_mm256_extract_epi64(a, 0) ^ (uint64_t)_mm256_extract_epi64(a, 1) ^
           (uint64_t)_mm256_extract_epi64(a, 2) ^ (uint64_t)_mm256_extract_epi64(a, 3);
}

static void read_lines(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    struct probe *p = context;
    const uint8_t *from = p->data + 64 * begin;
    p->sink ^= __builtin_cpu_supports("avx512f") ? read_512(from, end - begin)
                                                 : read_256(from, end - begin);
}

double probe_read(struct pool *pool, const uint8_t *data, size_t len)
{
    struct probe p = {.data = data};
    double start = now_s();
    for (int i = 0; i < READ_PASSES; i++)
        pool_run(pool, len / 64, 1, read_lines, &p);
    return READ_PASSES * (double)len / (now_s() - start);
}

__attribute__((target("avx512f"))) static float fma_512(void)
{
    __m512 acc[FMA_CHAINS], a = _mm512_set1_ps(0.999f);
    for (int c = 0; c < FMA_CHAINS; c++)
        acc[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < FMA_STEPS; i++)
        for (int c = 0; c < FMA_CHAINS; c++)
            acc[c] = _mm512_fmadd_ps(acc[c], a, a);
    for (int c = 1; c < FMA_CHAINS; c++)
        acc[0] = _mm512_add_ps(acc[0], acc[c]);
    return _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"))) static float fma_256(void)
{
    __m256 acc[FMA_CHAINS], a = _mm256_set1_ps(0.999f);
    for (int c = 0; c < FMA_CHAINS; c++)
        acc[c] = _mm256_set1_ps((float)c);
    for (int i = 0; i < FMA_STEPS; i++)
        for (int c = 0; c < FMA_CHAINS; c++)
            acc[c] = _mm256_fmadd_ps(acc[c], a, a);
    for (int c = 1; c < FMA_CHAINS; c++)
        acc[0] = _mm256_add_ps(acc[0], acc[c]);
    return _mm256_cvtss_f32(acc[0]);
}

static void run_fma(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    struct probe *p = context;
    for (size_t i = begin; i < end; i++)
        p->sink ^= (uint64_t)(p->n_lanes == 16 ? fma_512() : fma_256());
}

double probe_fma(struct pool *pool, unsigned n_lanes)
{
    struct probe p = {.n_lanes = n_lanes};
    size_t n = pool_n_threads(pool);
    double start = now_s();
    pool_run(pool, n, 1, run_fma, &p);
    return 2.0 * (double)n * n_lanes * FMA_CHAINS * FMA_STEPS / (now_s() - start);
}
