/* The splits of rows whose context was shared among blocks, joined: the same arithmetic as within a
 * block. */
#include "kernels/cuda/attention.cuh"

enum { FOLD_ELEMENTS = 128 / WARP };

/* One head of one row: a warp, lane l has every 32nd element from l on. */
DEVICE void fold_head(const cuda_attention_fold_args &args, const cuda_attention_fold &row,
                      uint32_t head)
{
    const uint32_t lane = threadIdx.x % WARP;
    gathered all = nothing();
    float sums[FOLD_ELEMENTS] = {};
    for (uint32_t i = 0; i < row.n_partials; i++) {
        const size_t at = (size_t)(row.partial + i) * args.n_heads + head;
        const pair weights = ((const pair *)args.partial_weights)[at];
        const folding f = fold_in(all, gathered{weights.x, weights.y});
        UNROLL
        for (uint32_t e = 0; e < FOLD_ELEMENTS; e++)
            if (lane + e * WARP < args.head_dim)
                sums[e] = fold(f, sums[e], args.partial_sums[at * args.head_dim + lane + e * WARP]);
    }
    uint16_t *to = args.out + ((size_t)row.row * args.n_heads + head) * args.head_dim;
    const float by = result_scale(all.l);
    UNROLL
    for (uint32_t e = 0; e < FOLD_ELEMENTS; e++)
        if (lane + e * WARP < args.head_dim)
            to[lane + e * WARP] = narrow(result_of(sums[e], by)).bits;
}

KERNEL(attention_fold, cuda_attention_fold_args, CUDA_BLOCK)
{
    const uint32_t n_warps = CUDA_BLOCK / WARP, n = *args.n_folds * args.n_heads;
    for (uint32_t i = blockIdx.x * n_warps + threadIdx.x / WARP; i < n; i += gridDim.x * n_warps)
        fold_head(args, args.folds[i / args.n_heads], i % args.n_heads);
}
