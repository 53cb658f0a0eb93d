/*
 * Sampling, the passes over all rows in chunks: step 1 and the best of each chunk (sample_scan),
 * then weights, their sums, and how they spread (sample_weigh), so that what is left to one block a
 * row (sample_choose) looks at few of its ids. docs/NUMERICS.md, "Sampling".
 */
#include "kernels/cuda/sample.cuh"

namespace
{

/* Step 1, penalties. */
DEVICE float penalised(const cuda_sample_params &p, float z, uint32_t count)
{
    if (count == 0)
        return z;
    if (p.repetition_penalty != 1.0f)
        z = z > 0.0f ? __fdiv_rn(z, p.repetition_penalty) : z * p.repetition_penalty;
    const uint32_t n_answer = count & ~CUDA_IN_PROMPT;
    return n_answer > 0 ? (z - p.frequency_penalty * (float)n_answer) - p.presence_penalty : z;
}

/* Step 1 of a chunk, into the room. Each part is whole before the next begins: an id may
 * have a bias from one thread and its ban from another. */
DEVICE void adjust(sample_room &room, const sample_row &r, id_range ids)
{
    const cuda_sample_params &p = *r.params;
    const bool penalties = has_penalties(p);
    for (uint32_t i = ids.first + threadIdx.x; i < ids.end; i += CUDA_SAMPLE_BLOCK)
        room.z[i - ids.first] = penalties ? penalised(p, r.logits[i], p.counts[i]) : r.logits[i];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < p.n_biases; i += CUDA_SAMPLE_BLOCK) {
        const cuda_token_float bias = p.biases[i];
        if (bias.id >= ids.first && bias.id < ids.end)
            room.z[bias.id - ids.first] = room.z[bias.id - ids.first] + bias.value;
    }
    __syncthreads();
    const uint32_t n_banned = bans_ends(p, r.position) ? p.n_end_ids : 0;
    for (uint32_t i = threadIdx.x; i < n_banned; i += CUDA_SAMPLE_BLOCK)
        if (p.end_ids[i] >= ids.first && p.end_ids[i] < ids.end)
            room.z[p.end_ids[i] - ids.first] = -SAMPLE_INFINITY;
    __syncthreads();
}

/* The chunk's z; the first of the thread's own ids in rank order. */
DEVICE uint64_t scan_z(sample_room &room, const sample_row &r, id_range ids, float *z)
{
    const uint32_t *allowed = r.params->allowed;
    uint64_t best = UINT64_MAX;
    adjust(room, r, ids);
    for (uint32_t i = ids.first + threadIdx.x; i < ids.end; i += CUDA_SAMPLE_BLOCK) {
        const bool may = allowed == nullptr || (allowed[i / 32] >> i % 32 & 1) != 0;
        z[i] = may ? room.z[i - ids.first] : -SAMPLE_INFINITY;
        const uint64_t key = rank_of(z[i], i);
        best = key < best ? key : best;
    }
    return best;
}

/* Where a block's chunks' sums go. */
enum sums { OF_OWN, OF_Z };

/* Sums the weights of each of the block's chunks; into the row's bins where there are any. */
template <sums which>
DEVICE void weigh_chunks(sample_room &room, const sample_row &r, const sample_field &f,
                         uint32_t n_vocab, sample_bins *bins)
{
    if (bins != nullptr)
        clear_bins(room);
    for (uint32_t c = blockIdx.x; c < r.n_chunks; c += gridDim.x) {
        uint64_t sum = 0;
        for_each_in_chunk(f.z, chunk_range(c, n_vocab), [&](float z, uint32_t) {
            const uint64_t w = weigh(f, z);
            sum += w;
            if (bins == nullptr || w == 0)
                return;
            add_to(room.bins.weight[bin_of(f, z)], w);
            atomicAdd(&room.bins.count[bin_of(f, z)], 1u);
        });
        sum = sum_all(room, sum);
        if (threadIdx.x == 0)
            (which == OF_OWN ? r.chunks[c].own_sum : r.chunks[c].sum) = sum;
    }
    for (uint32_t i = threadIdx.x; bins != nullptr && i < CUDA_SAMPLE_BINS; i += CUDA_SAMPLE_BLOCK)
        if (room.bins.count[i] > 0) {
            atomic_add(&bins->weight[i], value_of(room.bins.weight[i]));
            atomicAdd(&bins->count[i], room.bins.count[i]);
        }
    __syncthreads();
}

