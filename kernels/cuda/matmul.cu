/*
 * The matrix product of every layer, for any number of rows, on Hopper: the weights are operand A
 * of the tensor cores (64 outputs a warpgroup), the rows are operand B (8 to 256 of them), so one
 * kernel serves one row as well as thousands. A warp of the first warpgroup keeps a ring of tiles
 * filled by the copy engine; two warpgroups multiply, each 64 of the tile's 128 outputs.
 *
 * Each output is one chain of steps of 16 along K, ascending, into one accumulator that starts at
 * +0: its bits depend neither on the tile's shape nor on the rows beside it.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/det.h"

namespace
{

enum { GROUP = 128, CONSUMERS = 2, OUT_OF_GROUP = MATMUL_OUT / CONSUMERS, STEP = 16 };

/* The ring in shared memory: stages of weights and rows, then two barriers for each. */
template <int n> struct ring {
    static constexpr uint32_t stages = MATMUL_STAGES(n);
    static constexpr uint32_t w_len = MATMUL_OUT * MATMUL_K * 2;
    static constexpr uint32_t stage_len = MATMUL_STAGE_LEN(n);
    uint8_t *tiles;
    uint64_t *full, *empty; /* the stage was filled; every consumer warp is done with it */
    uint32_t stage = 0, parity = 0;

    DEVICE_MEMBER void bind()
    {
        tiles = shared_at<uint8_t>(0, stages * stage_len);
        full = shared_at<uint64_t>(stages * stage_len, 2 * stages);
        empty = full + stages;
    }

    DEVICE_MEMBER uint8_t *weights() const
    {
        return tiles + stage * stage_len;
    }

    DEVICE_MEMBER uint8_t *rows() const
    {
        return weights() + w_len;
    }

    DEVICE_MEMBER void advance()
    {
        stage = stage + 1 == stages ? 0 : stage + 1;
        parity ^= stage == 0 ? 1 : 0;
    }
};

/* One tile of the result. Outputs run fastest: blocks that run together share their rows of x. */
struct tile {
    uint32_t out, row; /* the first of each */
};

template <int n> DEVICE uint32_t count_tiles(const cuda_matmul_args &args)
{
    return (args.n_out + MATMUL_OUT - 1) / MATMUL_OUT * ((args.n_rows + n - 1) / n);
}

template <int n> DEVICE tile find_tile(const cuda_matmul_args &args, uint32_t number)
{
    const uint32_t across = (args.n_out + MATMUL_OUT - 1) / MATMUL_OUT;
    return tile{number % across * MATMUL_OUT, number / across * n};
}

/* One thread: what is beyond the matrices' ends comes as zeros, and its bytes count all the same.
 */
template <int n> DEVICE void fill(const cuda_matmul_args &args, ring<n> r)
{
    const uint32_t n_tiles = count_tiles<n>(args);
    tensor_map_prefetch(&args.w);
    tensor_map_prefetch(&args.x);
    for (uint32_t number = blockIdx.x; number < n_tiles; number += gridDim.x) {
        const tile t = find_tile<n>(args, number);
        for (uint32_t k = 0; k < args.n_cols; k += MATMUL_K) {
            mbarrier_wait_parity(&r.empty[r.stage], r.parity ^ 1); /* at first, at once */
            mbarrier_arrive_expect_tx(&r.full[r.stage], ring<n>::stage_len);
            tensor_load_2d(r.weights(), &args.w, (int)k, (int)t.out, &r.full[r.stage]);
            tensor_load_2d(r.rows(), &args.x, (int)k, (int)t.row, &r.full[r.stage]);
            r.advance();
        }
    }
}

/* The products of one tile. A stage is given back when the group after it is under way: then its
 * own is done. */
template <int n>
DEVICE void multiply(const cuda_matmul_args &args, ring<n> &r, accumulators<n> &sum)
{
    const uint32_t group = threadIdx.x / GROUP - 1;
    uint64_t *before = nullptr;
    for (uint32_t k = 0; k < args.n_cols; k += MATMUL_K) {
        mbarrier_wait_parity(&r.full[r.stage], r.parity);
        const uint32_t w = shared_address(r.weights()) + group * OUT_OF_GROUP * MATMUL_K * 2;
        const uint32_t x = shared_address(r.rows());
        wgmma_fence();
        for (uint32_t step = 0; step < MATMUL_K; step += STEP)
            wgmma(sum, wgmma_operand(w + 2 * step), wgmma_operand(x + 2 * step),
                  k == 0 && step == 0);
        wgmma_commit();
        wgmma_wait<1>();
        if (before != nullptr && threadIdx.x % WARP == 0)
            mbarrier_arrive(before);
        before = &r.empty[r.stage];
        r.advance();
    }
    wgmma_wait<0>();
    if (threadIdx.x % WARP == 0)
        mbarrier_arrive(before);
}

