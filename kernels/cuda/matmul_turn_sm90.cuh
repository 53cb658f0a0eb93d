/*
 * How results of many rows leave a tile: a thread has sums of two outputs for rows beside each
 * other, memory has outputs beside each other. So a warpgroup turns its tile in shared memory,
 * MATMUL_TURNED_ROWS rows at a time, and each thread then stores 16 bytes of a row, whole lines a
 * warp. Two buffers a warpgroup: one is written while the other is still read, so one barrier a
 * time is enough, and the two warpgroups need not be in step.
 */
#ifndef KERNELS_CUDA_MATMUL_TURN_SM90_CUH
#define KERNELS_CUDA_MATMUL_TURN_SM90_CUH

#include "kernels/cuda/matmul_epilogue.cuh"
#include "kernels/cuda/ptx_copies.cuh"

namespace matmul_sm90
{

enum { GROUP = 128, OUT_OF_GROUP = 64 };
enum { FIRST_BARRIER = 1 }; /* of each warpgroup one */

/* One tile of the result. */
struct tile {
    uint32_t out, row; /* the first of each */
};

/* How the threads of a warpgroup share a chunk of MATMUL_TURNED_ROWS rows of its outputs: a thread
 * has a piece of 16 bytes of every at_once-th row. A piece holds results of one type; `pitch` is
 * from row to row in a buffer: of rows that are written together no two are in one bank. */
template <epilogue what> struct pieces {
    using element = uint16_t;
    static constexpr uint32_t per_result = what == SILU ? 2 : 1; /* outputs */
    static constexpr uint32_t n_out = OUT_OF_GROUP / per_result, elements = 8, pitch = 144;
    static constexpr uint32_t of_row = n_out / elements, at_once = GROUP / of_row;
    static constexpr uint32_t turns = MATMUL_TURNED_ROWS / at_once;

    static DEVICE_MEMBER element *results(const cuda_matmul_args &args)
    {
        return args.y;
    }
};

template <> struct pieces<ADD> {
    using element = float;
    static constexpr uint32_t per_result = 1;
    static constexpr uint32_t n_out = OUT_OF_GROUP, elements = 4, pitch = MATMUL_TURNED_PITCH;
    static constexpr uint32_t of_row = n_out / elements, at_once = GROUP / of_row;
    static constexpr uint32_t turns = MATMUL_TURNED_ROWS / at_once;

    static DEVICE_MEMBER element *results(const cuda_matmul_args &args)
    {
        return args.sum_into;
    }
};

/* Rows of this chunk, of the warp's 16 outputs (or 8, of gate and up), as rows of bf16. */
template <int n, epilogue what>
DEVICE void turn_halves(uint8_t *to, const accumulators<n> &sum, int chunk, float bias, float bias8)
{
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x % GROUP / WARP;
    uint32_t parts[4];
    UNROLL
    for (int half = 0; half < (what == SILU ? 1 : 2); half++) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            const int at =
                chunk * MATMUL_TURNED_ROWS / 2 + (what == SILU ? i * 4 : half * 8 + i / 2 * 4);
            const float a = sum.d[at] + bias, b = sum.d[at + 1] + bias;
            const float a8 = sum.d[at + 2] + bias8, b8 = sum.d[at + 3] + bias8;
            if (what == SILU)
                parts[i] = narrow_pair(silu_mul(a, a8), silu_mul(b, b8));
            else
                parts[i] = i % 2 == 0 ? narrow_pair(a, b) : narrow_pair(a8, b8);
        }
        const uint32_t row = what == SILU ? lane : (uint32_t)half * 16 + lane / 16 * 8 + lane % 8;
        const uint32_t col = what == SILU ? warp * 8 : warp * 16 + lane / 8 % 2 * 8;
        stmatrix_x4_turned(to + row * pieces<what>::pitch + col * 2, parts);
    }
}

/* The same of floats. */
template <int n>
DEVICE void turn_floats(uint8_t *to, const accumulators<n> &sum, int chunk, float bias, float bias8)
{
    constexpr uint32_t pitch = pieces<ADD>::pitch / sizeof(float);
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x % GROUP / WARP;
    float *at = (float *)to + lane % 4 * 2 * pitch + warp * 16 + lane / 4;
    UNROLL
    for (int i = 0; i < MATMUL_TURNED_ROWS / 2; i += 4) {
        const float *from = sum.d + chunk * MATMUL_TURNED_ROWS / 2 + i;
        at[0] = from[0] + bias;
        at[pitch] = from[1] + bias;
        at[8] = from[2] + bias8;
        at[pitch + 8] = from[3] + bias8;
        at += 8 * pitch;
    }
}

