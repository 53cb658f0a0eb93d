/*
 * A model's matrices by their place in the forward pass, checked against the config: each is there,
 * has its shape and a type we compute with, holds finite numbers, and no tensor is left over.
 * Matrices stay where they were read; norms and biases are widened to float. Of shards that are not
 * in memory only the places are bound: whoever reads them fills in the vectors and checks all
 * numbers.
 */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include "engine/config.h"
#include "engine/shards.h"
#include "kernels/backend.h"

/* y = x times the matrix transposed, plus the bias. */
struct linear {
    struct weight matrix;
    float *bias; /* (matrix.n_rows); NULL: none */
};

struct layer_weights {
    float *attention_norm, *mlp_norm; /* (hidden_size) */
    float *q_norm, *k_norm;           /* (head_dim), of every head alike; NULL: none */
    struct linear q;                  /* (n_heads * head_dim, hidden_size) */
    struct linear k, v;               /* (n_kv_heads * head_dim, hidden_size) */
    struct linear o;                  /* (hidden_size, n_heads * head_dim) */
    struct linear gate, up;           /* (intermediate_size, hidden_size) */
    struct linear down;               /* (hidden_size, intermediate_size) */
};

/* A norm or a bias. */
struct vector {
    const struct tensor *from;
    enum weight_type type;
    size_t n;
    float *out; /* (n) */
};

struct weights {
    struct weight embed, output; /* (vocab_size, hidden_size); the same when tied */
    /* A tied model's output matrix that is stored all the same, of shards that are not in memory:
     * whoever reads them must find the bytes of `embed` in it. Else NULL. */
    const struct tensor *twin;
    float *norm; /* (hidden_size) */
    struct layer_weights *layers;
    uint64_t n_parameters;
    bool has_bf16;          /* some matrix is BF16 */
    struct vector *vectors; /* (n_vectors), each one's `out` in a place above */
    size_t n_vectors;
};

/* ERR_MALFORMED (missing, the wrong shape, or a value that is no number), ERR_UNSUPPORTED (a type,
 * a tensor that is left over), each with the tensor's name. The shards must outlive `out`. */
struct err weights_bind(struct weights *out, const struct model_config *config,
                        const struct shards *shards) MUST_USE;
/* Checks a vector's bytes, as stored, and widens them. */
struct err vector_fill(const struct vector *v, const void *data) MUST_USE;
/* The error of a `twin` with other bytes. */
struct err weights_twin_differs(void) MUST_USE;
void weights_cleanup(struct weights *w);

#endif
