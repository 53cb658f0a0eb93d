/*
 * The operations on rows: embedding, norm, rotary embedding with the write into the cache. Bound by
 * memory, a hundredth of a step each; one block a row or head. Each is the C of kernels/ref with
 * the types and the order of sums that docs/NUMERICS.md gives for this backend.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ptx.cuh"

enum { N_WARPS = CUDA_BLOCK / WARP, PAGE_TOKENS = 64 };

KERNEL(embed_rows, cuda_embed_args, CUDA_BLOCK)
{
    const size_t row = blockIdx.x;
    const bf16 *from = (const bf16 *)args.table + (size_t)args.tokens[row] * args.n_cols;
    float *to = args.x + row * args.n_cols;
    for (uint32_t i = threadIdx.x; i < args.n_cols; i += CUDA_BLOCK)
        to[i] = widen(from[i]);
}

/* 1 / sqrt(mean + eps), each step rounded to nearest: never the hardware's approximation. */
DEVICE float norm_scale(float sum, float n, float eps)
{
    return __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(sum, n) + eps));
}

KERNEL(rmsnorm_rows, cuda_rmsnorm_args, CUDA_BLOCK)
{
    float *scratch = shared_at<float>(0, N_WARPS);
    grid_launch_dependents(); /* a product behind this may fetch its weights */
    const uint32_t row = args.rows != nullptr ? args.rows[blockIdx.x] : blockIdx.x;
    const float *x = args.x + (size_t)row * args.n_cols;
    bf16 *out = (bf16 *)args.out + (size_t)blockIdx.x * args.n_cols;
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.n_cols; i += CUDA_BLOCK)
        sum = fmaf(x[i], x[i], sum);
    const float scale = norm_scale(block_sum(sum, scratch, N_WARPS), (float)args.n_cols, args.eps);
    for (uint32_t i = threadIdx.x; i < args.n_cols; i += CUDA_BLOCK)
        out[i] = narrow((x[i] * scale) * args.weight[i]);
}

/* Where head h's element 0 at a position lies in the cache, keys or values. */
DEVICE bf16 *cache_row(const cuda_rope_write_args &args, uint32_t row, uint32_t head, bool values)
{
    const uint32_t position = args.positions[row];
    const uint32_t page =
        args.page_tables[(size_t)row * args.page_table_len + position / PAGE_TOKENS];
    const size_t block_len = (size_t)args.n_kv_heads * PAGE_TOKENS * args.head_dim;
    const size_t block = ((size_t)page * args.n_layers + args.layer) * 2 + (values ? 1 : 0);
    return (bf16 *)args.cache + block * block_len +
           ((size_t)head * PAGE_TOKENS + position % PAGE_TOKENS) * args.head_dim;
}

/* One head of q or k. Of the elements that are turned thread i holds the pair (i, i + n_turned /
 * 2); the threads behind hold pairs of those that are not, their halves likewise apart. */
DEVICE void turn_head(const cuda_rope_write_args &args, const bf16 *from, bf16 *to,
                      const float *weight, uint32_t row, float *scratch)
{
    const uint32_t half = args.n_turned / 2, i = threadIdx.x;
    const bool active = i < args.head_dim / 2, turned = i < half;
    const uint32_t at = turned ? i : half + i; /* behind the n_turned: 2 half + (i - half) */
    const uint32_t at_b = at + (turned ? half : args.head_dim / 2 - half);
    float a = active ? widen(from[at]) : 0.0f, b = active ? widen(from[at_b]) : 0.0f;
    if (weight != nullptr) { /* the same for all threads */
        const float sum = block_sum(fmaf(b, b, a * a), scratch, N_WARPS);
        const float scale = norm_scale(sum, (float)args.head_dim, args.eps);
        a = active ? (a * scale) * weight[at] : 0.0f;
        b = active ? (b * scale) * weight[at_b] : 0.0f;
    }
    if (!active)
        return;
    const float *angles = args.cos_sin + (size_t)args.positions[row] * 2 * half;
    const float c = turned ? angles[i] : 1.0f, s = turned ? angles[half + i] : 0.0f;
    to[at] = narrow(turned ? a * c - b * s : a);
    to[at_b] = narrow(turned ? b * c + a * s : b);
}

KERNEL(rope_write, cuda_rope_write_args, CUDA_BLOCK)
{
    float *scratch = shared_at<float>(0, N_WARPS);
    const uint32_t row = blockIdx.y, head = blockIdx.x;
    bf16 *q = (bf16 *)args.qkv + (size_t)row * (args.n_heads + 2 * args.n_kv_heads) * args.head_dim;
    if (head < args.n_heads) {
        bf16 *own = q + (size_t)head * args.head_dim;
        turn_head(args, own, own, args.q_norm, row, scratch);
        return;
    }
    const uint32_t kv_head = head - args.n_heads;
    const bf16 *k = q + (size_t)head * args.head_dim;
    const bf16 *v = k + (size_t)args.n_kv_heads * args.head_dim;
    turn_head(args, k, cache_row(args, row, kv_head, false), args.k_norm, row, scratch);
    bf16 *values = cache_row(args, row, kv_head, true);
    for (uint32_t i = threadIdx.x; i < args.head_dim; i += CUDA_BLOCK)
        values[i] = v[i];
}
