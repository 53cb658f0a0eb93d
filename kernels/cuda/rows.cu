/*
 * The operations on rows: embedding, norm, rotary embedding with the write into the cache. Bound by
 * memory, a hundredth of a step each; one block a row or head. Each is the C of kernels/ref with
 * the types and the order of sums that docs/NUMERICS.md gives for this backend.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ptx.cuh"

enum { N_WARPS = CUDA_BLOCK / WARP, PAGE_TOKENS = 64 };

/* Sixteen bytes of a row, and eight. */
struct alignas(16) four {
    float x[4];
};

struct alignas(8) four_narrow {
    bf16 x[4];
};

KERNEL(embed_rows, cuda_embed_args, CUDA_BLOCK)
{
    grid_wait();
    grid_launch_dependents(); /* what prepare_rows wrote is there for all that follow this launch,
                                 before their own grid_wait, too */
    const size_t row = blockIdx.x;
    const four_narrow *from =
        (const four_narrow *)(args.table + (size_t)args.tokens[row] * args.n_cols);
    four *to = (four *)(args.x + row * args.n_cols);
    for (uint32_t i = threadIdx.x; i < args.n_cols / 4; i += CUDA_BLOCK) {
        const four_narrow v = from[i];
        to[i] = four{{widen(v.x[0]), widen(v.x[1]), widen(v.x[2]), widen(v.x[3])}};
    }
}

/* 1 / sqrt(mean + eps), each step rounded to nearest: never the hardware's approximation. */
DEVICE float norm_scale(float sum, float n, float eps)
{
    return __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(sum, n) + eps));
}

/* Four sums of squares, of each place of a four, which do not wait for each other. */
DEVICE void add_squares(four &sums, const four &v)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        sums.x[i] = fmaf(v.x[i], v.x[i], sums.x[i]);
}

DEVICE four_narrow normed(const four &v, float scale, const four &weight)
{
    four_narrow out;
    UNROLL
    for (int i = 0; i < 4; i++)
        out.x[i] = narrow((v.x[i] * scale) * weight.x[i]);
    return out;
}

/* Of a row's fours of elements a thread has every CUDA_BLOCK-th: the first FOURS of them are
 * fetched at once and kept. */
enum { FOURS = 4 };

KERNEL(rmsnorm_rows, cuda_rmsnorm_args, CUDA_BLOCK)
{
    float *scratch = shared_at<float>(0, N_WARPS);
    const uint32_t n = args.n_cols / 4, behind = threadIdx.x + FOURS * CUDA_BLOCK;
    const four *weight = (const four *)args.weight;
    four w[FOURS] = {}, v[FOURS] = {}, sums = {};
    grid_launch_dependents();
    UNROLL
    for (uint32_t i = 0; i < FOURS; i++)
        if (threadIdx.x + i * CUDA_BLOCK < n)
            w[i] = weight[threadIdx.x + i * CUDA_BLOCK];
    const uint32_t row = args.rows != nullptr ? args.rows[blockIdx.x] : blockIdx.x;
    const four *x = (const four *)(args.x + (size_t)row * args.n_cols);
    four_narrow *out = (four_narrow *)(args.out + (size_t)blockIdx.x * args.n_cols);
    grid_wait();
    UNROLL
    for (uint32_t i = 0; i < FOURS; i++)
        if (threadIdx.x + i * CUDA_BLOCK < n)
            v[i] = x[threadIdx.x + i * CUDA_BLOCK];
    UNROLL
    for (uint32_t i = 0; i < FOURS; i++)
        add_squares(sums, v[i]);
    for (uint32_t i = behind; i < n; i += CUDA_BLOCK)
        add_squares(sums, x[i]);
    const float own = (sums.x[0] + sums.x[1]) + (sums.x[2] + sums.x[3]);
    const float scale = norm_scale(block_sum(own, scratch, N_WARPS), (float)args.n_cols, args.eps);
    UNROLL
    for (uint32_t i = 0; i < FOURS; i++)
        if (threadIdx.x + i * CUDA_BLOCK < n)
            out[threadIdx.x + i * CUDA_BLOCK] = normed(v[i], scale, w[i]);
    for (uint32_t i = behind; i < n; i += CUDA_BLOCK)
        out[i] = normed(x[i], scale, weight[i]);
}

