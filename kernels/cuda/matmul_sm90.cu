/*
 * The matrix product of every layer, for any number of rows, on Hopper: the weights are operand A
 * of the tensor cores (64 outputs a warpgroup), the rows are operand B (8 to 256 of them), so one
 * kernel serves one row as well as thousands. A thread of the first warpgroup keeps a ring of tiles
 * filled by the copy engine; two warpgroups multiply, each 64 of the tile's 128 outputs.
 *
 * In a cluster of two, tiles beside each other have the same rows: each block copies every second
 * tile of rows to both, which halves what they fetch. Weights are fetched before the launch ahead
 * has ended. Results of many rows are turned in shared memory and leave by the copy engine.
 *
 * Each output is one chain of steps of 16 along K, ascending, into one accumulator that starts at
 * +0: its bits depend neither on the tile's shape nor on the rows beside it.
 */
#include "kernels/cuda/args.h"
#include "kernels/cuda/matmul_epilogue.cuh"
#include "kernels/cuda/ptx_copies.cuh"
#include "kernels/cuda/ptx_wgmma.cuh"

namespace matmul_sm90
{

enum { GROUP = 128, CONSUMERS = 2, OUT_OF_GROUP = MATMUL_OUT / CONSUMERS, STEP = 16 };
constexpr uint32_t ROWS_IN_TURN = 8; /* tiles down, before the next across */
enum { FIRST_BARRIER = 1 };

/* The ring in shared memory: stages of weights and rows, then two barriers for each. */
template <int n> struct ring {
    static constexpr uint32_t stages = MATMUL_STAGES(n);
    static constexpr uint32_t w_len = MATMUL_OUT * MATMUL_K * 2;
    static constexpr uint32_t stage_len = MATMUL_STAGE_LEN(n);
    uint8_t *tiles;
    /* The stage was filled; every consumer warp of every block that it is copied to is done with
     * it. */
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

/* One tile of the result. */
struct tile {
    uint32_t out, row; /* the first of each */
};

/* The tiles and who takes them: the blocks of a cluster take tiles beside each other, which have
 * the same rows. Few rows: every block is alone. */
template <int n> struct schedule {
    uint32_t blocks, rank;     /* of the cluster */
    uint32_t first, step, end; /* numbers of pieces, each a tile for every block of the cluster */
    uint32_t across, down;

    DEVICE_MEMBER schedule(const cuda_matmul_args &args)
    {
        blocks = MATMUL_CLUSTER(n) > 1 ? cluster_size() : 1;
        rank = MATMUL_CLUSTER(n) > 1 ? cluster_rank() : 0;
        first = blockIdx.x / blocks;
        step = gridDim.x / blocks;
        across = (args.n_out + MATMUL_OUT * blocks - 1) / (MATMUL_OUT * blocks);
        down = (args.n_rows + n - 1) / n;
        end = across * down;
    }

    /* Blocks that run together share weights and rows: a few tiles down, then the next across. */
    DEVICE_MEMBER tile find(uint32_t number) const
    {
        const uint32_t top = number / (ROWS_IN_TURN * across) * ROWS_IN_TURN;
        const uint32_t n_down = down - top < ROWS_IN_TURN ? down - top : ROWS_IN_TURN;
        const uint32_t left = number - top * across;
        return tile{(left / n_down * blocks + rank) * MATMUL_OUT, (top + left % n_down) * n};
    }
};

template <int n>
DEVICE void load_weights(const cuda_matmul_args &args, const ring<n> &r, const tile &t, uint32_t k)
{
    mbarrier_arrive_expect_tx(&r.full[r.stage], ring<n>::stage_len);
    tensor_load_2d(r.weights(), &args.w, (int)k, (int)t.out, &r.full[r.stage]);
}

/* In a cluster, one of its blocks at each step for all. */
template <int n>
DEVICE void load_rows(const cuda_matmul_args &args, const ring<n> &r, const schedule<n> &s,
                      const tile &t, uint32_t k)
{
    if (s.blocks == 1)
        tensor_load_2d(r.rows(), &args.x, (int)k, (int)t.row, &r.full[r.stage]);
    else if (k / MATMUL_K % s.blocks == s.rank)
        tensor_load_2d_multicast(r.rows(), &args.x, (int)k, (int)t.row, &r.full[r.stage],
                                 (uint16_t)((1u << s.blocks) - 1));
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
            load_rows<n>(args, r, s, t, k);
            r.advance();
        }
    }
    grid_launch_dependents();
}

/* A warp is done with a stage, in every block that may copy to it. */
template <int n> DEVICE void release(uint64_t *empty, uint32_t blocks)
{
    const uint32_t lane = threadIdx.x % WARP;
    if (MATMUL_CLUSTER(n) == 1) {
        if (lane == 0)
            mbarrier_arrive(empty);
    } else if (lane < blocks) {
        mbarrier_arrive_remote(empty, lane);
    }
}

/* The products of one tile. A stage is given back when the group after it is under way: then its
 * own is done. */
template <int n>
DEVICE void multiply(const cuda_matmul_args &args, ring<n> &r, uint32_t blocks,
                     accumulators<n> &sum)
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
        if (before != nullptr)
            release<n>(before, blocks);
        before = &r.empty[r.stage];
        r.advance();
    }
    wgmma_wait<0>();
    release<n>(before, blocks);
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

/* Where results of many rows are turned: two buffers a warpgroup, MATMUL_STAGED_ROWS rows of its
 * outputs each. */
template <epilogue what> struct staging {
    static constexpr uint32_t n_out = what == SILU ? OUT_OF_GROUP / 2 : OUT_OF_GROUP;
    static constexpr uint32_t pitch = MATMUL_STAGED_PITCH; /* no two rows of eight in one bank */
    uint8_t *buffer;
    uint32_t group;
};

