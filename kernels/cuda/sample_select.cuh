/*
 * Sampling, what sample_choose needs to select: passes of a block over a row, the place where a
 * running sum reaches a point, the last id that a selection keeps.
 *
 * A selection (top_k, top_p, alternatives) finds the bin in which its last id lies, looks only at
 * that bin's ids, and narrows it by their keys' bits while they are too many for one a thread.
 */
#ifndef KERNELS_CUDA_SAMPLE_SELECT_CUH
#define KERNELS_CUDA_SAMPLE_SELECT_CUH

#include "kernels/cuda/sample.cuh"

enum { SAMPLE_DIGIT_BITS = 11 };
static_assert(1 << SAMPLE_DIGIT_BITS == CUDA_SAMPLE_BINS, "a digit is a bin");

struct alignas(16) four_floats {
    float z[4];
};

/* f(z[i], i) for each i from 0 to n - 1, spread over the threads `own` of `of`; loads of 16 bytes
 * where they are aligned, some at once. */
template <typename function>
DEVICE void for_each(const float *z, uint32_t n, uint32_t own, uint32_t of, function f)
{
    enum { AT_ONCE = 4 };
    const uint32_t skew = (uint32_t)((16 - (uintptr_t)z % 16) % 16 / 4);
    const uint32_t head = skew < n ? skew : n, n_fours = (n - head) / 4;
    const uint32_t tail = head + 4 * n_fours;
    for (uint32_t i = own; i < head; i += of)
        f(z[i], i);
    for (uint32_t i = own; i < n_fours; i += AT_ONCE * of) {
        four_floats fours[AT_ONCE];
        UNROLL
        for (uint32_t k = 0; k < AT_ONCE; k++)
            if (i + k * of < n_fours)
                fours[k] = ((const four_floats *)(z + head))[i + k * of];
        UNROLL
        for (uint32_t k = 0; k < AT_ONCE; k++) {
            UNROLL
            for (uint32_t j = 0; j < 4; j++)
                if (i + k * of < n_fours)
                    f(fours[k].z[j], head + 4 * (i + k * of) + j);
        }
    }
    for (uint32_t i = tail + own; i < n; i += of)
        f(z[i], i);
}

struct found {
    uint32_t at;
    uint64_t before, weight_before; /* the sums of what lies before */
};

/* Where the running sum of value(i), i from 0 to n - 1, exceeds `point`, which is less than the
 * whole sum. weight(i) is summed beside it. */
template <typename value_function, typename weight_function>
DEVICE found locate(sample_room &room, uint32_t n, uint64_t point, value_function value,
                    weight_function weight)
{
    const uint32_t run = (n + CUDA_SAMPLE_BLOCK - 1) / CUDA_SAMPLE_BLOCK;
    const uint32_t first = threadIdx.x * run < n ? threadIdx.x * run : n;
    const uint32_t end = first + run < n ? first + run : n;
    uint64_t own = 0, own_weight = 0, total;
    for (uint32_t i = first; i < end; i++) {
        own += value(i);
        own_weight += weight(i);
    }
    uint64_t before = sum_before(room, own, &total);
    __syncthreads();
    uint64_t weight_before = sum_before(room, own_weight, &total);
    if (before <= point && point - before < own) {
        uint32_t i = first;
        for (; point - before >= value(i); i++) {
            before += value(i);
            weight_before += weight(i);
        }
        room.found_at = i;
        room.found_before = before;
        room.found_weight = weight_before;
    }
    __syncthreads();
    return found{room.found_at, room.found_before, room.found_weight};
}

template <typename value_function>
DEVICE found locate(sample_room &room, uint32_t n, uint64_t point, value_function value)
{
    return locate(room, n, point, value, [](uint32_t) { return (uint64_t)0; });
}

/* What a selection selects from, and by what it counts: own, the logits' ids that are possible,
 * each 1; by_count, z's ids that weigh something, each 1; by_weight, the same by what they weigh.
 */
enum selection { OWN, BY_COUNT, BY_WEIGHT };

template <selection by> DEVICE uint64_t weight_in(const sample_field &f, float z)
{
    return by == OWN ? (is_possible(z) ? 1 : 0) : weigh(f, z);
}

template <selection by> DEVICE uint64_t counted(uint64_t weight)
{
    return by == BY_WEIGHT ? weight : weight > 0 ? 1 : 0;
}

/* each(z, id) for the ids of the chunks whose best is near: a warp a chunk. */
template <selection by, typename test, typename function>
DEVICE void for_each_near(const sample_row &r, const sample_field &f, uint32_t n_vocab,
                          test is_near, function each)
{
    for (uint32_t c = threadIdx.x / WARP; c < r.n_chunks; c += SAMPLE_WARPS) {
        const id_range ids = chunk_range(c, n_vocab);
        if (is_near(by == OWN ? r.chunks[c].own_best : r.chunks[c].best))
            for_each(f.z + ids.first, ids.end - ids.first, threadIdx.x % WARP, WARP,
                     [&](float z, uint32_t i) { each(z, ids.first + i); });
    }
}

