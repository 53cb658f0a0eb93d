#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

#include "kernels/ref/lanes.h"
#include "kernels/ref/ref.h"

size_t weight_type_size(enum weight_type type)
{
    return type == WEIGHT_F32 ? 4 : 2;
}

void weight_widen(float *out, const void *data, enum weight_type type, size_t n)
{
    lanes_best()->widen(out, data, type, n);
}

static size_t block_len(const struct kv_cache *c)
{
    return c->n_kv_heads * KV_PAGE_TOKENS * c->head_dim;
}

size_t kv_cache_page_len(const struct kv_cache *c)
{
    return c->n_layers * 2 * block_len(c);
}

float *kv_cache_keys(const struct kv_cache *c, size_t page, size_t layer)
{
    return c->data + page * kv_cache_page_len(c) + layer * 2 * block_len(c);
}

float *kv_cache_values(const struct kv_cache *c, size_t page, size_t layer)
{
    return kv_cache_keys(c, page, layer) + block_len(c);
}

/* Elements of a vector of bf16; so few rows each thread rounds for itself (kernels/cpu/bf16.c). */
enum { MATMUL_BLOCK_K = 32, MATMUL_OWN_ROWS = 8 };

size_t matmul_scratch_len(unsigned n_threads, size_t n_rows, size_t n_cols)
{
    size_t own = (size_t)n_threads * MATMUL_OWN_ROWS, n = n_rows > own ? n_rows : own;
    return n * ((n_cols + MATMUL_BLOCK_K - 1) / MATMUL_BLOCK_K * MATMUL_BLOCK_K);
}

#if KERNELS_X86
#include <cpuid.h>

extern const struct backend cpu_avx2_table, cpu_avx512_table, cpu_avx512bf16_table;

static bool has_avx2(void)
{
    unsigned a, b, c, d; /* not every compiler's __builtin_cpu_supports knows f16c */
    bool has_f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
    return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

static bool has_avx512bf16(void)
{
    unsigned a, b, c, d; /* leaf 7, subleaf 1, EAX bit 5 */
    return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 5) != 0;
}
#endif

size_t backend_all(const struct backend *out[BACKENDS_MAX])
{
    size_t n = 0;
#if KERNELS_X86
    if (has_avx512bf16())
        out[n++] = &cpu_avx512bf16_table;
    if (has_avx512())
        out[n++] = &cpu_avx512_table;
    if (has_avx2())
        out[n++] = &cpu_avx2_table;
#endif
    out[n++] = &backend_ref;
    return n;
}

struct err backend_get(const struct backend **out, const char *name, bool has_bf16_matrices)
{
    const struct backend *all[BACKENDS_MAX];
    char names[64] = "";
    size_t n = backend_all(all);
    for (size_t i = 0; i < n; i++) {
        bool suits = has_bf16_matrices || strcmp(all[i]->name, "avx512bf16") != 0;
        if (name == NULL ? suits : strcmp(name, all[i]->name) == 0) {
            *out = all[i];
            return err_ok();
        }
        size_t len = strlen(names);
        snprintf(names + len, sizeof names - len, "%s%s", i > 0 ? ", " : "", all[i]->name);
    }
    return err_set(ERR_NOT_FOUND, "there is no backend \"%.40s\" on this machine; there is: %s",
                   name, names);
}
