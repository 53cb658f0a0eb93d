/*
 * A byte-level BPE vocabulary of realistic size, trained on a text: what a benchmark of encoding
 * needs, since a small vocabulary fits a cache and leaves most words to the merges.
 */
#ifndef BENCH_BPE_TRAIN_H
#define BENCH_BPE_TRAIN_H

#include "common/buf.h"

/* Appends a tokenizer.json with at most `n_tokens` tokens: 256 bytes and, by frequency, the merges
 * of the pieces into which the tokenizer.json `like` cuts `text` (at least twice each). The rest is
 * that of `like`, without its added tokens. *n_made: how many tokens there are. */
struct err bpe_train(struct buf *out, unsigned *n_made, struct bytes like, struct bytes text,
                     unsigned n_tokens) MUST_USE;

#endif
