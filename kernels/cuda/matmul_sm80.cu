/*
 * The matrix product of every layer, for any number of rows, on chips of compute capability 8: the
 * weights are operand A of the tensor cores, the rows operand B, as on Hopper, so one kernel serves
 * one row as well as thousands. Every thread copies its share of a tile into a ring in shared
 * memory (cp.async), several steps ahead; the warps multiply what has come (mma.sync). The ring
 * goes on from one tile of the result to the next, so the first weights of the next are fetched
 * while this one is written.
 *
 * Each output is one chain of steps of 16 along K, ascending, into one accumulator that starts at
 * +0: its bits depend neither on the tile's shape nor on the rows beside it.
 */
#include "kernels/cuda/matmul_epilogue.cuh"
#include "kernels/cuda/ptx_warp.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900
namespace matmul_sm80
{

enum { STEP = 16, SIDE = 8, ROW_LEN = MATMUL_K * 2, PIECES = ROW_LEN / 16 };
constexpr uint32_t ROWS_IN_TURN = 8; /* tiles down, before the next across */

/* A tile of n rows, and how its warps share it: each has `outs` outputs of `rows` rows. */
template <int n> struct shape {
    static constexpr uint32_t n_outs = SM80_MATMUL_OUT(n), threads = SM80_MATMUL_BLOCK(n);
    static constexpr uint32_t stages = SM80_MATMUL_STAGES(n), stage_len = SM80_MATMUL_STAGE_LEN(n);
    static constexpr uint32_t warps_down = n <= 16 ? 1 : n <= 128 ? 2 : 4; /* over the rows */
    static constexpr uint32_t warps_across = threads / WARP / warps_down;
    static constexpr uint32_t outs = n_outs / warps_across, rows = n / warps_down;
};

/* Where a row's piece of 16 bytes lies: eight rows have theirs of one column in eight places, so
 * that they are read at once. */
DEVICE uint32_t place_of(uint32_t row, uint32_t piece)
{
    return row * ROW_LEN + (piece ^ row % SIDE) * 16;
}

/* One tile of the result. */
struct tile {
    uint32_t out, row; /* the first of each */
};

/* Blocks that run together share weights and rows: a few tiles down, then the next across. */
template <int n> struct schedule {
    uint32_t across, down, end;

    DEVICE_MEMBER schedule(const cuda_matmul_args &args)
    {
        across = (args.n_out + shape<n>::n_outs - 1) / shape<n>::n_outs;
        down = (args.n_rows + n - 1) / n;
        end = across * down;
    }

    DEVICE_MEMBER tile find(uint32_t number) const
    {
        const uint32_t top = number / (ROWS_IN_TURN * across) * ROWS_IN_TURN;
        const uint32_t n_down = down - top < ROWS_IN_TURN ? down - top : ROWS_IN_TURN;
        const uint32_t left = number - top * across;
        return tile{left / n_down * shape<n>::n_outs, (top + left % n_down) * n};
    }
};

/* The thread's share of `count` rows from `first` on, MATMUL_K columns from k on; zeros beyond the
 * matrix's ends. */
template <int n, uint32_t count>
DEVICE void copy_rows(uint8_t *to, const uint16_t *from, uint32_t first, uint32_t n_rows,
                      uint32_t n_cols, uint32_t k)
{
    UNROLL
    for (uint32_t i = threadIdx.x; i < count * PIECES; i += shape<n>::threads) {
        const uint32_t row = i / PIECES, piece = i % PIECES, col = k + piece * 8;
        const bool is_there = first + row < n_rows && col < n_cols;
        copy_async(to + place_of(row, piece),
                   is_there ? from + (size_t)(first + row) * n_cols + col : from, is_there);
    }
}

/* What is copied next: runs ahead of what is multiplied. */
template <int n> struct loader {
    uint32_t number = blockIdx.x, k = 0, stage = 0;
    tile at;

    /* One stage, or nothing behind the last tile; a group of copies in any case. */
    DEVICE_MEMBER void load(const cuda_matmul_args &args, const schedule<n> &s)
    {
        if (number < s.end) {
            if (k == 0)
                at = s.find(number);
            uint8_t *to = shared_at<uint8_t>(stage * shape<n>::stage_len, shape<n>::stage_len);
            copy_rows<n, shape<n>::n_outs>(to, args.w_at, at.out, args.n_out, args.n_cols, k);
            copy_rows<n, n>(to + shape<n>::n_outs * ROW_LEN, args.x_at, at.row, args.n_rows,
                            args.n_cols, k);
            advance(args);
        }
        copy_async_commit();
    }

    DEVICE_MEMBER void advance(const cuda_matmul_args &args)
    {
        stage = stage + 1 == shape<n>::stages ? 0 : stage + 1;
        k += MATMUL_K;
        if (k < args.n_cols)
            return;
        k = 0;
        number += gridDim.x;
    }
};

/* Operands of one step of 16 along K: `outs` outputs, `rows` rows. */
template <int n> struct operands {
    uint32_t w[shape<n>::outs / 16][4];
    uint32_t x[(shape<n>::rows + 15) / 16][4]; /* two tiles of 8 rows each */

    /* A lane gives the address of a row of a matrix of 8 by 8: those of w one below the other, then
     * the next columns; those of x beside each other, then the next rows. Of 8 rows alone the
     * second half is the first again. */
    DEVICE_MEMBER void read(const uint8_t *weights, const uint8_t *rows, uint32_t step)
    {
        const uint32_t lane = threadIdx.x % WARP, matrix = lane / SIDE;
        UNROLL
        for (uint32_t i = 0; i < shape<n>::outs / 16; i++)
            ldmatrix_x4(w[i], weights + place_of(i * 16 + matrix % 2 * SIDE + lane % SIDE,
                                                 step * 2 + matrix / 2));
        UNROLL
        for (uint32_t i = 0; i < (shape<n>::rows + 15) / 16; i++)
            ldmatrix_x4(x[i],
                        rows + place_of((i * 16 + matrix / 2 * SIDE) % shape<n>::rows + lane % SIDE,
                                        step * 2 + matrix % 2));
    }
};

/* A warp's sums: of 16 outputs and 8 rows each, as mma leaves them. */
template <int n> struct sums {
    float d[shape<n>::outs / 16][shape<n>::rows / 8][4];

    DEVICE_MEMBER void clear()
    {
        UNROLL
        for (uint32_t i = 0; i < shape<n>::outs / 16; i++) {
            UNROLL
            for (uint32_t j = 0; j < shape<n>::rows / 8; j++) {
                UNROLL
                for (uint32_t e = 0; e < 4; e++)
                    d[i][j][e] = 0.0f;
            }
        }
    }

    DEVICE_MEMBER void add(const operands<n> &o)
    {
        UNROLL
        for (uint32_t i = 0; i < shape<n>::outs / 16; i++) {
            UNROLL
            for (uint32_t j = 0; j < shape<n>::rows / 8; j++)
                mma(d[i][j], o.w[i], {o.x[j / 2][j % 2 * 2], o.x[j / 2][j % 2 * 2 + 1]});
        }
    }
};

/* The warp's part of a tile: its first output and row. */
template <int n> DEVICE tile warps_part()
{
    const uint32_t warp = threadIdx.x / WARP;
    return tile{warp / shape<n>::warps_down * shape<n>::outs,
                warp % shape<n>::warps_down * shape<n>::rows};
}

/* The products of one stage; operands are read a step ahead. */
template <int n> DEVICE void multiply(sums<n> &sum, uint32_t stage)
{
    const tile own = warps_part<n>();
    const uint8_t *from = shared_at<uint8_t>(stage * shape<n>::stage_len, shape<n>::stage_len);
    const uint8_t *weights = from + own.out * ROW_LEN;
    const uint8_t *rows = from + (shape<n>::n_outs + own.row) * ROW_LEN;
    operands<n> o[2];
    o[0].read(weights, rows, 0);
    UNROLL
    for (uint32_t step = 0; step < MATMUL_K / STEP; step++) {
        if (step + 1 < MATMUL_K / STEP)
            o[(step + 1) % 2].read(weights, rows, step + 1);
        sum.add(o[step % 2]);
    }
}

template <int n, epilogue what>
DEVICE void write_tile(const cuda_matmul_args &args, const tile &t, const sums<n> &sum)
{
    const tile own = warps_part<n>();
    const uint32_t lane = threadIdx.x % WARP;
    UNROLL
    for (uint32_t i = 0; i < shape<n>::outs / 16; i++) {
        const uint32_t out = t.out + own.out + i * 16 + lane / 4;
        const float bias = bias_of(args, out), bias8 = bias_of(args, out + 8);
        UNROLL
        for (uint32_t j = 0; j < shape<n>::rows / 8; j++) {
            const uint32_t row = t.row + own.row + j * 8 + lane % 4 * 2;
            const float *d = sum.d[i][j];
            put<what>(args, row, out, d[0] + bias, d[2] + bias8);
            put<what>(args, row + 1, out, d[1] + bias, d[3] + bias8);
        }
    }
}

/* Each stage is waited for, then filled anew are those that were multiplied before it: the barrier
 * says that every thread's copies have come, and that every warp is done with the stage before. */
template <int n, epilogue what> DEVICE void matmul(const cuda_matmul_args &args)
{
    const schedule<n> s(args);
    loader<n> l;
    uint32_t stage = 0;
    UNROLL
    for (uint32_t i = 0; i + 1 < shape<n>::stages; i++)
        l.load(args, s);
    for (uint32_t number = blockIdx.x; number < s.end; number += gridDim.x) {
        sums<n> sum;
        sum.clear();
        for (uint32_t k = 0; k < args.n_cols; k += MATMUL_K) {
            copy_async_wait<shape<n>::stages - 2>();
            __syncthreads();
            l.load(args, s);
            multiply<n>(sum, stage);
            stage = stage + 1 == shape<n>::stages ? 0 : stage + 1;
        }
        write_tile<n, what>(args, s.find(number), sum);
    }
}

} // namespace matmul_sm80

#define SM80_MATMUL_KERNEL(name, n, what)                                                          \
    KERNEL(sm80_matmul_##name##_##n, cuda_matmul_args, SM80_MATMUL_BLOCK(n))                       \
    {                                                                                              \
        matmul_sm80::matmul<n, what>(args);                                                        \
    }

#define SM80_MATMUL_KERNELS(n)                                                                     \
    SM80_MATMUL_KERNEL(store, n, STORE)                                                            \
    SM80_MATMUL_KERNEL(add, n, ADD)                                                                \
    SM80_MATMUL_KERNEL(silu, n, SILU)                                                              \
    SM80_MATMUL_KERNEL(logits, n, LOGITS)

SM80_MATMUL_KERNELS(8)
SM80_MATMUL_KERNELS(16)
SM80_MATMUL_KERNELS(32)
SM80_MATMUL_KERNELS(64)
SM80_MATMUL_KERNELS(128)
SM80_MATMUL_KERNELS(256)
#endif
