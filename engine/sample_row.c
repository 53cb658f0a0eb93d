/* What is done with a whole block is the lanes' (kernels/ref/lanes.h), which vectorise it; nothing
 * there adds floats, so no bit depends on that. */
#include "engine/sample_row.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample_fault.h"

/* exp(-28) * 2^40 is 0.76: from here down a weight is 0, whatever the error of exp. */
#define NO_WEIGHT (-28.0f)

struct err row_init(struct row *r, size_t n)
{
    *r = (struct row){.lanes = lanes_best(), .n = n, .n_blocks = (n + ROW_BLOCK - 1) / ROW_BLOCK};
    r->block_max = calloc(r->n_blocks, sizeof *r->block_max);
    r->block_sum = calloc(r->n_blocks, sizeof *r->block_sum);
    if (r->block_max != NULL && r->block_sum != NULL)
        return err_ok();
    row_cleanup(r);
    return err_set(ERR_MEMORY, "no memory for a row of %zu tokens", n);
}

void row_wipe(struct row *r)
{
    explicit_bzero(r->block_max, r->n_blocks * sizeof *r->block_max);
    explicit_bzero(r->block_sum, r->n_blocks * sizeof *r->block_sum);
    r->best = 0;
    r->best_id = 0;
}

void row_cleanup(struct row *r)
{
    if (r->block_max != NULL && r->block_sum != NULL)
        row_wipe(r);
    free(r->block_max);
    free(r->block_sum);
    *r = (struct row){0};
}

/* A block's z; the last one is filled up, in `room`, with what cannot be chosen. */
static const float *block_at(const struct row *r, size_t block, float room[ROW_BLOCK])
{
    const float *z = r->z + block * ROW_BLOCK;
    size_t left = r->n - block * ROW_BLOCK;
    if (left >= ROW_BLOCK)
        return z;
    memcpy(room, z, left * sizeof *z);
    for (size_t i = left; i < ROW_BLOCK; i++)
        room[i] = -INFINITY;
    return room;
}

static struct err not_a_number(const struct row *r, size_t block)
{
    size_t i = block * ROW_BLOCK;
    while (i + 1 < r->n && !isnan(r->z[i]))
        i++;
    return sample_fault(SAMPLE_NOT_A_NUMBER, i, r->n, 0);
}

struct err row_scan(struct row *r, const float *z)
{
    float room[ROW_BLOCK];
    size_t best = 0;
    r->z = z;
    for (size_t b = 0; b < r->n_blocks; b++) {
        r->block_max[b] = r->lanes->block_max(block_at(r, b, room));
        if (isnan(r->block_max[b]))
            return not_a_number(r, b);
        if (r->block_max[b] > r->block_max[best])
            best = b;
    }
    r->best = r->block_max[best];
    r->best_id = (uint32_t)(best * ROW_BLOCK);
    while (z[r->best_id] != r->best)
        r->best_id++;
    if (isinf(r->best))
        return sample_fault(SAMPLE_INFINITE, r->best_id, r->n, 0);
    return err_ok();
}

/* W of each of a block's z before it is cut to an integer; 2^40 times a probability is exact. */
static void weigh(const struct row *r, float w[ROW_BLOCK], const float z[ROW_BLOCK],
                  struct weighing g)
{
    r->lanes->block_exp(w, z, r->best, g.temperature, g.min_p);
}

static bool weighs_nothing(const struct row *r, size_t block, struct weighing g)
{
    return (r->block_max[block] - r->best) / g.temperature < NO_WEIGHT;
}

uint64_t row_weigh(struct row *r, struct weighing g)
{
    float room[ROW_BLOCK], w[ROW_BLOCK];
    uint64_t sum = 0;
    for (size_t b = 0; b < r->n_blocks; b++) {
        r->block_sum[b] = 0;
        if (weighs_nothing(r, b, g))
            continue;
        weigh(r, w, block_at(r, b, room), g);
        r->block_sum[b] = r->lanes->block_floors(w);
        sum += r->block_sum[b];
    }
    return sum;
}

size_t row_gather(const struct row *r, struct weighing g, float bar, struct candidate *out)
{
    float room[ROW_BLOCK], w[ROW_BLOCK];
    size_t n = 0;
    for (size_t b = 0; b < r->n_blocks; b++) {
        if (r->block_max[b] < bar || weighs_nothing(r, b, g))
            continue;
        const float *z = block_at(r, b, room);
        weigh(r, w, z, g);
        for (size_t i = 0; i < ROW_BLOCK; i++) { /* without a branch: the next overwrites it */
            out[n] =
                (struct candidate){rank_key(z[i], (uint32_t)(b * ROW_BLOCK + i)), (uint64_t)w[i]};
            n += (z[i] >= bar) & (w[i] >= 1.0f);
        }
    }
    return n;
}

size_t row_gather_all(const struct row *r, float bar, struct candidate *out)
{
    size_t n = 0;
    for (size_t b = 0; b < r->n_blocks; b++) {
        size_t end = (b + 1) * ROW_BLOCK < r->n ? (b + 1) * ROW_BLOCK : r->n;
        for (size_t i = b * ROW_BLOCK; r->block_max[b] >= bar && i < end; i++)
            if (r->z[i] >= bar && r->z[i] > -INFINITY)
                out[n++] = (struct candidate){rank_key(r->z[i], (uint32_t)i), 1};
    }
    return n;
}

float row_bar(const struct row *r, size_t rank, struct candidate *scratch)
{
    if (rank > r->n_blocks)
        return -INFINITY;
    for (size_t b = 0; b < r->n_blocks; b++)
        scratch[b] = (struct candidate){rank_key(r->block_max[b], (uint32_t)b), 1};
    return r->block_max[(uint32_t)select_count(scratch, r->n_blocks, rank, scratch)];
}

uint32_t row_find(const struct row *r, struct weighing g, uint64_t point)
{
    float room[ROW_BLOCK], w[ROW_BLOCK];
    size_t b = 0, i = 0;
    while (b + 1 < r->n_blocks && r->block_sum[b] <= point)
        point -= r->block_sum[b++];
    weigh(r, w, block_at(r, b, room), g);
    while (i + 1 < ROW_BLOCK && (uint64_t)w[i] <= point)
        point -= (uint64_t)w[i++];
    return (uint32_t)(b * ROW_BLOCK + i);
}
