/*
 * A model folder of random weights for tests, written to a temporary folder, and its forward pass
 * in double with the C library's functions: an oracle that shares no code with the engine.
 */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

enum { TINY_BOS = 256, TINY_EOS = 257, TINY_PAD = 258, TINY_N_TOKENS = 259 };

enum tiny_type { TINY_F32, TINY_F16, TINY_BF16 };

struct tiny_spec {
    unsigned vocab_size, hidden, inner, n_layers, n_heads, n_kv_heads, head_dim, max_positions;
    double rope_theta, eps;
    int tied, llama3; /* llama3: factor 8, low 1, high 4, original 32 */
    int biases;       /* of every matrix; tiny_forward knows none */
    enum tiny_type type;
    uint64_t seed;
};

struct tiny_tensor {
    char name[96];
    size_t n_rows, n_cols; /* n_rows 0: one dimension */
    float *values;         /* as stored, widened */
};

struct tiny_model {
    char dir[64];
    struct tiny_spec spec;
    struct tiny_tensor tensors[64];
    size_t n_tensors;
};

extern const struct tiny_spec tiny_default;

/* Random numbers for tests: the same everywhere. */
uint64_t tiny_random(uint64_t *state);
float tiny_normal(uint64_t *state); /* roughly normal, deviation 1 */

/* Makes the tensors and writes config.json, generation_config.json, tokenizer.json,
 * tokenizer_config.json (with a chat template) and model.safetensors below /tmp. */
void tiny_write(struct tiny_model *m, const struct tiny_spec *spec);
/* Removes the folder. */
void tiny_remove(struct tiny_model *m);

/* A file of the folder, whole. */
void tiny_write_file(const struct tiny_model *m, const char *name, const void *data, size_t len);
void tiny_write_json(const struct tiny_model *m, const char *name, const json_t *value);
json_t *tiny_read_json(const struct tiny_model *m, const char *name);
void tiny_remove_file(const struct tiny_model *m, const char *name);
/* The safetensors bytes of tensors first to last - 1. */
void tiny_safetensors(const struct tiny_model *m, size_t first, size_t last, struct buf *out);

/* Logits in double: out (n_tokens, vocab_size). */
void tiny_forward(const struct tiny_model *m, const uint32_t *tokens, size_t n_tokens, double *out);

#endif
