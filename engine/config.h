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

enum { CONFIG_LEN_MAX = 1 << 20, CONFIG_EOS_MAX = 16 };

enum rope_kind { ROPE_PLAIN, ROPE_LLAMA3 };

struct rope_config {
    enum rope_kind kind;
    double theta;
    /* ROPE_LLAMA3 only */
    double factor, low_freq_factor, high_freq_factor;
    unsigned original_max_positions;
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
