/* The splits of rows whose context was shared among blocks, joined: the same arithmetic as within a
 * block. */
#include "kernels/cuda/attention.cuh"

/* A thread has an element of a head of a row; FOLD_AHEAD partials are fetched at once. */
enum { FOLD_GROUP = 128, FOLD_AHEAD = 16 };

DEVICE void fold_element(const cuda_attention_fold_args &args, const cuda_attention_fold &row,
                         uint32_t head, uint32_t element)
{
    const pair *weights =
        (const pair *)args.partial_weights + (size_t)row.partial * args.n_heads + head;
    const float *sums =
        args.partial_sums + ((size_t)row.partial * args.n_heads + head) * args.head_dim + element;
    gathered all = nothing();
    float sum = 0.0f;
    for (uint32_t first = 0; first < row.n_partials; first += FOLD_AHEAD) {
        gathered own[FOLD_AHEAD];
        float own_sum[FOLD_AHEAD];
        UNROLL
        for (uint32_t i = 0; i < FOLD_AHEAD; i++) {
            own[i] = nothing();
            own_sum[i] = 0.0f;
            if (first + i < row.n_partials) {
                const size_t at = (size_t)(first + i) * args.n_heads;
                const pair w = weights[at];
                own[i] = gathered{w.x, w.y};
                own_sum[i] = sums[at * args.head_dim];
            }
        }
        UNROLL
        for (uint32_t i = 0; i < FOLD_AHEAD; i++)
            sum = fold(fold_in(all, own[i]), sum, own_sum[i]);
    }
    args.out[((size_t)row.row * args.n_heads + head) * args.head_dim + element] =
        narrow(result_of(sum, result_scale(all.l))).bits;
}

KERNEL(attention_fold, cuda_attention_fold_args, CUDA_BLOCK)
{
    const uint32_t n_groups = CUDA_BLOCK / FOLD_GROUP, element = threadIdx.x % FOLD_GROUP;
    const uint32_t first = blockIdx.x * n_groups + threadIdx.x / FOLD_GROUP;
    grid_launch_dependents();
    const uint32_t n = *args.n_folds * args.n_heads;
    if (blockIdx.x * n_groups >= n && blockIdx.x > 0)
        return; /* the first block waits for the launch ahead, so that no launch behind is too early
                 */
    for (uint32_t i = first; i < n; i += gridDim.x * n_groups) {
        const cuda_attention_fold row = args.folds[i / args.n_heads];
        if (i == first)
            grid_wait();
        if (element < args.head_dim)
            fold_element(args, row, i % args.n_heads, element);
    }
    if (first >= n)
        grid_wait();
}
