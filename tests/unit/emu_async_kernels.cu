/* Kernels for the test of what a block does beside its threads: right ones, and each with one fault
 * that the emulator must find. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ptx_copies.cuh"
#include "kernels/cuda/ptx_warp.cuh"
#include "kernels/cuda/ptx_wgmma.cuh"
#include "tests/unit/emu_async_kernels.h"

namespace
{

enum fault {
    NONE,
    NO_FENCE,
    FENCE_OF_ONE,
    NO_BARRIER,
    NO_READ_WAIT,
    NO_LAST_WAIT,
    READ_WAIT_ALONE,
    NO_FIRST_BARRIER,
    NO_INIT_FENCE,
    NO_LAST_BARRIER,
    OWN_ALONE,
    NARROW_MASK,
    NO_GRID_WAIT,
    WRITES_EARLY,
};

DEVICE uint16_t *element(uint8_t *tile, uint32_t i)
{
    const uint32_t offset = i * 2;
    return (uint16_t *)(tile + (offset ^ (offset >> 7 & 7) << 4));
}

DEVICE uint64_t *barriers()
{
    return shared_at<uint64_t>(2 * TILE_LEN, 2);
}

/* Element i of round r is r * 4096 + i: written by threads, stored by one of them. */
DEVICE void write_tile(uint8_t *tile, uint32_t round)
{
    for (uint32_t i = threadIdx.x; i < TILE_ROWS * TILE_COLS; i += ASYNC_THREADS)
        *element(tile, i) = (uint16_t)(round * 4096 + i);
}

template <fault which> DEVICE void store_tiles(const emu_async_args &args)
{
    uint8_t *tile = shared_at<uint8_t>(0, TILE_LEN);
    if (threadIdx.x == 0) {
        mbarrier_init(barriers(), 1);
        fence_mbarrier_init();
    }
    for (uint32_t round = 0; round < 2; round++) {
        if (threadIdx.x == 0 && which != NO_READ_WAIT)
            bulk_wait_read<0>();
        __syncthreads();
        write_tile(tile, round);
        if (which != NO_FENCE && which != FENCE_OF_ONE)
            fence_proxy_async();
        if (which != NO_BARRIER)
            __syncthreads();
        if (threadIdx.x == 0) {
            if (which == FENCE_OF_ONE)
                fence_proxy_async();
            tensor_store_2d(&args.map, 0, (int)(round * TILE_ROWS), tile);
            bulk_commit();
        }
    }
    if (threadIdx.x == 0 && which != NO_LAST_WAIT)
        bulk_wait_read<0>();
}

/* One row by bytes, then read back by the thread that stored it: out[64 + i] = out[i] = i. */
template <fault which> DEVICE void store_and_read(const emu_async_args &args)
{
    uint16_t *row = shared_at<uint16_t>(0, TILE_COLS);
    if (threadIdx.x != 0)
        return;
    for (uint32_t i = 0; i < TILE_COLS; i++)
        row[i] = (uint16_t)i;
    fence_proxy_async();
    bulk_store(args.out, row, TILE_COLS * 2);
    bulk_commit();
    bulk_wait_read<0>();
    if (which != READ_WAIT_ALONE)
        bulk_wait<0>();
    for (uint32_t i = 0; i < TILE_COLS; i++)
        args.out[TILE_COLS + i] = args.out[i];
}

/* A tile is copied to where threads have stored. */
template <fault which> DEVICE void load_over(const emu_async_args &args)
{
    uint8_t *tile = shared_at<uint8_t>(0, TILE_LEN);
    if (threadIdx.x == 0) {
        mbarrier_init(barriers(), 1);
        fence_mbarrier_init();
    }
    write_tile(tile, 0);
    if (which != NO_FENCE)
        fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(barriers(), TILE_LEN);
        tensor_load_2d(tile, &args.map, 0, 0, barriers());
    }
    mbarrier_wait_parity(barriers(), 0);
    for (uint32_t i = threadIdx.x; i < TILE_ROWS * TILE_COLS; i += ASYNC_THREADS)
        args.out[i] = *element(tile, i);
}

/* Each of two blocks copies half of every tile to both: out (2, PAIR_ROUNDS, a tile). */
template <fault which> DEVICE void share(const emu_async_args &args, uint8_t *tile)
{
    uint64_t *full = barriers(), *empty = full + 1;
    const uint32_t rank = cluster_rank();
    for (uint32_t round = 0; round < PAIR_ROUNDS; round++) {
        if (threadIdx.x == 0) {
            mbarrier_wait_parity(empty, (round & 1) ^ 1);
            mbarrier_arrive_expect_tx(full, TILE_LEN);
            const uint16_t blocks = which == NARROW_MASK ? (uint16_t)(1u << rank) : 3;
            tensor_load_2d_multicast(tile + rank * (TILE_LEN / 2), &args.map, 0,
                                     (int)(round * TILE_ROWS + rank * (TILE_ROWS / 2)), full,
                                     blocks);
        }
        mbarrier_wait_parity(full, round & 1);
        uint16_t *to = args.out + (rank * PAIR_ROUNDS + round) * TILE_ROWS * TILE_COLS;
        for (uint32_t i = threadIdx.x; i < TILE_ROWS * TILE_COLS; i += ASYNC_THREADS)
            to[i] = *element(tile, i);
        __syncthreads();
        if (threadIdx.x < 2)
            mbarrier_arrive_remote(empty, which == OWN_ALONE ? rank : threadIdx.x);
    }
}

