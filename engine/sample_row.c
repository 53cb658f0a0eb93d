/* The inner loops have 64 turns and no branch, so a compiler vectorises them; none of them adds
 * floats, so no bit depends on that. */
#include "engine/sample_row.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample_fault.h"

/* A weight is a probability relative to the best token's, in units of 2^-40. */
#define WEIGHT_ONE 0x1p40f

/* exp(-28) * 2^40 is 0.76: from here down a weight is 0, whatever the error of exp. */
#define NO_WEIGHT (-28.0f)

enum { LANES = 16 };

struct err row_init(struct row *r, size_t n)
{
    *r = (struct row){.n = n, .n_blocks = (n + ROW_BLOCK - 1) / ROW_BLOCK};
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

/* NaN when one is in the block. */
static float max_of(const float z[ROW_BLOCK])
{
    float lanes[LANES], max = -INFINITY;
    int n_nan = 0;
    memcpy(lanes, z, sizeof lanes);
    for (size_t at = LANES; at < ROW_BLOCK; at += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] = z[at + l] > lanes[l] ? z[at + l] : lanes[l];
    for (size_t i = 0; i < ROW_BLOCK; i++)
        n_nan += z[i] != z[i];
    for (size_t l = 0; l < LANES; l++)
        max = lanes[l] > max ? lanes[l] : max;
    return n_nan > 0 ? NAN : max;
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
        r->block_max[b] = max_of(block_at(r, b, room));
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

/* W before it is cut to an integer; the product is exact. out, z: (ROW_BLOCK). */
static void weigh(float *restrict out, const float *restrict z, float best, struct weighing g)
{
    for (size_t i = 0; i < ROW_BLOCK; i++) {
        float w = det_exp((z[i] - best) / g.temperature), scaled = w * WEIGHT_ONE;
        out[i] = w >= g.min_p ? scaled : 0.0f;
    }
}

/* The sum of floor(w), each w at most 2^40: in two halves of 20 bits, whose sums fit 32 bits. Every
 * float operation here is exact. */
static uint64_t sum_floors(const float w[ROW_BLOCK])
{
    int32_t high = 0, low = 0;
    for (size_t i = 0; i < ROW_BLOCK; i++) {
        int32_t h = (int32_t)(w[i] * 0x1p-20f);
        high += h;
        low += (int32_t)(w[i] - (float)h * 0x1p20f);
    }
    return ((uint64_t)(uint32_t)high << 20) + (uint32_t)low;
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
        weigh(w, block_at(r, b, room), r->best, g);
        r->block_sum[b] = sum_floors(w);
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
        weigh(w, z, r->best, g);
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
    weigh(w, block_at(r, b, room), r->best, g);
    while (i + 1 < ROW_BLOCK && (uint64_t)w[i] <= point)
        point -= (uint64_t)w[i++];
    return (uint32_t)(b * ROW_BLOCK + i);
}
