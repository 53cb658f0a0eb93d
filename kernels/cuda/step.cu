/*
 * What surrounds a step's forward pass: its rows from the slots' state, pages of the cache copied
 * and zeroed, tokens counted for penalties. No arithmetic on numbers of the model.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/ptx.cuh"

namespace
{

enum { STEP_PAGE_TOKENS = 64 };

struct sixteen_bytes {
    uint64_t low, high;
};

} // namespace

KERNEL(prepare_rows, cuda_prepare_args, CUDA_BLOCK)
{
    grid_launch_dependents();
    grid_wait();
    const size_t row = blockIdx.x;
    const cuda_plan_row plan = args.plan[row];
    const bool filler = plan.slot == CUDA_NO_SLOT;
    const bool newest = !filler && plan.token == CUDA_NEWEST;
    const uint32_t token = filler ? 0 : newest ? args.newest[plan.slot] : plan.token;
    const uint32_t position = filler ? 0 : newest ? args.newest_at[plan.slot] : plan.position;
    if (threadIdx.x == 0) {
        args.tokens[row] = token;
        args.positions[row] = position;
    }
    uint32_t *to = args.page_tables + row * args.page_table_len;
    const uint32_t *from = args.slot_tables + (size_t)plan.slot * args.page_table_len;
    for (uint32_t i = threadIdx.x; i <= position / STEP_PAGE_TOKENS; i += CUDA_BLOCK)
        to[i] = filler ? args.spare_page : from[i];
}

KERNEL(zero_pages, cuda_zero_pages_args, CUDA_BLOCK)
{
    uint16_t *page = args.cache + args.pages[blockIdx.y] * args.page_len;
    sixteen_bytes *to = (sixteen_bytes *)page;
    const uint64_t n = args.page_len / 8, step = (uint64_t)gridDim.x * CUDA_BLOCK;
    for (uint64_t i = (uint64_t)blockIdx.x * CUDA_BLOCK + threadIdx.x; i < n; i += step)
        to[i] = sixteen_bytes{0, 0};
}

/* In a page each layer's keys and values of a head are one run of positions. */
KERNEL(copy_pages, cuda_copy_pages_args, CUDA_BLOCK)
{
    const cuda_page_copy copy = args.copies[blockIdx.y];
    const uint32_t n_runs = args.n_layers * 2 * args.n_kv_heads;
    const uint32_t run_len = STEP_PAGE_TOKENS * args.head_dim, n = copy.n_tokens * args.head_dim;
    uint16_t *to = args.cache + (size_t)copy.to * n_runs * run_len;
    const uint16_t *from = args.cache + (size_t)copy.from * n_runs * run_len;
    for (uint32_t run = blockIdx.x; run < n_runs; run += gridDim.x)
        for (uint32_t i = threadIdx.x; i < n; i += CUDA_BLOCK)
            to[(size_t)run * run_len + i] = from[(size_t)run * run_len + i];
}

KERNEL(count_tokens, cuda_count_args, CUDA_BLOCK)
{
    const uint32_t step = gridDim.x * CUDA_BLOCK;
    for (uint32_t i = blockIdx.x * CUDA_BLOCK + threadIdx.x; i < args.n_tokens; i += step) {
        if (args.tokens[i] >= args.n_vocab)
            continue;
        if (i < args.n_prompt)
            atomicOr(&args.counts[args.tokens[i]], CUDA_IN_PROMPT);
        else
            atomicAdd(&args.counts[args.tokens[i]], 1u);
    }
}