/* Those of a bin whose keys begin like `prefix`, above its lowest `shift` bits. */
struct key_range {
    uint32_t bin, shift;
    uint64_t prefix;
};

DEVICE bool is_in(const key_range &g, const sample_field &f, float z, uint64_t key)
{
    return bin_of(f, z) == g.bin && (g.shift == 64 || key >> g.shift == g.prefix);
}

struct kept {
    uint64_t last, weight; /* the last key that is kept; the sum of what is */
};

/* One digit more: of the range's ids, the part in which the running value reaches `need`. */
template <selection by>
DEVICE key_range narrow_range(sample_room &room, const sample_field &f, uint32_t n_vocab,
                              const key_range &g, uint64_t *need, uint64_t *weight_before)
{
    const uint32_t shift = g.shift > SAMPLE_DIGIT_BITS ? g.shift - SAMPLE_DIGIT_BITS : 0;
    const uint64_t mask = ((uint64_t)1 << (g.shift - shift)) - 1;
    __syncthreads(); /* everybody has read what lies there */
    clear_bins(room);
    for_each(f.z, n_vocab, threadIdx.x, CUDA_SAMPLE_BLOCK, [&](float z, uint32_t id) {
        const uint64_t key = rank_key(z, id);
        const uint64_t w = is_in(g, f, z, key) ? weight_in<by>(f, z) : 0;
        if (w == 0)
            return;
        add_to(room.bins.weight[key >> shift & mask], w);
        atomicAdd(&room.bins.count[key >> shift & mask], 1u);
    });
    __syncthreads();
    const found in = locate(
        room, CUDA_SAMPLE_BINS, *need - 1,
        [&](uint32_t i) {
            return by == BY_WEIGHT ? value_of(room.bins.weight[i]) : room.bins.count[i];
        },
        [&](uint32_t i) { return value_of(room.bins.weight[i]); });
    *need -= in.before;
    *weight_before += in.weight_before;
    const uint64_t prefix = g.shift == 64 ? 0 : g.prefix << (g.shift - shift);
    return key_range{g.bin, shift, prefix | in.at};
}

/* The range's ids as candidates, in any order. */
template <selection by>
DEVICE uint32_t gather(sample_room &room, const sample_row &r, const sample_field &f,
                       uint32_t n_vocab, const key_range &g)
{
    if (threadIdx.x == 0)
        room.n = 0;
    __syncthreads();
    for_each_near<by>(
        r, f, n_vocab, [&](uint64_t best) { return bin_of(f, f.z[(uint32_t)best]) <= g.bin; },
        [&](float z, uint32_t id) {
            const uint64_t key = rank_key(z, id);
            const uint64_t w = is_in(g, f, z, key) ? weight_in<by>(f, z) : 0;
            if (w == 0)
                return;
            const uint32_t at = atomicAdd(&room.n, 1u);
            room.candidates.key[at] = key;
            room.candidates.weight[at] = w;
        });
    __syncthreads();
    return room.n;
}

/* The candidate with which those up to it, in rank order, reach `need`: one a thread. */
template <selection by>
DEVICE kept keep_among(sample_room &room, uint32_t n, uint64_t need, uint64_t weight_before)
{
    const uint32_t own = threadIdx.x;
    uint64_t before = 0, weight = weight_before;
    for (uint32_t i = 0; own < n && i < n; i++) {
        const bool first = room.candidates.key[i] < room.candidates.key[own];
        const uint64_t w = first ? room.candidates.weight[i] : 0;
        before += counted<by>(w);
        weight += w;
    }
    const uint64_t w = own < n ? room.candidates.weight[own] : 0;
    if (own < n && before < need && need <= before + counted<by>(w)) {
        room.last = room.candidates.key[own];
        room.kept = weight + w;
    }
    __syncthreads();
    return kept{room.last, room.kept};
}

/* The first ids in rank order whose values together reach `need`, at least 1 and at most all. */
template <selection by>
DEVICE kept keep(sample_room &room, const sample_row &r, const sample_field &f, uint32_t n_vocab,
                 uint64_t need)
{
    const sample_bins &bins = *r.bins;
    const uint32_t *count = by == OWN ? bins.own_count : bins.count;
    const found in = locate(
        room, CUDA_SAMPLE_BINS, need - 1,
        [&](uint32_t i) { return by == BY_WEIGHT ? bins.weight[i] : count[i]; },
        [&](uint32_t i) { return by == OWN ? count[i] : bins.weight[i]; });
    uint64_t weight_before = in.weight_before;
    uint32_t n = count[in.at];
    key_range g = {in.at, 64, 0};
    need -= in.before;
    while (n > SAMPLE_CANDIDATES) {
        g = narrow_range<by>(room, f, n_vocab, g, &need, &weight_before);
        n = room.bins.count[(uint32_t)g.prefix & (CUDA_SAMPLE_BINS - 1)];
    }
    n = gather<by>(room, r, f, n_vocab, g);
    return keep_among<by>(room, n, need, weight_before);
}

#endif
