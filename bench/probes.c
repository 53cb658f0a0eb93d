#include "bench/probes.h"

#include <immintrin.h>
#include <stdatomic.h>

#include "bench/results.h"

enum { FMA_STEPS = 500000, FMA_CHAINS = 12, STREAMS = 4, AHEAD = 1024 };
enum { DOT_CHAINS = 24 }; /* a dot product takes six cycles on Zen 5, which starts two in each */

struct probe {
    const uint8_t *data;
    unsigned n_lanes;
    atomic_uint_fast64_t sink; /* the results must be wanted, or the loops would be dropped */
};

/* `n_lines` lines in STREAMS equal parts side by side: one stream alone does not fill the memory's
 * queues. */
__attribute__((target("avx512f"))) static uint64_t read_512(const uint8_t *p, size_t n_lines)
{
    __m512i sums[STREAMS];
    size_t part = n_lines / STREAMS;
    for (size_t s = 0; s < STREAMS; s++)
        sums[s] = _mm512_setzero_si512();
    for (size_t i = 0; i < part; i++, p += 64)
        for (size_t s = 0; s < STREAMS; s++) {
            const uint8_t *at = p + s * part * 64;
            _mm_prefetch((const void *)((uintptr_t)at + AHEAD), _MM_HINT_T0);
            sums[s] = _mm512_xor_si512(sums[s], _mm512_loadu_si512(at));
        }
    for (size_t s = 1; s < STREAMS; s++)
        sums[0] = _mm512_xor_si512(sums[0], sums[s]);
    return (uint64_t)_mm512_reduce_add_epi64(sums[0]);
}

__attribute__((target("avx2"))) static uint64_t read_256(const uint8_t *p, size_t n_lines)
{
    __m256i sums[STREAMS];
    size_t part = n_lines / STREAMS;
    for (size_t s = 0; s < STREAMS; s++)
        sums[s] = _mm256_setzero_si256();
    for (size_t i = 0; i < part; i++, p += 64)
        for (size_t s = 0; s < STREAMS; s++) {
            const __m256i *at = (const __m256i *)(const void *)(p + s * part * 64);
            _mm_prefetch((const void *)((uintptr_t)at + AHEAD), _MM_HINT_T0);
            sums[s] = _mm256_xor_si256(sums[s], _mm256_loadu_si256(at));
            sums[s] = _mm256_xor_si256(sums[s], _mm256_loadu_si256(at + 1));
        }
    for (size_t s = 1; s < STREAMS; s++)
        sums[0] = _mm256_xor_si256(sums[0], sums[s]);
    return (uint64_t)_mm256_extract_epi64(sums[0], 0) ^ (uint64_t)_mm256_extract_epi64(sums[0], 1);
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
    double start = seconds_now();
    pool_run(pool, len / 64, 1, read_lines, &p);
    return (double)len / (seconds_now() - start);
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
    double start = seconds_now();
    pool_run(pool, n, 1, run_fma, &p);
    return 2.0 * (double)n * n_lanes * FMA_CHAINS * FMA_STEPS / (seconds_now() - start);
}

#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 24")
#endif

bool probe_has_dot(void)
{
    return __builtin_cpu_supports("avx512bf16");
}

/* Of numbers, not zeros: a machine may be faster with those. */
__attribute__((target("avx512f,avx512bf16"))) static float dot_512(void)
{
    __m512 acc[DOT_CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00); /* 0.5 */
    for (int c = 0; c < DOT_CHAINS; c++)
        acc[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < FMA_STEPS; i++) {
        UNROLLED
        for (int c = 0; c < DOT_CHAINS; c++)
            acc[c] = _mm512_dpbf16_ps(acc[c], a, a);
    }
    for (int c = 1; c < DOT_CHAINS; c++)
        acc[0] = _mm512_add_ps(acc[0], acc[c]);
    return _mm512_reduce_add_ps(acc[0]);
}

static void run_dot(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    struct probe *p = context;
    for (size_t i = begin; i < end; i++)
        p->sink ^= (uint64_t)dot_512();
}

double probe_dot(struct pool *pool)
{
    struct probe p = {0};
    size_t n = pool_n_threads(pool);
    double start = seconds_now();
    pool_run(pool, n, 1, run_dot, &p);
    return 4.0 * (double)n * 16 * DOT_CHAINS * FMA_STEPS / (seconds_now() - start);
}