template <fault which> DEVICE void pair(const emu_async_args &args)
{
    uint8_t *tile = shared_at<uint8_t>(0, TILE_LEN);
    if (threadIdx.x == 0) {
        mbarrier_init(barriers(), 1);
        mbarrier_init(barriers() + 1, 2);
        if (which != NO_INIT_FENCE)
            fence_mbarrier_init();
    }
    if (which == NO_FIRST_BARRIER)
        __syncthreads();
    if (which != NO_FIRST_BARRIER) {
        cluster_arrive();
        cluster_wait();
    }
    share<which>(args, tile);
    if (which != NO_LAST_BARRIER) {
        cluster_arrive();
        cluster_wait();
    }
}

/* out[i] = in[i] + 1, of launches that overlap. */
template <fault which> DEVICE void add_one(const emu_async_args &args)
{
    uint16_t x = 0;
    if (which == NO_GRID_WAIT)
        x = args.in[threadIdx.x];
    if (which == WRITES_EARLY)
        args.out[threadIdx.x] = 0;
    grid_launch_dependents();
    grid_wait();
    if (which != NO_GRID_WAIT)
        x = args.in[threadIdx.x];
    args.out[threadIdx.x] = (uint16_t)(x + 1);
}

} // namespace

#define ASYNC_KERNEL(name, work, which)                                                            \
    KERNEL(name, emu_async_args, ASYNC_THREADS)                                                    \
    {                                                                                              \
        work<which>(args);                                                                         \
    }

ASYNC_KERNEL(store_tiles, store_tiles, NONE)
ASYNC_KERNEL(store_tiles_no_fence, store_tiles, NO_FENCE)
ASYNC_KERNEL(store_tiles_fence_of_one, store_tiles, FENCE_OF_ONE)
ASYNC_KERNEL(store_tiles_no_barrier, store_tiles, NO_BARRIER)
ASYNC_KERNEL(store_tiles_no_read_wait, store_tiles, NO_READ_WAIT)
ASYNC_KERNEL(store_tiles_no_last_wait, store_tiles, NO_LAST_WAIT)
ASYNC_KERNEL(store_and_read, store_and_read, NONE)
ASYNC_KERNEL(store_and_read_too_soon, store_and_read, READ_WAIT_ALONE)
ASYNC_KERNEL(load_over, load_over, NONE)
ASYNC_KERNEL(load_over_no_fence, load_over, NO_FENCE)
ASYNC_KERNEL(pair_share, pair, NONE)
ASYNC_KERNEL(pair_no_first_barrier, pair, NO_FIRST_BARRIER)
ASYNC_KERNEL(pair_no_init_fence, pair, NO_INIT_FENCE)
ASYNC_KERNEL(pair_no_last_barrier, pair, NO_LAST_BARRIER)
ASYNC_KERNEL(pair_own_alone, pair, OWN_ALONE)
ASYNC_KERNEL(pair_narrow_mask, pair, NARROW_MASK)
ASYNC_KERNEL(add_one, add_one, NONE)
ASYNC_KERNEL(add_one_no_grid_wait, add_one, NO_GRID_WAIT)
ASYNC_KERNEL(add_one_writes_early, add_one, WRITES_EARLY)

namespace
{

/* One warp: in holds a (16, 16) and b (8, 16), out becomes d (16, 8) as the bits of floats. */
template <fault which> DEVICE void multiply(const emu_async_args &args)
{
    uint16_t *a = shared_at<uint16_t>(0, 16 * 16), *b = shared_at<uint16_t>(512, 8 * 16);
    const uint32_t lane = threadIdx.x % WARP;
    if (threadIdx.x >= WARP)
        return;
    copy_async(a + lane * 8, args.in + lane * 8, true);
    copy_async_commit();
    if (lane < 16)
        copy_async(b + lane * 8, args.in + 256 + lane * 8, true);
    else
        copy_async(b + lane * 8, nullptr, false);
    copy_async_commit();
    if (which != NO_READ_WAIT)
        copy_async_wait<0>();
    else
        copy_async_wait<1>();
    __syncwarp();
    uint32_t rows[4], cols[4], of_b[2];
    float d[4] = {0, 0, 0, 0};
    ldmatrix_x4(rows, a + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix_x4(cols, b + (lane % 8 * 16 + lane / 8 % 2 * 8));
    of_b[0] = cols[0];
    of_b[1] = cols[1];
    mma(d, rows, of_b);
    for (uint32_t i = 0; i < 4; i++)
        ((float *)args.out)[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
    if (which == NO_READ_WAIT)
        copy_async_wait<0>();
}

/* out[i] = in[i] of four matrices, each turned twice. */
template <fault which> DEVICE void turn_twice(const emu_async_args &args)
{
    uint16_t *from = shared_at<uint16_t>(0, 256), *to = shared_at<uint16_t>(512, 256);
    const uint32_t lane = threadIdx.x % WARP;
    if (threadIdx.x >= WARP)
        return;
    for (uint32_t i = lane; i < 256; i += WARP)
        from[i] = args.in[i];
    __syncwarp();
    uint32_t matrices[4];
    ldmatrix_x4_turned(matrices, from + lane * 8);
    stmatrix_x4_turned(to + lane * 8, matrices);
    __syncwarp();
    for (uint32_t i = lane; i < 256; i += WARP)
        args.out[i] = to[i];
}

} // namespace

ASYNC_KERNEL(multiply, multiply, NONE)
ASYNC_KERNEL(multiply_no_wait, multiply, NO_READ_WAIT)
ASYNC_KERNEL(turn_twice, turn_twice, NONE)