/* Of the model's own distribution alternatives are counted, whatever they weigh. */
DEVICE void count_own(sample_room &room, const sample_row &r, const sample_field &f,
                      uint32_t n_vocab)
{
    clear_bins(room);
    for (uint32_t c = blockIdx.x; c < r.n_chunks; c += gridDim.x)
        for_each_in_chunk(f.z, chunk_range(c, n_vocab), [&](float z, uint32_t) {
            if (is_possible(z))
                atomicAdd(&room.bins.count[bin_of(f, z)], 1u);
        });
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < CUDA_SAMPLE_BINS; i += CUDA_SAMPLE_BLOCK)
        if (room.bins.count[i] > 0)
            atomicAdd(&r.bins->own_count[i], room.bins.count[i]);
    __syncthreads();
}

} // namespace

KERNEL_BESIDE(sample_scan, cuda_sample_args, CUDA_SAMPLE_BLOCK, CUDA_SAMPLE_BESIDE)
{
    grid_launch_dependents();
    const sample_row r = find_row(args, blockIdx.y);
    grid_wait();
    if (r.slot == CUDA_NO_SLOT)
        return;
    sample_room &room = shared_room();
    float *z = args.z + (size_t)blockIdx.y * args.row_len;
    uint64_t own = UINT64_MAX, best = UINT64_MAX;
    for (uint32_t c = blockIdx.x; c < r.n_chunks; c += gridDim.x) {
        const id_range ids = chunk_range(c, args.n_vocab);
        for_each_in_chunk(r.logits, ids, [&](float logit, uint32_t id) {
            const uint64_t key = rank_of(logit, id);
            own = key < own ? key : own;
        });
        const uint64_t key = r.adjusts ? scan_z(room, r, ids, z) : own;
        best = key < best ? key : best;
    }
    own = least_of_all(room, own);
    best = least_of_all(room, best);
    for (uint32_t c = blockIdx.x + threadIdx.x * gridDim.x; c < r.n_chunks;
         c += gridDim.x * CUDA_SAMPLE_BLOCK)
        r.chunks[c] = sample_chunk{own, best, 0, 0};
    for (uint32_t i = threadIdx.x; blockIdx.x == 0 && i < CUDA_SAMPLE_BINS;
         i += CUDA_SAMPLE_BLOCK) {
        r.bins->weight[i] = 0;
        r.bins->count[i] = 0;
        r.bins->own_count[i] = 0;
    }
}

KERNEL_BESIDE(sample_weigh, cuda_sample_args, CUDA_SAMPLE_BLOCK, CUDA_SAMPLE_BESIDE)
{
    grid_launch_dependents();
    const sample_row r = find_row(args, blockIdx.y);
    grid_wait();
    if (r.slot == CUDA_NO_SLOT)
        return;
    const cuda_sample_params &p = *r.params;
    if (p.logprobs == 0 && p.temperature == 0.0f)
        return; /* the best is chosen, whatever the others weigh */
    sample_room &room = shared_room();
    uint64_t own_best, best;
    find_best(room, r, &own_best, &best);
    if (!is_sound(own_best) || !is_sound(best))
        return; /* sample_choose says so */
    if (p.logprobs != 0) {
        const sample_field own = own_field(r, own_best);
        weigh_chunks<OF_OWN>(room, r, own, args.n_vocab, nullptr);
        if (p.n_logprobs > 0)
            count_own(room, r, own, args.n_vocab);
    }
    if (p.temperature != 0.0f) {
        const bool selects = p.top_p < 1.0f || (p.top_k > 0 && p.top_k < args.n_vocab);
        weigh_chunks<OF_Z>(room, r, field_of(r, best), args.n_vocab, selects ? r.bins : nullptr);
    }
}