template <int n, epilogue what> DEVICE staging<what> find_staging(uint32_t chunk)
{
    constexpr uint32_t len = MATMUL_STAGED_ROWS * MATMUL_STAGED_PITCH;
    const uint32_t group = threadIdx.x / GROUP - 1;
    const uint32_t at = ring<n>::stages * (ring<n>::stage_len + 16) + (group * 2 + chunk % 2) * len;
    return staging<what>{shared_at<uint8_t>(at, len), group};
}

/* Rows of this chunk, of the warp's 16 outputs (or 8, of gate and up), as rows of memory. */
template <int n, epilogue what>
DEVICE void turn_chunk(const staging<what> &to, const accumulators<n> &sum, int chunk, float bias,
                       float bias8)
{
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x % GROUP / WARP;
    uint32_t parts[4];
    UNROLL
    for (int half = 0; half < (what == SILU ? 1 : 2); half++) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            const int at =
                chunk * MATMUL_STAGED_ROWS / 2 + (what == SILU ? i * 4 : half * 8 + i / 2 * 4);
            const float a = sum.d[at] + bias, b = sum.d[at + 1] + bias;
            const float a8 = sum.d[at + 2] + bias8, b8 = sum.d[at + 3] + bias8;
            if (what == SILU)
                parts[i] = narrow_pair(silu_mul(a, a8), silu_mul(b, b8));
            else
                parts[i] = i % 2 == 0 ? narrow_pair(a, b) : narrow_pair(a8, b8);
        }
        const uint32_t row = what == SILU ? lane : (uint32_t)half * 16 + lane / 16 * 8 + lane % 8;
        const uint32_t col = what == SILU ? warp * 8 : warp * 16 + lane / 8 % 2 * 8;
        stmatrix_x4_turned(to.buffer + row * to.pitch + col * 2, parts);
    }
}

/* One warp: a row a lane. */
template <epilogue what>
DEVICE void send_chunk(const cuda_matmul_args &args, const staging<what> &from, const tile &t,
                       uint32_t chunk)
{
    const uint32_t lane = threadIdx.x % WARP, row = t.row + chunk * MATMUL_STAGED_ROWS + lane;
    const uint32_t n_out = what == SILU ? args.n_out / 2 : args.n_out;
    const uint32_t out = (what == SILU ? t.out / 2 : t.out) + from.group * from.n_out;
    if (row < args.n_rows && out < n_out)
        bulk_store(args.y + (size_t)row * n_out + out, from.buffer + lane * from.pitch,
                   2 * (n_out - out < from.n_out ? n_out - out : from.n_out));
    bulk_commit();
}

/* A buffer is written again two chunks later: the barrier between says that its stores have read
 * it. */
template <int n, epilogue what>
DEVICE void stage_tile(const cuda_matmul_args &args, const tile &t, const accumulators<n> &sum)
{
    const uint32_t thread = threadIdx.x % GROUP, group = threadIdx.x / GROUP - 1;
    const uint32_t out = t.out + group * OUT_OF_GROUP + thread / WARP * 16 + thread % WARP / 4;
    const float bias = bias_of(args, out), bias8 = bias_of(args, out + 8);
    UNROLL
    for (int chunk = 0; chunk < n / MATMUL_STAGED_ROWS; chunk++) {
        const staging<what> to = find_staging<n, what>((uint32_t)chunk);
        turn_chunk<n, what>(to, sum, chunk, bias, bias8);
        fence_proxy_async();
        if (thread < WARP)
            bulk_wait_read<0>();
        barrier_sync(FIRST_BARRIER + group, GROUP);
        if (thread < WARP)
            send_chunk<what>(args, to, t, (uint32_t)chunk);
    }
}

template <int n, epilogue what> DEVICE void consume(const cuda_matmul_args &args, ring<n> r)
{
    constexpr bool staged = MATMUL_STAGED_LEN(n) > 0 && (what == STORE || what == SILU);
    const schedule<n> s(args);
    grid_wait(); /* before anything is written that the launch ahead may read */
    for (uint32_t number = s.first; number < s.end; number += s.step) {
        accumulators<n> sum;
        multiply<n>(args, r, s.blocks, sum);
        if constexpr (staged)
            stage_tile<n, what>(args, s.find(number), sum);
        else
            write_tile<n, what>(args, s.find(number), sum);
    }
    if (staged && threadIdx.x % GROUP < WARP)
        bulk_wait_read<0>();
}

/* Nothing may come to a block's barriers before they are made, or when it has ended. */
template <int n> DEVICE void join_cluster()
{
    if (MATMUL_CLUSTER(n) > 1) {
        cluster_arrive();
        cluster_wait();
    }
}

template <int n, epilogue what> DEVICE void matmul(const cuda_matmul_args &args)
{
    const uint32_t blocks = MATMUL_CLUSTER(n) > 1 ? cluster_size() : 1;
    ring<n> r;
    r.bind();
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < ring<n>::stages; i++) {
            mbarrier_init(&r.full[i], 1);
            mbarrier_init(&r.empty[i], blocks * CONSUMERS * GROUP / WARP);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
    join_cluster<n>();
    if (threadIdx.x < GROUP) {
        registers_release<40>();
        if (threadIdx.x == 0)
            fill<n>(args, r);
    } else {
        registers_take<232>();
        consume<n, what>(args, r);
    }
    join_cluster<n>();
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
MATMUL_KERNELS(8)
MATMUL_KERNELS(16)
MATMUL_KERNELS(32)
MATMUL_KERNELS(64)
MATMUL_KERNELS(128)
MATMUL_KERNELS(256)
#endif
