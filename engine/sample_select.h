/*
 * Selection in an order of keys: which candidates come first until there are enough of them, or
 * enough weight. Takes time in proportion to the candidates, whatever they are.
 */
#ifndef ENGINE_SAMPLE_SELECT_H
#define ENGINE_SAMPLE_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rank.h"

struct candidate {
    uint64_t key;    /* unique; the smallest is the first */
    uint64_t weight; /* at least 1 */
};

/* The key with which the candidates, in order of key, reach `need` together, each counting 1 or its
 * weight; the first one's if that is enough. n > 0; all of them must make `need`. `scratch` has
 * room for n; it may be c, which then is lost. */
uint64_t select_count(const struct candidate *c, size_t n, uint64_t need,
                      struct candidate *scratch);
uint64_t select_weight(const struct candidate *c, size_t n, uint64_t need,
                       struct candidate *scratch);

/* Leaves those with keys up to `last`, in the order in which they are. Returns how many. */
size_t keep_up_to(struct candidate *c, size_t n, uint64_t last);

/* The index at which the running sum of weights exceeds `point`, which is less than the sum. */
size_t find_weight(const struct candidate *c, size_t n, uint64_t point);
uint64_t sum_weights(const struct candidate *c, size_t n);

#endif