/* Where head h's element 0 at a position lies in the cache, keys or values. */
DEVICE bf16 *cache_row(const cuda_rope_write_args &args, uint32_t row, uint32_t position,
                       uint32_t head, bool values)
{
    const uint32_t page =
        args.page_tables[(size_t)row * args.page_table_len + position / PAGE_TOKENS];
    const size_t block_len = (size_t)args.n_kv_heads * PAGE_TOKENS * args.head_dim;
    const size_t block = ((size_t)page * args.n_layers + args.layer) * 2 + (values ? 1 : 0);
    return (bf16 *)args.cache + block * block_len +
           ((size_t)head * PAGE_TOKENS + position % PAGE_TOKENS) * args.head_dim;
}

/* A lane's pairs of a head: of the elements that are turned (i, i + n_turned / 2) for i = lane,
 * lane
 * + 32, ...; behind them pairs of those that are not, their halves likewise apart. */
enum { PAIRS = ROPE_HEAD_MAX / 2 / WARP };

struct head_pair {
    uint32_t i, a, b; /* the pair's number; where its elements are */
    bool active, turned;
};

DEVICE head_pair find_pair(const cuda_rope_write_args &args, uint32_t number)
{
    const uint32_t half = args.n_turned / 2, i = threadIdx.x % WARP + number * WARP;
    const bool turned = i < half;
    const uint32_t a = turned ? i : half + i; /* behind the n_turned: 2 half + (i - half) */
    const uint32_t b = a + (turned ? half : args.head_dim / 2 - half);
    return head_pair{i, a, b, i < args.head_dim / 2, turned};
}

/* Cosines and sines of a lane's pairs; 1 and 0 of those that are not turned. */
struct head_angles {
    float c[PAIRS], s[PAIRS];
};

DEVICE head_angles find_angles(const cuda_rope_write_args &args, uint32_t position)
{
    const uint32_t half = args.n_turned / 2;
    const float *angles = args.cos_sin + (size_t)position * 2 * half;
    head_angles to;
    UNROLL
    for (uint32_t n = 0; n < PAIRS; n++) {
        const head_pair p = find_pair(args, n);
        to.c[n] = p.turned ? angles[p.i] : 1.0f;
        to.s[n] = p.turned ? angles[half + p.i] : 0.0f;
    }
    return to;
}

/* One head of q or k, by a warp. */
DEVICE void turn_head(const cuda_rope_write_args &args, const bf16 *from, bf16 *to,
                      const float *weight, const head_angles &by)
{
    float a[PAIRS], b[PAIRS], sum = 0.0f, scale = 1.0f;
    UNROLL
    for (uint32_t n = 0; n < PAIRS; n++) {
        const head_pair p = find_pair(args, n);
        a[n] = p.active ? widen(from[p.a]) : 0.0f;
        b[n] = p.active ? widen(from[p.b]) : 0.0f;
    }
    UNROLL
    for (uint32_t n = 0; n < PAIRS; n++)
        sum = fmaf(b[n], b[n], fmaf(a[n], a[n], sum));
    if (weight != nullptr)
        scale = norm_scale(warp_sum(sum), (float)args.head_dim, args.eps);
    UNROLL
    for (uint32_t n = 0; n < PAIRS; n++) {
        const head_pair p = find_pair(args, n);
        if (!p.active)
            continue;
        if (weight != nullptr) {
            a[n] = (a[n] * scale) * weight[p.a];
            b[n] = (b[n] * scale) * weight[p.b];
        }
        to[p.a] = narrow(p.turned ? a[n] * by.c[n] - b[n] * by.s[n] : a[n]);
        to[p.b] = narrow(p.turned ? b[n] * by.c[n] + a[n] * by.s[n] : b[n]);
    }
}

/* A warp has a head of a row: of q, k or v. */
KERNEL(rope_write, cuda_rope_write_args, CUDA_BLOCK)
{
    grid_launch_dependents();
    const uint32_t row = blockIdx.y, head = blockIdx.x * N_WARPS + threadIdx.x / WARP;
    const uint32_t first_k = args.n_heads, first_v = args.n_heads + args.n_kv_heads;
    const uint32_t n_heads = first_v + args.n_kv_heads;
    if (head >= n_heads)
        return;
    const uint32_t position = args.positions[row];
    const head_angles by = find_angles(args, position);
    bf16 *own = (bf16 *)args.qkv + ((size_t)row * n_heads + head) * args.head_dim, *to = own;
    if (head >= first_k)
        to = cache_row(args, row, position, head - (head < first_v ? first_k : first_v),
                       head >= first_v);
    grid_wait();
    if (head < first_v)
        turn_head(args, own, to, head < first_k ? args.q_norm : args.k_norm, by);
    else
        for (uint32_t i = threadIdx.x % WARP; i < args.head_dim; i += WARP)
            to[i] = own[i];
}
