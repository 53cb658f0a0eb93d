/*
 * config.json as transformers writes it, of the families in family.c: one forward pass, whose
 * differences are the flags here. A key or value that would change the computation and is not
 * supported is an error that names both; so is every key that is not known.
 *
 * Maximum: 1 MiB.
 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "common/buf.h"

enum {
    CONFIG_LEN_MAX = 1 << 20,
    CONFIG_EOS_MAX = 16,
    CONFIG_POSITIONS_MAX = 1 << 20, /* as far as kernels/det.h's sine goes */
    CONFIG_HEAD_DIM_MAX = 1024,
    ROPE_FACTORS_MAX = CONFIG_HEAD_DIM_MAX / 2,
};

enum rope_kind { ROPE_PLAIN, ROPE_LLAMA3, ROPE_LONGROPE };

struct rope_config {
    enum rope_kind kind;
    unsigned dim; /* elements that turn, the first ones of each head: even, 2 to head_dim */
    double theta;
    unsigned original_max_positions; /* ROPE_LLAMA3 and ROPE_LONGROPE */
    /* ROPE_LLAMA3 only */
    double factor, low_freq_factor, high_freq_factor;
    /* ROPE_LONGROPE only: each pair's frequency is divided by its factor, from the long list when
     * the context is longer than original_max_positions; cosines and sines are multiplied. */
    double short_factor[ROPE_FACTORS_MAX], long_factor[ROPE_FACTORS_MAX]; /* dim / 2 */
    double attention_factor;
};

struct model_config {
    char architecture[32];
    unsigned vocab_size, hidden_size, intermediate_size;
    unsigned n_layers, n_heads, n_kv_heads, head_dim, max_positions;
    float rms_norm_eps;
    bool tied;               /* the output matrix is the embedding matrix */
    bool qkv_bias, o_bias;   /* of the attention's matrices */
    bool mlp_bias;           /* of gate, up and down */
    bool qk_norm;            /* each head of q and k gets an RMSNorm before it is turned */
    bool fused;              /* q, k and v are stored as one matrix, gate and up as another */
    unsigned sliding_window; /* positions that a row sees, its own too; 0: all up to its own */
    struct rope_config rope;
    uint32_t eos_ids[CONFIG_EOS_MAX];
    size_t n_eos;
};

/* ERR_MALFORMED, ERR_UNSUPPORTED (names key and value), ERR_LIMIT. */
struct err config_parse(struct model_config *out, struct bytes json) MUST_USE;

#endif
