/*
 * Sampling, one block a row: what is kept, the choice, logprobs; then the slot moves on.
 * docs/NUMERICS.md, "Sampling".
 */
#include "kernels/cuda/sample_select.cuh"
#include "kernels/philox.h"

namespace
{

/* Writes the alternatives, best first; returns how many. */
DEVICE uint32_t put_top(sample_room &room, const sample_row &r, const sample_field &own,
                        uint32_t n_vocab, double log_sum, cuda_token_float *top)
{
    uint64_t n_possible = 0;
    for (uint32_t i = threadIdx.x; i < CUDA_SAMPLE_BINS; i += CUDA_SAMPLE_BLOCK)
        n_possible += r.bins->own_count[i];
    n_possible = sum_all(room, n_possible);
    const uint32_t wanted = r.params->n_logprobs;
    const uint32_t n = n_possible < wanted ? (uint32_t)n_possible : wanted;
    const uint64_t last = keep<OWN>(room, r, own, n_vocab, n).last;
    if (threadIdx.x == 0)
        room.n = 0;
    __syncthreads();
    for_each_near<OWN>(
        r, own, n_vocab, [&](uint64_t best) { return best <= last; },
        [&](float z, uint32_t id) {
            const uint64_t key = rank_key(z, id);
            if (is_possible(z) && key <= last)
                room.candidates.key[atomicAdd(&room.n, 1u)] = key;
        });
    __syncthreads();
    if (threadIdx.x < n) {
        const uint64_t key = room.candidates.key[threadIdx.x];
        uint32_t rank = 0;
        for (uint32_t i = 0; i < n; i++)
            rank += room.candidates.key[i] < key ? 1 : 0;
        const uint32_t id = (uint32_t)key;
        top[rank] = cuda_token_float{id, (float)(((double)own.z[id] - (double)own.best) - log_sum)};
    }
    __syncthreads();
    return n;
}

/* Steps 4 and 5: the last key that is kept, and S of step 6. */
DEVICE kept keep_top(sample_room &room, const sample_row &r, const sample_field &f,
                     uint32_t n_vocab)
{
    const cuda_sample_params &p = *r.params;
    uint64_t n = 0, sum = 0;
    for (uint32_t i = threadIdx.x; i < r.n_chunks; i += CUDA_SAMPLE_BLOCK)
        sum += r.chunks[i].sum;
    kept k = {UINT64_MAX, sum_all(room, sum)};
    if (p.top_k > 0 && p.top_k < n_vocab) {
        for (uint32_t i = threadIdx.x; i < CUDA_SAMPLE_BINS; i += CUDA_SAMPLE_BLOCK)
            n += r.bins->count[i];
        if (p.top_k < sum_all(room, n))
            k = keep<BY_COUNT>(room, r, f, n_vocab, p.top_k);
    }
    if (p.top_p < 1.0f) {
        const uint64_t need = (uint64_t)((double)p.top_p * (double)k.weight);
        k = keep<BY_WEIGHT>(room, r, f, n_vocab, need > 0 ? need : 1);
    }
    return k;
}

/* Sums what is kept of each chunk: a warp a chunk. */
DEVICE void sum_kept(const sample_row &r, const sample_field &f, uint32_t n_vocab, uint64_t last)
{
    for (uint32_t c = threadIdx.x / WARP; c < r.n_chunks; c += SAMPLE_WARPS) {
        const id_range ids = chunk_range(c, n_vocab);
        uint64_t sum = 0;
        if (r.chunks[c].best <= last)
            for_each(f.z + ids.first, ids.end - ids.first, threadIdx.x % WARP, WARP,
                     [&](float z, uint32_t i) {
                         sum += rank_key(z, ids.first + i) <= last ? weigh(f, z) : 0;
                     });
        for (int apart = WARP / 2; apart > 0; apart /= 2)
            sum += __shfl_xor_sync(ALL_LANES, sum, apart);
        if (threadIdx.x % WARP == 0)
            r.chunks[c].sum = sum;
    }
    __syncthreads();
}

/* Steps 4 to 6. */
DEVICE uint32_t draw(sample_room &room, const sample_row &r, uint64_t best, uint32_t n_vocab)
{
    const sample_field f = field_of(r, best);
    const kept k = keep_top(room, r, f, n_vocab);
    if (k.last != UINT64_MAX)
        sum_kept(r, f, n_vocab, k.last);
    const uint64_t random = philox_of_token(r.params->seed, r.position, r.params->choice);
    const uint64_t point = __umul64hi(random, k.weight);
    const found chunk =
        locate(room, r.n_chunks, point, [&](uint32_t i) { return r.chunks[i].sum; });
    const id_range ids = chunk_range(chunk.at, n_vocab);
    const found id = locate(room, ids.end - ids.first, point - chunk.before, [&](uint32_t i) {
        const float z = f.z[ids.first + i];
        return rank_key(z, ids.first + i) <= k.last ? weigh(f, z) : (uint64_t)0;
    });
    return ids.first + id.at;
}

/* Why nothing can be chosen from a row whose best is `best`, that of its z or of its logits. */
DEVICE uint32_t fault_of(uint64_t best)
{
    return best >> 32 == 0 ? CUDA_SAMPLE_NOT_A_NUMBER : CUDA_SAMPLE_INFINITE;
}

/* Whether mask and bans leave an id at all; else which of them is why. */
DEVICE uint32_t check_choice(sample_room &room, const sample_row &r, uint32_t n_vocab,
                             uint64_t best)
{
    const cuda_sample_params &p = *r.params;
    const uint32_t n_banned = bans_ends(p, r.position) ? p.n_end_ids : 0;
    uint64_t n_allowed = 0, n_free = 0;
    for (uint32_t id = threadIdx.x; id < n_vocab; id += CUDA_SAMPLE_BLOCK) {
        if (p.allowed != nullptr && (p.allowed[id / 32] >> id % 32 & 1) == 0)
            continue;
        bool banned = false;
        for (uint32_t i = 0; i < n_banned; i++)
            banned = banned || p.end_ids[i] == id;
        n_allowed++;
        n_free += banned ? 0 : 1;
    }
    n_allowed = sum_all(room, n_allowed);
    n_free = sum_all(room, n_free);
    if (n_free > 0)
        return fault_of(best);
    return n_allowed > 0 ? CUDA_SAMPLE_ONLY_ENDS : CUDA_SAMPLE_NONE_ALLOWED;
}

/* One thread: the slot's newest token is this one. */
DEVICE void move_on(const cuda_sample_args &args, const sample_row &r, uint32_t id)
{
    args.newest[r.slot] = id;
    args.newest_at[r.slot] = r.position;
    if (r.params->counts != nullptr)
        r.params->counts[id] += 1;
}

DEVICE void put_fault(const cuda_sample_args &args, const sample_row &r, uint32_t fault,
                      uint64_t best)
{
    if (threadIdx.x != 0)
        return;
    args.out[blockIdx.x].fault = fault;
    args.out[blockIdx.x].id = (uint32_t)best;
    args.out[blockIdx.x].logprob = 0.0f;
    args.out[blockIdx.x].n_top = 0;
    args.newest[r.slot] = 0;
    args.newest_at[r.slot] = r.position;
}

} // namespace

