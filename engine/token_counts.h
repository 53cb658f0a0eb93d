/*
 * How often each token of a request occurs, kept up to date token by token, so that penalties need
 * not walk the whole context for every new one.
 */
#ifndef ENGINE_TOKEN_COUNTS_H
#define ENGINE_TOKEN_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct token_count {
    uint32_t id;
    uint32_t n_answer; /* 0: in the prompt only */
};

/* All zero: empty. */
struct token_counts {
    struct token_count *items; /* each id once, in the order of their first occurrence */
    size_t n, capacity;        /* capacity: 0 or a power of two */
    uint32_t *slots;           /* (2 * capacity), hash table: index of an item plus 1; 0: free */
};

/* One more token. ERR_MEMORY leaves the counts as they were. */
struct err token_counts_add(struct token_counts *c, uint32_t id, bool in_answer) MUST_USE;
void token_counts_cleanup(struct token_counts *c); /* zeroes first */

#endif
