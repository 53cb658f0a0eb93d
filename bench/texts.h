/*
 * Texts to tokenize, the same on every machine: prose and code made from the words and lines of
 * files in this repository that rarely change, with invented words as rare as names and numbers are
 * in real texts, and Chinese and Japanese made from characters of which a few are frequent.
 */
#ifndef BENCH_TEXTS_H
#define BENCH_TEXTS_H

#include "common/buf.h"

enum text_kind { TEXT_PROSE, TEXT_CODE, TEXT_CJK, TEXT_MIXED, N_TEXT_KINDS };

const char *text_kind_name(enum text_kind kind);
/* At least `len` bytes of UTF-8; another seed gives another text in the same words. */
struct err text_make(struct buf *out, enum text_kind kind, size_t len, uint64_t seed) MUST_USE;

#endif