KERNEL(sample_choose, cuda_sample_args, CUDA_SAMPLE_BLOCK)
{
    grid_launch_dependents();
    const sample_row r = find_row(args, blockIdx.x);
    grid_wait();
    if (r.slot == CUDA_NO_SLOT)
        return;
    sample_room &room = shared_room();
    const cuda_sample_params &p = *r.params;
    cuda_sampled *out = args.out + blockIdx.x;
    uint64_t own_best, best;
    find_best(room, r, &own_best, &best);
    if (!is_sound(own_best))
        return put_fault(args, r, fault_of(own_best), own_best);
    if (!is_sound(best))
        return put_fault(args, r, check_choice(room, r, args.n_vocab, best), best);
    const sample_field own = own_field(r, own_best);
    double log_sum = 0.0;
    uint32_t n_top = 0;
    if (p.logprobs != 0) {
        uint64_t sum = 0;
        for (uint32_t i = threadIdx.x; i < r.n_chunks; i += CUDA_SAMPLE_BLOCK)
            sum += r.chunks[i].own_sum;
        log_sum = det_log64((double)sum_all(room, sum) * 0x1p-40);
        if (p.n_logprobs > 0)
            n_top = put_top(room, r, own, args.n_vocab, log_sum,
                            args.top + (size_t)blockIdx.x * CUDA_SAMPLE_TOP);
    }
    const uint32_t id = p.temperature == 0.0f ? (uint32_t)best : draw(room, r, best, args.n_vocab);
    if (threadIdx.x != 0)
        return;
    out->fault = CUDA_SAMPLED;
    out->id = id;
    out->logprob =
        p.logprobs == 0 ? 0.0f : (float)(((double)own.z[id] - (double)own.best) - log_sum);
    out->n_top = n_top;
    move_on(args, r, id);
}