enum epilogue { STORE, ADD, SILU, LOGITS };

/* g / (1 + exp(-g)) * u, left to right. */
DEVICE float silu_mul(float g, float u)
{
    return __fdiv_rn(g, 1.0f + det_exp(-g)) * u;
}

/* The sums of outputs `out` and out + 8 for one row. */
template <epilogue what>
DEVICE void put(const cuda_matmul_args &args, uint32_t row, uint32_t out, float first, float second)
{
    if (row >= args.n_rows)
        return;
    const size_t at = (size_t)row * args.n_out + out;
    if (what == SILU) {
        const size_t half = (size_t)row * (args.n_out / 2) + out / 16 * 8 + out % 8;
        if (out < args.n_out)
            ((bf16 *)args.y)[half] = narrow(silu_mul(first, second));
    } else if (what == ADD) {
        if (out < args.n_out)
            args.sum_into[at] = args.sum_into[at] + first;
        if (out + 8 < args.n_out)
            args.sum_into[at + 8] = args.sum_into[at + 8] + second;
    } else if (what == LOGITS) {
        if (out < args.n_out)
            args.sum_into[at] = first;
        if (out + 8 < args.n_out)
            args.sum_into[at + 8] = second;
    } else {
        if (out < args.n_out)
            ((bf16 *)args.y)[at] = narrow(first);
        if (out + 8 < args.n_out)
            ((bf16 *)args.y)[at + 8] = narrow(second);
    }
}

/* +0 where there is none: that changes no sum, since none is -0. */
DEVICE float bias_of(const cuda_matmul_args &args, uint32_t out)
{
    return args.bias != nullptr && out < args.n_out ? args.bias[out] : 0.0f;
}

template <int n, epilogue what>
DEVICE void write_tile(const cuda_matmul_args &args, const tile &t, const accumulators<n> &sum)
{
    const uint32_t thread = threadIdx.x % GROUP, group = threadIdx.x / GROUP - 1;
    const uint32_t out = t.out + group * OUT_OF_GROUP + thread / WARP * 16 + thread % WARP / 4;
    const uint32_t row = t.row + thread % 4 * 2;
    const float bias = bias_of(args, out), bias8 = bias_of(args, out + 8);
    UNROLL
    for (int i = 0; i < n / 2; i += 4) {
        const uint32_t r = row + (uint32_t)i * 2;
        put<what>(args, r, out, sum.d[i] + bias, sum.d[i + 2] + bias8);
        put<what>(args, r + 1, out, sum.d[i + 1] + bias, sum.d[i + 3] + bias8);
    }
}

template <int n, epilogue what> DEVICE void consume(const cuda_matmul_args &args, ring<n> r)
{
    const uint32_t n_tiles = count_tiles<n>(args);
    for (uint32_t number = blockIdx.x; number < n_tiles; number += gridDim.x) {
        accumulators<n> sum;
        multiply<n>(args, r, sum);
        write_tile<n, what>(args, find_tile<n>(args, number), sum);
    }
}

template <int n, epilogue what> DEVICE void matmul(const cuda_matmul_args &args)
{
    ring<n> r;
    r.bind();
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < ring<n>::stages; i++) {
            mbarrier_init(&r.full[i], 1);
            mbarrier_init(&r.empty[i], CONSUMERS * GROUP / WARP);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        registers_release<40>();
        if (threadIdx.x == 0)
            fill<n>(args, r);
    } else {
        registers_take<232>();
        consume<n, what>(args, r);
    }
}

} // namespace

#define MATMUL_KERNELS(n)                                                                          \
    KERNEL(matmul_store_##n, cuda_matmul_args, MATMUL_BLOCK)                                       \
    {                                                                                              \
        matmul<n, STORE>(args);                                                                    \
    }                                                                                              \
    KERNEL(matmul_add_##n, cuda_matmul_args, MATMUL_BLOCK)                                         \
    {                                                                                              \
        matmul<n, ADD>(args);                                                                      \
    }                                                                                              \
    KERNEL(matmul_silu_##n, cuda_matmul_args, MATMUL_BLOCK)                                        \
    {                                                                                              \
        matmul<n, SILU>(args);                                                                     \
    }                                                                                              \
    KERNEL(matmul_logits_##n, cuda_matmul_args, MATMUL_BLOCK)                                      \
    {                                                                                              \
        matmul<n, LOGITS>(args);                                                                   \
    }

/* Only chips with these instructions have these kernels. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
MATMUL_KERNELS(8)
MATMUL_KERNELS(16)
MATMUL_KERNELS(32)
MATMUL_KERNELS(64)
MATMUL_KERNELS(128)
MATMUL_KERNELS(256)
#endif
