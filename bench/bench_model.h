/*
 * A model folder of random weights for benchmarks: the shapes of SmolLM2-135M (30 layers, hidden
 * 576, vocabulary 49,152, 270 MB in BF16), with the tokenizer of another folder.
 */
#ifndef BENCH_BENCH_MODEL_H
#define BENCH_BENCH_MODEL_H

#include "common/err.h"

/* Writes config.json, model.safetensors and the files of `tokenizer_dir` into `dir`. */
struct err bench_model_write(const char *dir, const char *tokenizer_dir) MUST_USE;
/* Removes those files and the folder. */
void bench_model_remove(const char *dir);

#endif
