/*
 * What the kernels of sampling share: where a row's things lie, the weight of an id, sums and
 * searches over a block. All sums are of integers, so no order is part of the definition
 * (docs/NUMERICS.md, "Sampling").
 */
#ifndef KERNELS_CUDA_SAMPLE_CUH
#define KERNELS_CUDA_SAMPLE_CUH

#include "kernels/cuda/args.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/rank.h"

enum {
    SAMPLE_WARPS = CUDA_SAMPLE_BLOCK / WARP,
    SAMPLE_CANDIDATES = CUDA_SAMPLE_BLOCK, /* one a thread */
};

/* The best are rank keys (rank_of), those of all chunks that the same block has scanned. */
struct sample_chunk {
    uint64_t own_best, best; /* of the logits; of z */
    uint64_t own_sum, sum;   /* of weights: of the model's own distribution; of step 3 */
};

/* Ids by their distance from the best, the nearest first. */
struct sample_bins {
    uint64_t weight[CUDA_SAMPLE_BINS];
    uint32_t count[CUDA_SAMPLE_BINS];     /* of z: ids that weigh something */
    uint32_t own_count[CUDA_SAMPLE_BINS]; /* of the logits: ids with a probability at all */
};

/* A sum that many threads add to, in halves: shared memory adds 32 bits by itself, 64 only by
 * trying again and again. */
struct sample_sum {
    uint32_t low, high;
};

struct sample_room_bins {
    sample_sum weight[CUDA_SAMPLE_BINS];
    uint32_t count[CUDA_SAMPLE_BINS];
};

struct sample_room_candidates {
    uint64_t key[SAMPLE_CANDIDATES], weight[SAMPLE_CANDIDATES];
};

/* One block's shared memory. */
struct sample_room {
    union {
        sample_room_bins bins;
        sample_room_candidates candidates;
        float z[CUDA_SAMPLE_CHUNK];
    };
    uint64_t of_warp[SAMPLE_WARPS];
    uint64_t found_before, found_weight, last, kept;
    uint32_t found_at, n;
};

static_assert(sizeof(sample_chunk) == 32 && sizeof(sample_bins) == 16 * CUDA_SAMPLE_BINS,
              "CUDA_SAMPLE_SCRATCH_LEN says so");
static_assert(sizeof(sample_room) <= CUDA_SAMPLE_SHARED_LEN, "the room is too large");

DEVICE void add_to(sample_sum &sum, uint64_t more)
{
    const uint32_t low = (uint32_t)more, before = atomicAdd(&sum.low, low);
    const uint32_t high = (uint32_t)(more >> 32) + (before + low < before ? 1 : 0);
    if (high > 0)
        atomicAdd(&sum.high, high);
}

DEVICE uint64_t value_of(const sample_sum &sum)
{
    return (uint64_t)sum.high << 32 | sum.low;
}

DEVICE sample_room &shared_room()
{
    return *shared_at<sample_room>(0, 1);
}

struct sample_row {
    uint32_t slot;     /* CUDA_NO_SLOT: nothing is chosen, and nothing else is set */
    uint32_t position; /* of the token that is to be chosen */
    uint32_t n_chunks;
    bool adjusts;            /* step 1 changes something, or may */
    const float *logits, *z; /* z: after step 1 */
    const cuda_sample_params *params;
    sample_bins *bins;
    sample_chunk *chunks; /* (n_chunks) */
};

struct id_range {
    uint32_t first, end;
};

DEVICE id_range chunk_range(uint32_t chunk, uint32_t n_vocab)
{
    const uint32_t first = chunk * CUDA_SAMPLE_CHUNK, end = first + CUDA_SAMPLE_CHUNK;
    return id_range{first, end < n_vocab ? end : n_vocab};
}

DEVICE bool has_penalties(const cuda_sample_params &p)
{
    return p.counts != nullptr && (p.repetition_penalty != 1.0f || p.frequency_penalty != 0.0f ||
                                   p.presence_penalty != 0.0f);
}

DEVICE bool bans_ends(const cuda_sample_params &p, uint32_t position)
{
    return p.n_end_ids > 0 && position < p.may_end_at;
}

DEVICE sample_row find_row(const cuda_sample_args &args, uint32_t number)
{
    const uint32_t row = args.rows != nullptr ? args.rows[number] : number;
    const uint32_t n_chunks = CUDA_SAMPLE_CHUNKS(args.n_vocab);
    sample_row r = {};
    r.slot = args.plan[row].slot;
    if (r.slot == CUDA_NO_SLOT)
        return r;
    const cuda_sample_params &p = args.params[r.slot];
    r.params = &p;
    r.position = args.positions[row] + 1;
    r.n_chunks = n_chunks;
    r.adjusts =
        has_penalties(p) || p.n_biases > 0 || bans_ends(p, r.position) || p.allowed != nullptr;
    r.logits = args.logits + (size_t)number * args.row_len;
    r.z = r.adjusts ? args.z + (size_t)number * args.row_len : r.logits;
    uint8_t *scratch = (uint8_t *)args.scratch +
                       (size_t)number * (sizeof(sample_bins) + n_chunks * sizeof(sample_chunk));
    r.bins = (sample_bins *)scratch;
    r.chunks = (sample_chunk *)(scratch + sizeof(sample_bins));
    return r;
}

#define SAMPLE_INFINITY det_float(0x7f800000u)

