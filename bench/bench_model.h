/*
 * Model folders of random weights for benchmarks, with the shapes of real models and the tokenizer
 * of models/demo filled up to their vocabularies. What was written is removed when the program
 * ends, also by an error or a signal.
 */
#ifndef BENCH_BENCH_MODEL_H
#define BENCH_BENCH_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct bench_shape {
    const char *name;
    int n_layers, hidden, inner, n_heads, n_kv_heads, head_dim, vocab;
    unsigned n_tokens; /* to decode in one round */
};

/* The i-th of the shapes that a CPU is measured with, NULL behind the last. */
const struct bench_shape *bench_shape_at(size_t i);
/* NULL is fine; ERR_USAGE lists the names. Output matrices are the embedding's: as many bytes are
 * read for a token as with one of their own. */
struct err bench_shape_check(const char *name) MUST_USE;
/* The shape of that name; NULL if there is none. */
const struct bench_shape *bench_shape_named(const char *name);

/* Bytes of its weights in BF16. */
uint64_t bench_shape_len(const struct bench_shape *s);

/* ERR_LIMIT, with the numbers, where the folder's disk or the memory lacks room. */
struct err bench_room_check(const char *folder, uint64_t disk_len, uint64_t memory_len) MUST_USE;

/* Makes a folder in `parent`; its path goes to `out`. */
struct err bench_folder_make(char out[200], const char *parent) MUST_USE;
/* config.json, tokenizer.json and model.safetensors. */
struct err bench_model_write(const char *dir, const struct bench_shape *s) MUST_USE;
/* n files of one tensor of `len` bytes each, on the disk when it returns, and an index for them
 * where n > 1. */
struct err bench_shards_write(const char *dir, char names[][64], size_t n, uint64_t len) MUST_USE;
/* Removes the folder's files and the folder. */
void bench_folder_remove(const char *dir);

#endif