/* The pieces that the thread stores, of one chunk after the other. */
template <epilogue what> struct stored {
    using p = pieces<what>;
    using element = typename p::element;
    uint32_t at;    /* where the first lies in a buffer */
    element *to;    /* that of this chunk, in memory */
    uint64_t apart; /* elements from one to the next */
    uint32_t left;  /* rows of the matrix from this chunk's first piece on; 0: none is stored */

    DEVICE_MEMBER stored(const cuda_matmul_args &args, const tile &t)
    {
        const uint32_t thread = threadIdx.x % GROUP, group = threadIdx.x / GROUP - 1;
        const uint32_t row = thread / p::of_row, piece = thread % p::of_row;
        const uint32_t n_out = args.n_out / p::per_result;
        const uint32_t out = t.out / p::per_result + group * p::n_out + piece * p::elements;
        at = row * p::pitch + piece * 16;
        to = p::results(args) + (uint64_t)(t.row + row) * n_out + out;
        apart = (uint64_t)n_out * p::at_once;
        left = out < n_out && t.row + row < args.n_rows ? args.n_rows - t.row - row : 0;
    }

    DEVICE_MEMBER void next_chunk()
    {
        to += p::turns * apart;
        left = left > MATMUL_TURNED_ROWS ? left - MATMUL_TURNED_ROWS : 0;
    }
};

/* What the pieces of a chunk hold before. */
DEVICE void load_before(uint32_t (&before)[pieces<ADD>::turns][4], const stored<ADD> &s)
{
    UNROLL
    for (uint32_t turn = 0; turn < pieces<ADD>::turns; turn++)
        if (turn * pieces<ADD>::at_once < s.left)
            load_16(before[turn], s.to + turn * s.apart);
}

/* A chunk that was turned, plus `before` for ADD. */
template <epilogue what>
DEVICE void store_chunk(const stored<what> &s, const uint8_t *buffer,
                        const uint32_t (&before)[pieces<ADD>::turns][4])
{
    using p = pieces<what>;
    UNROLL
    for (uint32_t turn = 0; turn < p::turns; turn++) {
        uint32_t piece[4];
        load_shared_16(piece, buffer + s.at + turn * p::at_once * p::pitch);
        UNROLL
        for (int i = 0; what == ADD && i < 4; i++)
            piece[i] =
                __float_as_uint(__uint_as_float(before[turn][i]) + __uint_as_float(piece[i]));
        if (turn * p::at_once < s.left)
            store_16(s.to + turn * s.apart, piece);
    }
}

/* The results of the block's tile number `turn` into y, or added to sum_into: there the chunk after
 * each is loaded while it is turned. Buffers: 2 * MATMUL_TURNED_LEN bytes for each warpgroup, taken
 * in turn, from one tile to the next, too. */
template <int n, epilogue what>
DEVICE void turn_tile(const cuda_matmul_args &args, const tile &t, const accumulators<n> &sum,
                      uint8_t *buffers, uint32_t turn)
{
    constexpr uint32_t n_chunks = n / MATMUL_TURNED_ROWS;
    const uint32_t thread = threadIdx.x % GROUP, group = threadIdx.x / GROUP - 1;
    const uint32_t out = t.out + group * OUT_OF_GROUP + thread / WARP * 16 + thread % WARP / 4;
    const float bias = bias_of(args, out), bias8 = bias_of(args, out + 8);
    uint32_t before[2][pieces<ADD>::turns][4] = {};
    stored<what> s(args, t), next = s;
    if constexpr (what == ADD)
        load_before(before[0], s);
    UNROLL
    for (uint32_t chunk = 0; chunk < n_chunks; chunk++) {
        const uint32_t number = n_chunks % 2 * turn + chunk;
        uint8_t *buffer = buffers + (group * 2 + number % 2) * MATMUL_TURNED_LEN;
        next.next_chunk();
        if constexpr (what == ADD) {
            if (chunk + 1 < n_chunks)
                load_before(before[(chunk + 1) % 2], next);
            turn_floats<n>(buffer, sum, (int)chunk, bias, bias8);
        } else {
            turn_halves<n, what>(buffer, sum, (int)chunk, bias, bias8);
        }
        barrier_sync(FIRST_BARRIER + group, GROUP);
        store_chunk(s, buffer, before[chunk % 2]);
        s = next;
    }
}

} // namespace matmul_sm90

#endif
