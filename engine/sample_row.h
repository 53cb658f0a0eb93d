/*
 * The passes over one row of the vocabulary. A row is cut into blocks; each keeps its largest z and
 * the sum of its weights, so that what follows a pass looks into few blocks only. Weights are those
 * of docs/NUMERICS.md, "Sampling": sums of integers, the same in every order.
 */
#ifndef ENGINE_SAMPLE_ROW_H
#define ENGINE_SAMPLE_ROW_H

#include "common/err.h"
#include "engine/sample_select.h"
#include "kernels/ref/lanes.h"

enum { ROW_BLOCK = LANES_BLOCK };

struct row {
    const struct lanes *lanes;
    const float *z; /* (n), borrowed */
    size_t n, n_blocks;
    float *block_max;    /* (n_blocks) */
    uint64_t *block_sum; /* (n_blocks) */
    float best;          /* the largest z, and the lowest id that has it */
    uint32_t best_id;
};

struct err row_init(struct row *r, size_t n) MUST_USE; /* n > 0 */
void row_cleanup(struct row *r);
void row_wipe(struct row *r);

/* Takes z as the row: fills block_max and best. ERR_UNTRUE for NaN, +infinity, or nothing but
 * -infinity. */
struct err row_scan(struct row *r, const float *z) MUST_USE;

/* W(z) = floor(exp((z - best) / temperature) * 2^40), and 0 where that exp is below min_p. */
struct weighing {
    float temperature, min_p;
};
/* Fills block_sum and returns the sum of all weights. */
uint64_t row_weigh(struct row *r, struct weighing g);

/* Candidates with keys of rank order, ids ascending: all with z >= bar and W > 0. `out` has room
 * for n + 1. */
size_t row_gather(const struct row *r, struct weighing g, float bar, struct candidate *out);
/* The same without weights (each is 1): all with z >= bar but -infinity. */
size_t row_gather_all(const struct row *r, float bar, struct candidate *out);
/* A bar that at least `rank` tokens reach, and not many more; -infinity where blocks cannot tell.
 * Uses `scratch`, with room for n. */
float row_bar(const struct row *r, size_t rank, struct candidate *scratch);

/* After row_weigh: the first id, ids ascending, at which the running sum of W exceeds `point`,
 * which is less than the sum. */
uint32_t row_find(const struct row *r, struct weighing g, uint64_t point);

#endif