/* rank_key, and NaN before all others: the smallest key of a row tells whether it is sound. */
DEVICE uint64_t rank_of(float z, uint32_t id)
{
    return z != z ? id : rank_key(z, id);
}

DEVICE bool is_sound(uint64_t best)
{
    const float none = -SAMPLE_INFINITY;
    return best > (rank_key(SAMPLE_INFINITY, 0) | 0xffffffffu) && best < rank_key(none, 0);
}

/* A row as step 3 and the alternatives look at it. */
struct sample_field {
    const float *z;
    float best, temperature, min_p;
    float n_bins; /* for a distance of 1 */
};

DEVICE sample_field make_field(const float *z, uint64_t best, float temperature, float min_p)
{
    const float n_bins = __fdiv_rn((float)CUDA_SAMPLE_BINS / 28.0f, temperature);
    return sample_field{z, z[(uint32_t)best], temperature, min_p, n_bins};
}

/* W of step 3. */
DEVICE uint64_t weigh(const sample_field &f, float z)
{
    const float w = det_exp(__fdiv_rn(z - f.best, f.temperature));
    return w < f.min_p ? 0 : (uint64_t)(w * 0x1p40f);
}

DEVICE bool is_possible(float z)
{
    return z > -SAMPLE_INFINITY;
}

/* Never falls when z falls, which is all that its meaning asks for; exp(-28) weighs nothing. */
DEVICE uint32_t bin_of(const sample_field &f, float z)
{
    const float at = (f.best - z) * f.n_bins;
    return at < CUDA_SAMPLE_BINS - 1 ? (uint32_t)at : CUDA_SAMPLE_BINS - 1;
}

/* Ids of a chunk, as many a thread as it has, fetched at once: f(z[i], i) for each i. */
template <typename function> DEVICE void for_each_in_chunk(const float *z, id_range ids, function f)
{
    enum { EACH = CUDA_SAMPLE_CHUNK / CUDA_SAMPLE_BLOCK };
    float own[EACH];
    UNROLL
    for (uint32_t n = 0; n < EACH; n++) {
        const uint32_t i = ids.first + threadIdx.x + n * CUDA_SAMPLE_BLOCK;
        own[n] = i < ids.end ? z[i] : 0.0f;
    }
    UNROLL
    for (uint32_t n = 0; n < EACH; n++) {
        const uint32_t i = ids.first + threadIdx.x + n * CUDA_SAMPLE_BLOCK;
        if (i < ids.end)
            f(own[n], i);
    }
}

/* The operations below are for all threads of a block at once. */

DEVICE void clear_bins(sample_room &room)
{
    for (uint32_t i = threadIdx.x; i < CUDA_SAMPLE_BINS; i += CUDA_SAMPLE_BLOCK) {
        room.bins.weight[i] = sample_sum{0, 0};
        room.bins.count[i] = 0;
    }
    __syncthreads();
}

/* The sum of what the threads before this one have; `total`: of all. `of_warp` is free again after
 * the next barrier. */
DEVICE uint64_t sum_before(sample_room &room, uint64_t own, uint64_t *total)
{
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint64_t sum = own;
    for (uint32_t apart = 1; apart < WARP; apart *= 2) {
        const uint64_t other = __shfl_sync(ALL_LANES, sum, (int)((lane - apart) % WARP));
        sum += lane >= apart ? other : 0;
    }
    if (lane == WARP - 1)
        room.of_warp[warp] = sum;
    __syncthreads();
    uint64_t before = 0, all = 0;
    for (uint32_t i = 0; i < SAMPLE_WARPS; i++) {
        before += i < warp ? room.of_warp[i] : 0;
        all += room.of_warp[i];
    }
    *total = all;
    return before + sum - own;
}

DEVICE uint64_t sum_all(sample_room &room, uint64_t own)
{
    uint64_t total;
    sum_before(room, own, &total);
    __syncthreads();
    return total;
}

DEVICE uint64_t least_of_all(sample_room &room, uint64_t own)
{
    for (uint32_t apart = WARP / 2; apart > 0; apart /= 2) {
        const uint64_t other = __shfl_xor_sync(ALL_LANES, own, (int)apart);
        own = other < own ? other : own;
    }
    if (threadIdx.x % WARP == 0)
        room.of_warp[threadIdx.x / WARP] = own;
    __syncthreads();
    for (uint32_t i = 0; i < SAMPLE_WARPS; i++)
        own = room.of_warp[i] < own ? room.of_warp[i] : own;
    __syncthreads();
    return own;
}

/* The best keys of the whole row: of its logits and of its z. */
DEVICE void find_best(sample_room &room, const sample_row &r, uint64_t *own_best, uint64_t *best)
{
    uint64_t own = UINT64_MAX, key = UINT64_MAX;
    for (uint32_t i = threadIdx.x; i < r.n_chunks; i += CUDA_SAMPLE_BLOCK) {
        own = r.chunks[i].own_best < own ? r.chunks[i].own_best : own;
        key = r.chunks[i].best < key ? r.chunks[i].best : key;
    }
    *own_best = least_of_all(room, own);
    *best = least_of_all(room, key);
}

DEVICE sample_field own_field(const sample_row &r, uint64_t own_best)
{
    return make_field(r.logits, own_best, 1.0f, 0.0f);
}

DEVICE sample_field field_of(const sample_row &r, uint64_t best)
{
    return make_field(r.z, best, r.params->temperature, r.params->min_p);
}

#endif
