/*
 * The matrix product of every layer, for more rows than matmul_few_sm90.cu has tiles for, on
 * Hopper: the weights are operand A of the tensor cores (64 outputs a warpgroup), the rows are
 * operand B (64 to 256 of them). A thread of the first warpgroup keeps a ring of tiles filled by
 * the copy engine; two warpgroups multiply, each 64 of the tile's 128 outputs.
 *
 * Weights are fetched before the launch ahead has ended. Results of many rows are turned in shared
 * memory (matmul_turn_sm90.cuh). There are no clusters: copies for two blocks at once were measured
 * to be no faster, and slower for tiles of 64 and 128 rows.
 *
 * Each output is one chain of steps of 16 along K, ascending, into one accumulator that starts at
 * +0: its bits depend neither on the tile's shape nor on the rows beside it.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/matmul_turn_sm90.cuh"
#include "kernels/cuda/ptx_copies.cuh"
#include "kernels/cuda/ptx_wgmma.cuh"

namespace matmul_sm90
{

enum { CONSUMERS = MATMUL_OUT / OUT_OF_GROUP, STEP = 16 };
constexpr uint32_t ROWS_IN_TURN = 8; /* tiles down, before the next across */

/* The ring in shared memory: stages of weights and rows, then two barriers for each. */
template <int n> struct ring {
    static constexpr uint32_t stages = MATMUL_STAGES(n);
    static constexpr uint32_t w_len = MATMUL_OUT * MATMUL_K * 2;
    static constexpr uint32_t stage_len = MATMUL_STAGE_LEN(n);
    uint8_t *tiles;
    /* The stage was filled; every consumer warp is done with it. */
    uint64_t *full, *empty;
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

/* The tiles: a block takes every step-th. */
template <int n> struct schedule {
    uint32_t first, step, end;
    uint32_t across, down;

    DEVICE_MEMBER schedule(const cuda_matmul_args &args)
    {
        first = blockIdx.x;
        step = gridDim.x;
        across = (args.n_out + MATMUL_OUT - 1) / MATMUL_OUT;
        down = (args.n_rows + n - 1) / n;
        end = across * down;
    }

    /* Blocks that run together share weights and rows: a few tiles down, then the next across. */
    DEVICE_MEMBER tile find(uint32_t number) const
    {
        const uint32_t top = number / (ROWS_IN_TURN * across) * ROWS_IN_TURN;
        const uint32_t n_down = down - top < ROWS_IN_TURN ? down - top : ROWS_IN_TURN;
        const uint32_t left = number - top * across;
        return tile{left / n_down * MATMUL_OUT, (top + left % n_down) * n};
    }
};

template <int n>
DEVICE void load_weights(const cuda_matmul_args &args, const ring<n> &r, const tile &t, uint32_t k)
{
    mbarrier_arrive_expect_tx(&r.full[r.stage], ring<n>::stage_len);
    tensor_load_2d(r.weights(), &args.w, (int)k, (int)t.out, &r.full[r.stage]);
}

/* The weights of the first stages, which no launch writes. How many columns they are. */
template <int n>
DEVICE uint32_t load_first_weights(const cuda_matmul_args &args, ring<n> r, const schedule<n> &s)
{
    uint32_t k = 0;
    for (; s.first < s.end && k < args.n_cols && k < ring<n>::stages * MATMUL_K; k += MATMUL_K) {
        load_weights<n>(args, r, s.find(s.first), k);
        r.advance();
    }
    return k;
}

/* One thread: what is beyond the matrices' ends comes as zeros, and its bytes count all the same.
 */
template <int n> DEVICE void fill(const cuda_matmul_args &args, ring<n> r)
{
    const schedule<n> s(args);
    tensor_map_prefetch(&args.w);
    tensor_map_prefetch(&args.x);
    const uint32_t n_loaded = load_first_weights<n>(args, r, s);
    grid_wait(); /* what follows reads the rows that the launch ahead wrote */
    for (uint32_t number = s.first; number < s.end; number += s.step) {
        const tile t = s.find(number);
        for (uint32_t k = 0; k < args.n_cols; k += MATMUL_K) {
            if (number != s.first || k >= n_loaded) {
                mbarrier_wait_parity(&r.empty[r.stage], r.parity ^ 1);
                load_weights<n>(args, r, t, k);
            }
            tensor_load_2d(r.rows(), &args.x, (int)k, (int)t.row, &r.full[r.stage]);
            r.advance();
        }
    }
    grid_launch_dependents();
}

/* A warp is done with a stage. */
DEVICE void release(uint64_t *empty)
{
    if (threadIdx.x % WARP == 0)
        mbarrier_arrive(empty);
}

/* The products of one tile. A stage is given back when the group after it is under way: then its
 * own is done. What the operands' descriptors are made of is the same in a whole warp, and the
 * compiler is told so: it then keeps them in uniform registers. */
template <int n>
DEVICE void multiply(const cuda_matmul_args &args, ring<n> &r, accumulators<n> &sum)
{
    const uint32_t group = __shfl_sync(ALL_LANES, threadIdx.x / GROUP, 0) - 1;
    const uint64_t first = wgmma_operand(shared_address(r.tiles));
    const uint64_t of_group = operand_apart(group * OUT_OF_GROUP * MATMUL_K * 2);
    uint32_t before = ring<n>::stages; /* none */
    for (uint32_t k = 0; k < args.n_cols; k += MATMUL_K) {
        mbarrier_wait_parity(&r.full[r.stage], r.parity);
        const uint64_t w = first + operand_apart(r.stage * ring<n>::stage_len) + of_group;
        const uint64_t x = first + operand_apart(r.stage * ring<n>::stage_len + ring<n>::w_len);
        wgmma_fence();
        for (uint32_t step = 0; step < MATMUL_K; step += STEP)
            wgmma(sum, w + operand_apart(2 * step), x + operand_apart(2 * step),
                  k == 0 && step == 0);
        wgmma_commit();
        wgmma_wait<1>();
        if (before != ring<n>::stages)
            release(&r.empty[before]);
        before = r.stage;
        r.advance();
    }
    wgmma_wait<0>();
    release(&r.empty[before]);
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
    constexpr bool turns = MATMUL_TURNS(n) && what != LOGITS;
    uint8_t *buffers = shared_at<uint8_t>(ring<n>::stages * (ring<n>::stage_len + 16),
                                          turns ? 4 * MATMUL_TURNED_LEN : 0);
    const schedule<n> s(args);
    grid_wait(); /* before anything is written that the launch ahead may read */
    uint32_t turn = 0;
    for (uint32_t number = s.first; number < s.end; number += s.step) {
        accumulators<n> sum;
        multiply<n>(args, r, sum);
        if constexpr (turns)
            turn_tile<n, what>(args, s.find(number), sum, buffers, turn++);
        else
            write_tile<n, what>(args, s.find(number), sum);
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

} // namespace matmul_sm90

#define MATMUL_KERNELS(n)                                                                          \
    KERNEL(matmul_store_##n, cuda_matmul_args, MATMUL_BLOCK)                                       \
    {                                                                                              \
        matmul_sm90::matmul<n, STORE>(args);                                                       \
    }                                                                                              \
    KERNEL(matmul_add_##n, cuda_matmul_args, MATMUL_BLOCK)                                         \
    {                                                                                              \
        matmul_sm90::matmul<n, ADD>(args);                                                         \
    }                                                                                              \
    KERNEL(matmul_silu_##n, cuda_matmul_args, MATMUL_BLOCK)                                        \
    {                                                                                              \
        matmul_sm90::matmul<n, SILU>(args);                                                        \
    }                                                                                              \
    KERNEL(matmul_logits_##n, cuda_matmul_args, MATMUL_BLOCK)                                      \
    {                                                                                              \
        matmul_sm90::matmul<n, LOGITS>(args);                                                      \
    }

/* Only chips with these instructions have these kernels. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
MATMUL_KERNELS(64)
MATMUL_KERNELS(96)
MATMUL_KERNELS(128)
MATMUL_KERNELS(256)
#endif
