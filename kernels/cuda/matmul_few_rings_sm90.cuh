/*
 * How matmul_few_sm90.cu gets what it multiplies: tiles and who takes them, two rings in shared
 * memory, the two threads that keep them filled.
 */
#ifndef KERNELS_CUDA_MATMUL_FEW_RINGS_SM90_CUH
#define KERNELS_CUDA_MATMUL_FEW_RINGS_SM90_CUH

#include "kernels/cuda/args.h"
#include "kernels/cuda/ptx_copies.cuh"

namespace matmul_few_sm90
{

enum { BOX = 64, ROW_LEN = BOX * 2, SIDE = 8, STEP = 16, STEPS = BOX / STEP };
enum { COLS = FEW_COLS, BOXES = COLS / BOX, UNITS = FEW_PART / FEW_OUT };
enum { UNIT_LEN = FEW_OUT * ROW_LEN }; /* of a box of weights */

template <int n> struct shape {
    static constexpr bool by_group = n > 32;                       /* wgmma */
    static constexpr int of_warp = n == 8 ? 8 : 16;                /* rows that a warp multiplies */
    static constexpr uint32_t consumers = FEW_BLOCK(n) / WARP - 2; /* warps */
    static constexpr uint32_t w_box = FEW_PART * ROW_LEN, x_box = n * ROW_LEN;
};

/* A ring in shared memory: COLS columns a stage, box by box, and two barriers for each. */
template <uint32_t n_stages, uint32_t stage_len> struct ring {
    uint8_t *stages;
    uint64_t *full, *empty; /* the stage was filled; every consumer warp is done with it */
    uint32_t stage = 0, parity = 0;

    DEVICE_MEMBER void bind(uint32_t at, uint32_t barriers_at)
    {
        stages = shared_at<uint8_t>(at, n_stages * stage_len);
        full = shared_at<uint64_t>(barriers_at, 2 * n_stages);
        empty = full + n_stages;
    }

    DEVICE_MEMBER void make_barriers(uint32_t n_consumers)
    {
        for (uint32_t i = 0; i < n_stages; i++) {
            mbarrier_init(&full[i], 1);
            mbarrier_init(&empty[i], n_consumers);
        }
    }

    DEVICE_MEMBER uint8_t *here() const
    {
        return stages + stage * stage_len;
    }

    DEVICE_MEMBER void wait_full() const
    {
        mbarrier_wait_parity(&full[stage], parity);
    }

    DEVICE_MEMBER void wait_empty() const
    {
        mbarrier_wait_parity(&empty[stage], parity ^ 1);
    }

    DEVICE_MEMBER void advance()
    {
        stage = stage + 1 == n_stages ? 0 : stage + 1;
        parity ^= stage == 0 ? 1 : 0;
    }
};

template <int n> struct rings {
    ring<FEW_X_STAGES(n), FEW_X_LEN(n)> x;
    ring<FEW_W_STAGES(n), FEW_W_LEN> w;

    DEVICE_MEMBER void bind()
    {
        constexpr uint32_t w_at = FEW_X_STAGES(n) * FEW_X_LEN(n);
        constexpr uint32_t barriers_at = w_at + FEW_W_STAGES(n) * FEW_W_LEN;
        x.bind(0, barriers_at);
        w.bind(w_at, barriers_at + FEW_X_STAGES(n) * 16);
    }
};

/* One tile of the result. */
struct tile {
    uint32_t out, row; /* the first of each */
    uint32_t n_parts;
};

/* The tiles: as wide as a block can have them and all blocks get as much to do. Each block takes
 * every gridDim.x-th. */
template <int n> struct schedule {
    uint32_t n_parts, width, across, end;

    DEVICE_MEMBER schedule(const cuda_matmul_args &args, uint32_t width_max)
    {
        n_parts = (args.n_out + FEW_PART - 1) / FEW_PART;
        const uint32_t at_once = gridDim.x * width_max;
        const uint32_t n_tiles = (n_parts + at_once - 1) / at_once * gridDim.x;
        width = (n_parts + n_tiles - 1) / n_tiles;
        across = (n_parts + width - 1) / width;
        end = across * ((args.n_rows + n - 1) / n);
    }

    DEVICE_MEMBER tile find(uint32_t number) const
    {
        const uint32_t part = number % across * width, left = n_parts - part;
        return tile{part * FEW_PART, number / across * n, left < width ? left : width};
    }
};

/* A part's weights: the columns of FEW_OUT outputs one after the other, then those of the next. */
template <int n>
DEVICE void fetch_part(const cuda_matmul_args &args, rings<n> &r, uint32_t out, uint32_t k)
{
    uint64_t *full = &r.w.full[r.w.stage];
    r.w.wait_empty();
    mbarrier_arrive_expect_tx(full, FEW_W_LEN);
    UNROLL
    for (uint32_t i = 0; i < UNITS * BOXES; i++)
        tensor_load_2d_once(r.w.here() + i % BOXES * shape<n>::w_box + i / BOXES * UNIT_LEN,
                            &args.w, (int)(k + i % BOXES * BOX), (int)(out + i / BOXES * FEW_OUT),
                            full);
    r.w.advance();
}

/* One thread. No launch writes weights: they are fetched before the launch ahead has ended. What is
 * beyond the matrix's ends comes as zeros, and its bytes count all the same. */
template <int n, uint32_t width_max>
DEVICE void fill_weights(const cuda_matmul_args &args, rings<n> r)
{
    const schedule<n> s(args, width_max);
    for (uint32_t number = blockIdx.x; number < s.end; number += gridDim.x) {
        const tile t = s.find(number);
        for (uint32_t k = 0; k < args.n_cols; k += COLS)
            for (uint32_t part = 0; part < t.n_parts; part++)
                fetch_part<n>(args, r, t.out + part * FEW_PART, k);
    }
    grid_launch_dependents(); /* the next weights come behind these */
}

/* One thread. */
template <int n, uint32_t width_max> DEVICE void fill_rows(const cuda_matmul_args &args, rings<n> r)
{
    const schedule<n> s(args, width_max);
    grid_wait(); /* what follows reads the rows that the launch ahead wrote */
    for (uint32_t number = blockIdx.x; number < s.end; number += gridDim.x) {
        const tile t = s.find(number);
        for (uint32_t k = 0; k < args.n_cols; k += COLS) {
            uint64_t *full = &r.x.full[r.x.stage];
            r.x.wait_empty();
            mbarrier_arrive_expect_tx(full, BOXES * shape<n>::x_box);
            UNROLL
            for (uint32_t i = 0; i < BOXES; i++)
                tensor_load_2d(r.x.here() + i * shape<n>::x_box, &args.x, (int)(k + i * BOX),
                               (int)t.row, full);
            r.x.advance();
        }
    }
}

/* A warp is done with a stage. */
DEVICE void release(uint64_t *empty)
{
    if (threadIdx.x % WARP == 0)
        mbarrier_arrive(empty);
}

} // namespace matmul_few_sm90

#endif
