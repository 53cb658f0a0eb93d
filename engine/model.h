/*
 * The forward pass: a batch of rows, each one token at one position of one sequence, any mix of
 * prompts' chunks and decoding, through all layers. A row's logits depend on its own sequence alone
 * (docs/NUMERICS.md).
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "engine/weights.h"
#include "kernels/backend.h"

struct model {
    const struct backend *backend;
    struct pool *pool;                 /* borrowed */
    const struct model_config *config; /* borrowed */
    const struct weights *weights;     /* borrowed */
    size_t max_rows, max_context;
    float *memory; /* one block; what follows points into it */
    size_t memory_len;
    float *cos_sin;      /* (max_context, 2, rope.dim / 2) */
    float *x, *h;        /* (max_rows, hidden_size): residual stream, its norm */
    float *q, *attended; /* (max_rows, n_heads * head_dim) */
    float *k, *v;        /* (max_rows, n_kv_heads * head_dim) */
    float *gate, *up;    /* (max_rows, intermediate_size) */
    float *scores;       /* (threads, scores_len) */
    size_t scores_len;
    uint16_t *rounded; /* matmul_scratch_len of max_rows and the widest input */
};

struct batch {
    const uint32_t *tokens; /* n_rows, each < vocab_size */
    /* n_rows, each position < max_context. Rows of one sequence ascend by one, and every position
     * before its first row was written by an earlier batch. */
    const struct kv_row *rows;
    size_t n_rows;              /* at most max_rows */
    const uint32_t *logit_rows; /* n_logits row numbers whose logits are wanted */
    size_t n_logits;            /* at most n_rows */
    float *logits;              /* (n_logits, vocab_size) */
};

/* Bytes that model_init will allocate. */
uint64_t model_memory_size(const struct model_config *config, unsigned n_threads, size_t max_rows,
                           size_t max_context);
struct err model_init(struct model *m, const struct backend *backend, struct pool *pool,
                      const struct model_config *config, const struct weights *weights,
                      size_t max_rows, size_t max_context) MUST_USE;
void model_cleanup(struct model *m); /* zeroes the activations */
/* Zeroes the activations. */
void model_wipe(struct model *m);

void model_forward(struct model *m, const struct kv_cache *cache, const struct batch *batch);

#endif
