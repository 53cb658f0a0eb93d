#include "engine/sample_select.h"

#include <string.h>

enum { BIN_BITS = 11, N_BINS = 1 << BIN_BITS };

/* How far keys are shifted so that their highest differing bits are a bin's number. */
static unsigned bin_shift(const struct candidate *c, size_t n)
{
    uint64_t different = 0;
    for (size_t i = 0; i < n; i++)
        different |= c[i].key ^ c[0].key;
    unsigned n_bits = 64 - (unsigned)__builtin_clzll(different); /* keys are unique: not 0 */
    return n_bits > BIN_BITS ? n_bits - BIN_BITS : 0;
}

static unsigned bin_of(uint64_t key, unsigned shift)
{
    return (unsigned)(key >> shift) & (N_BINS - 1);
}

/* Which bin reaches `need`; what lies before it is taken off `need`. */
static unsigned find_bin(const struct candidate *c, size_t n, unsigned shift, bool weighted,
                         uint64_t *need)
{
    uint64_t bins[N_BINS] = {0};
    for (size_t i = 0; i < n; i++)
        bins[bin_of(c[i].key, shift)] += weighted ? c[i].weight : 1;
    unsigned b = 0;
    while (b < N_BINS - 1 && bins[b] < *need)
        *need -= bins[b++];
    return b;
}

/* Without a branch: what is not in the bin is overwritten. `out` may be c. */
static size_t copy_bin(struct candidate *out, const struct candidate *c, size_t n, unsigned shift,
                       unsigned bin)
{
    size_t n_in = 0;
    for (size_t i = 0; i < n; i++) {
        struct candidate one = c[i];
        out[n_in] = one;
        n_in += bin_of(one.key, shift) == bin;
    }
    return n_in;
}

static uint64_t find_last(const struct candidate *c, size_t n, uint64_t need, bool weighted,
                          struct candidate *scratch)
{
    if (need == 0)
        need = 1;
    while (n > 1) {
        unsigned shift = bin_shift(c, n);
        unsigned bin = find_bin(c, n, shift, weighted, &need);
        n = copy_bin(scratch, c, n, shift, bin);
        c = scratch;
    }
    return c[0].key;
}

uint64_t select_count(const struct candidate *c, size_t n, uint64_t need, struct candidate *scratch)
{
    return find_last(c, n, need, false, scratch);
}

uint64_t select_weight(const struct candidate *c, size_t n, uint64_t need,
                       struct candidate *scratch)
{
    return find_last(c, n, need, true, scratch);
}

size_t keep_up_to(struct candidate *c, size_t n, uint64_t last)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct candidate one = c[i];
        c[n_kept] = one;
        n_kept += one.key <= last;
    }
    return n_kept;
}

size_t find_weight(const struct candidate *c, size_t n, uint64_t point)
{
    size_t i = 0;
    while (i + 1 < n && c[i].weight <= point)
        point -= c[i++].weight;
    return i;
}

uint64_t sum_weights(const struct candidate *c, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += c[i].weight;
    return sum;
}
