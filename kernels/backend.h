/*
 * The operations of a Llama forward pass: every one with its shapes, types and order. A backend is
 * a table of them, chosen by name at run time; `ref` is plain C and the meaning of all others.
 *
 * What every backend promises: a row of an output depends on that row's inputs alone, bit for bit,
 * never on n_rows, on the other rows, on the page numbers or on the number of threads. The exact
 * orders belong to the backend's numerics name (docs/NUMERICS.md).
 *
 * All matrices are row-major. Activations are float. Operations never allocate and cannot fail:
 * shapes were checked when the model was loaded.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/pool.h"

enum { KV_PAGE_TOKENS = 64 };

enum weight_type { WEIGHT_F32, WEIGHT_F16, WEIGHT_BF16 };

size_t weight_type_size(enum weight_type type); /* bytes of one element */

/* out[i] = the i-th of n weights, widened to float (exact). */
void weight_widen(float *out, const void *data, enum weight_type type, size_t n);

/* A matrix as it lies in the model file; need not be aligned. */
struct weight {
    const void *data; /* (n_rows, n_cols), little endian */
    enum weight_type type;
    size_t n_rows, n_cols;
};

/* The cache of keys and values, float: page p, layer l holds keys and values, each
 * (n_kv_heads, KV_PAGE_TOKENS, head_dim). */
struct kv_cache {
    float *data;
    size_t n_pages, n_layers, n_kv_heads, head_dim;
};

size_t kv_cache_page_len(const struct kv_cache *c); /* floats of one page, all layers */
float *kv_cache_keys(const struct kv_cache *c, size_t page, size_t layer);
float *kv_cache_values(const struct kv_cache *c, size_t page, size_t layer);

/* Where a row stands: its position in its sequence and its sequence's pages; page_table[i] holds
 * positions 64 i to 64 i + 63. */
struct kv_row {
    uint32_t position;
    const uint32_t *page_table; /* at least position / 64 + 1 entries */
};

struct attention_args {
    float *out;     /* (n_rows, n_heads * head_dim) */
    const float *q; /* (n_rows, n_heads * head_dim) */
    const struct kv_cache *cache;
    size_t layer;
    const struct kv_row *rows; /* n_rows */
    size_t n_rows, n_heads;    /* n_heads: a multiple of the cache's n_kv_heads */
    size_t window;             /* a row sees its last `window` positions, its own too; 0: all */
    float scale;               /* of the scores: 1 / sqrt(head_dim) */
    float *scratch;            /* pool_n_threads * scratch_len floats */
    /* At least n_heads / n_kv_heads * (highest position + 1). With several times as much, up to
     * eight, neighbouring rows of a sequence may go together, which is faster. */
    size_t scratch_len;
};

/* A matrix of a matmul and where its product goes. */
struct matmul_output {
    float *y;               /* (n_rows, w->n_rows); must not overlap x */
    const struct weight *w; /* (any, n_cols) */
    const float *bias;      /* (w->n_rows), added to each row of y; NULL: none */
    float *add_to;          /* like y, which is added to it at the end; NULL: to nothing */
};

/* Matrices that multiply the same rows, such as those of q, k and v, are one operation. */
enum { MATMUL_OUTPUTS_MAX = 3 };

struct matmul_args {
    const float *x; /* (n_rows, n_cols) */
    size_t n_rows, n_cols;
    struct matmul_output outputs[MATMUL_OUTPUTS_MAX];
    size_t n_outputs;
    bool is_gated; /* two outputs of one shape, g and u: g = g / (1 + exp(-g)) * u */
    /* matmul_scratch_len of the pool's threads, n_rows and n_cols: for rows in bf16. */
    uint16_t *scratch;
};

size_t matmul_scratch_len(unsigned n_threads, size_t n_rows, size_t n_cols); /* elements */

/* Queries, keys and values on their way from the projections to attention. */
struct rope_args {
    float *q;             /* (n_rows, n_heads, head_dim of the cache), turned in place */
    const float *k, *v;   /* (n_rows, n_kv_heads of the cache, head_dim): to the cache, k turned */
    const float *cos_sin; /* (positions, 2, n_turned / 2) */
    const struct kv_cache *cache;
    size_t layer;
    const struct kv_row *rows; /* n_rows */
    size_t n_rows, n_heads;
    size_t n_turned; /* of each head's elements, the first ones; even */
};

struct backend {
    const char *name;     /* "ref", "avx2", "avx512", "avx512bf16" */
    const char *numerics; /* the name with its version: "ref-1" and so on */

    /* out (n_rows, w->n_cols): row w[tokens[i]], widened to float. Every token < w->n_rows. */
    void (*embed)(struct pool *pool, float *out, const struct weight *w, const uint32_t *tokens,
                  size_t n_rows);

    /* out[r][i] = (x[r][i] / sqrt(mean_i(x[r][i]^2) + eps)) * weight[i]; out may be x.
     * x, out: (n_rows, n_cols); weight: (n_cols). */
    void (*rmsnorm)(struct pool *pool, float *out, const float *x, const float *weight,
                    size_t n_rows, size_t n_cols, float eps);

    /* For each output: y = x times w transposed, and what the arguments say is done with it. */
    void (*matmul)(struct pool *pool, const struct matmul_args *args);

    /* Of each head of q and k, pairs (i, i + n_turned / 2) are turned by the angle whose cosine
     * and sine are at cos_sin[position][0 or 1][i]; keys and values are stored at each row's
     * position. */
    void (*rope_write)(struct pool *pool, const struct rope_args *args);

    /* Causal attention of each row over positions 0 to its own, or the last `window` of these, all
     * of them already written. Query head h reads key head h / (n_heads / n_kv_heads). */
    void (*attention)(struct pool *pool, const struct attention_args *args);
};

/* The backends that this machine can run, the fastest one first; returns how many. */
enum { BACKENDS_MAX = 4 };
size_t backend_all(const struct backend *out[BACKENDS_MAX]);

/* The backend of that name; ERR_NOT_FOUND lists the names. NULL: the fastest one here for a model
 * that has BF16 matrices or has none; without any, avx512bf16 is avx512 under another name. */
struct err backend_get(const struct backend **out, const char *name,
                       bool has_bf16_matrices) MUST_USE;

#endif
