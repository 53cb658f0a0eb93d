/*
 * The matrix product of few rows on Hopper, where reading the weights is all that should take time.
 * A tile is some parts of FEW_PART outputs, as many as give every multiprocessor one tile, so that
 * rows are fetched once by each and even small matrices keep all busy.
 *
 * Two threads keep two rings filled by the copy engine: weights, before the launch ahead has ended,
 * and rows. Up to 32 rows warps multiply, each 16 outputs of a part and up to 16 rows (mma.sync,
 * the weights are operand A); 64 rows a warpgroup (wgmma, the rows are operand A).
 *
 * Each output is one chain of steps of 16 along K, ascending, into one accumulator that starts at
 * +0, as in matmul_sm90.cu, bit for bit: on Hopper mma.sync and wgmma compute the same.
 */
#include "kernels/cuda/matmul_epilogue.cuh"
#include "kernels/cuda/matmul_few_rings_sm90.cuh"
#include "kernels/cuda/ptx_warp.cuh"
#include "kernels/cuda/ptx_wgmma.cuh"

namespace matmul_few_sm90
{

/* Parts of a tile at most: their sums are in registers, and what those are added to. */
template <epilogue what> struct widest {
    static constexpr uint32_t width = what == ADD ? 2 : FEW_PARTS;
};

/* Where a row's piece of 16 bytes lies in a box: swizzled by 128 bytes. */
DEVICE uint32_t place_of(uint32_t row, uint32_t piece)
{
    return row * ROW_LEN + (piece ^ row % SIDE) * 16;
}

/* What a warp multiplies of a box: 16 outputs, n rows. */
template <int n> struct operands {
    uint32_t w[STEPS][4];
    uint32_t x[n / 4][4]; /* two tiles of 8 rows each; of 8 rows, two steps */

    /* A lane gives the address of a row of a matrix of 8 by 8. */
    DEVICE_MEMBER void read(const uint8_t *weights, const uint8_t *rows)
    {
        const uint32_t lane = threadIdx.x % WARP, matrix = lane / SIDE, row = lane % SIDE;
        UNROLL
        for (uint32_t i = 0; i < STEPS; i++)
            ldmatrix_x4(w[i], weights + place_of(matrix % 2 * SIDE + row, i * 2 + matrix / 2));
        UNROLL
        for (uint32_t i = 0; i < n / 4; i++)
            ldmatrix_x4(x[i], n == 8 ? rows + place_of(row, i * 4 + matrix)
                                     : rows + place_of(i % (n / 16) * 16 + matrix / 2 * SIDE + row,
                                                       i / (n / 16) * 2 + matrix % 2));
    }
};

template <int n> DEVICE void add_products(accumulators<n> &sum, const operands<n> &o)
{
    UNROLL
    for (uint32_t step = 0; step < STEPS; step++) {
        UNROLL
        for (uint32_t j = 0; j < n / 8; j++) {
            const uint32_t i = n == 8 ? step / 2 : step * (n / 16) + j / 2;
            const uint32_t half = n == 8 ? step % 2 * 2 : j % 2 * 2;
            mma(&sum.d[4 * j], o.w[step], {o.x[i][half], o.x[i][half + 1]});
        }
    }
}

/* By warps, 16 outputs of a part each and up to 16 rows: the weights are operand A. A box is read
 * ahead of what is multiplied. */
template <int n, uint32_t width>
DEVICE void multiply_by_warps(const cuda_matmul_args &args, rings<n> &r, uint32_t n_parts,
                              accumulators<shape<n>::of_warp> (&sum)[width])
{
    constexpr int n_own = shape<n>::of_warp;
    const uint32_t warp = threadIdx.x / WARP;
    UNROLL
    for (uint32_t i = 0; i < width * n_own / 2; i++)
        sum[i / (n_own / 2)].d[i % (n_own / 2)] = 0.0f;
    for (uint32_t k = 0; k < args.n_cols; k += COLS) {
        r.x.wait_full();
        UNROLL
        for (uint32_t part = 0; part < width; part++) {
            if (part >= n_parts)
                continue;
            operands<n_own> o[2];
            r.w.wait_full();
            const uint8_t *w = r.w.here() + warp % UNITS * UNIT_LEN;
            const uint8_t *x = r.x.here() + warp / UNITS * n_own * ROW_LEN;
            o[0].read(w, x);
            UNROLL
            for (uint32_t box = 1; box < BOXES; box++) {
                o[box % 2].read(w + box * shape<n>::w_box, x + box * shape<n>::x_box);
                if (box + 1 == BOXES) {
                    __syncwarp(ALL_LANES); /* every lane has read all */
                    release(&r.w.empty[r.w.stage]);
                    if (part + 1 == n_parts)
                        release(&r.x.empty[r.x.stage]);
                }
                add_products<n_own>(sum[part], o[(box - 1) % 2]);
            }
            add_products<n_own>(sum[part], o[(BOXES - 1) % 2]);
            r.w.advance();
        }
        r.x.advance();
    }
}

/* The products of one stage of each ring. The same in all lanes as the compiler sees it, an address
 * stays in uniform registers. */
template <int n>
DEVICE void multiply_stage(const rings<n> &r, accumulators<FEW_PART> &sum, bool fresh)
{
    const uint64_t x = wgmma_operand(__shfl_sync(ALL_LANES, shared_address(r.x.here()), 0));
    const uint64_t w = wgmma_operand(__shfl_sync(ALL_LANES, shared_address(r.w.here()), 0));
    wgmma_fence();
    UNROLL
    for (uint32_t box = 0; box < BOXES; box++) {
        UNROLL
        for (uint32_t step = 0; step < BOX; step += STEP)
            wgmma(sum, x + (box * shape<n>::x_box + 2 * step) / 16,
                  w + (box * shape<n>::w_box + 2 * step) / 16, fresh && box == 0 && step == 0);
    }
    wgmma_commit();
}

/* By a warpgroup: the rows are operand A. A stage is given back at once, not when the next one's
 * products are under way: that one may not have come, and what is to come needs the room. */
template <int n, uint32_t width>
DEVICE void multiply_by_group(const cuda_matmul_args &args, rings<n> &r, uint32_t n_parts,
                              accumulators<FEW_PART> (&sum)[width])
{
    for (uint32_t k = 0; k < args.n_cols; k += COLS) {
        r.x.wait_full();
        UNROLL
        for (uint32_t part = 0; part < width; part++) {
            if (part >= n_parts)
                continue;
            r.w.wait_full();
            multiply_stage<n>(r, sum[part], k == 0);
            wgmma_wait<0>();
            release(&r.w.empty[r.w.stage]);
            r.w.advance();
        }
        release(&r.x.empty[r.x.stage]);
        r.x.advance();
    }
}

/* What a thread has of a part: pairs of outputs `out` and out + 8 of one row. */
template <int n> struct pairs {
    static constexpr bool by_group = shape<n>::by_group;
    static constexpr uint32_t count = (by_group ? FEW_PART : shape<n>::of_warp) / 4;
    using sums = accumulators<by_group ? FEW_PART : shape<n>::of_warp>;
    uint32_t out, row, row_end; /* the first; the tile's last and one */

    DEVICE_MEMBER pairs(const cuda_matmul_args &args, const tile &t, uint32_t part)
    {
        const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        out = t.out + part * FEW_PART + (by_group ? lane % 4 * 2 : warp % UNITS * 16 + lane / 4);
        row = t.row + (by_group ? warp * 16 + lane / 4 : warp / UNITS * 16 + lane % 4 * 2);
        row_end = t.row + n < args.n_rows ? t.row + n : args.n_rows;
    }

    DEVICE_MEMBER uint32_t out_of(uint32_t i) const
    {
        return by_group ? out + i / 4 * 16 + i % 2 : out;
    }

    DEVICE_MEMBER uint32_t row_of(uint32_t i) const
    {
        return by_group ? row + i % 4 / 2 * 8 : row + i / 2 * 8 + i % 2;
    }

    static DEVICE_MEMBER float first(const sums &s, uint32_t i)
    {
        return by_group ? s.d[i / 4 * 8 + i % 4] : s.d[i / 2 * 4 + i % 2];
    }

    static DEVICE_MEMBER float second(const sums &s, uint32_t i)
    {
        return by_group ? s.d[i / 4 * 8 + i % 4 + 4] : s.d[i / 2 * 4 + i % 2 + 2];
    }
};

/* What a part's sums are added to: fetched before they are there. */
template <int n> struct addends {
    float first[pairs<n>::count], second[pairs<n>::count];

    DEVICE_MEMBER void fetch(const cuda_matmul_args &args, const pairs<n> &p)
    {
        UNROLL
        for (uint32_t i = 0; i < pairs<n>::count; i++) {
            const bool is_own = p.row_of(i) < p.row_end;
            first[i] = is_own ? before_of(args, p.row_of(i), p.out_of(i)) : 0.0f;
            second[i] = is_own ? before_of(args, p.row_of(i), p.out_of(i) + 8) : 0.0f;
        }
    }
};

/* All values first: none waits for the store of another. */
template <int n, epilogue what>
DEVICE void write_part(const cuda_matmul_args &args, const pairs<n> &p,
                       const typename pairs<n>::sums &sum, const addends<n> &before)
{
    float first[pairs<n>::count], second[pairs<n>::count];
    UNROLL
    for (uint32_t i = 0; i < pairs<n>::count; i++) {
        first[i] = pairs<n>::first(sum, i) + bias_of(args, p.out_of(i));
        second[i] = pairs<n>::second(sum, i) + bias_of(args, p.out_of(i) + 8);
        if (what == ADD) {
            first[i] = before.first[i] + first[i];
            second[i] = before.second[i] + second[i];
        }
        if (what == SILU)
            first[i] = silu_mul(first[i], second[i]);
    }
    UNROLL
    for (uint32_t i = 0; i < pairs<n>::count; i++) {
        if (p.row_of(i) < p.row_end)
            store<what>(args, p.row_of(i), p.out_of(i), first[i], second[i]);
    }
}

template <int n, epilogue what, uint32_t width>
DEVICE void make_tile(const cuda_matmul_args &args, rings<n> &r, const tile &t)
{
    typename pairs<n>::sums sum[width];
    addends<n> before[width];
    UNROLL
    for (uint32_t part = 0; what == ADD && part < width; part++)
        before[part].fetch(args, pairs<n>(args, t, part));
    if constexpr (shape<n>::by_group)
        multiply_by_group<n, width>(args, r, t.n_parts, sum);
    else
        multiply_by_warps<n, width>(args, r, t.n_parts, sum);
    UNROLL
    for (uint32_t part = 0; part < width; part++) {
        if (part < t.n_parts)
            write_part<n, what>(args, pairs<n>(args, t, part), sum[part], before[part]);
    }
}

template <int n, epilogue what> DEVICE void consume(const cuda_matmul_args &args, rings<n> r)
{
    constexpr uint32_t most = widest<what>::width;
    const schedule<n> s(args, most);
    grid_wait(); /* before anything is written that the launch ahead may read */
    for (uint32_t number = blockIdx.x; number < s.end; number += gridDim.x) {
        const tile t = s.find(number);
        if (s.width == 1)
            make_tile<n, what, 1>(args, r, t);
        else if (s.width == 2)
            make_tile<n, what, 2>(args, r, t);
        else
            make_tile<n, what, most>(args, r, t);
    }
}

template <int n, epilogue what> DEVICE void matmul(const cuda_matmul_args &args)
{
    constexpr uint32_t first_filler = FEW_BLOCK(n) - 2 * WARP, most = widest<what>::width;
    rings<n> r;
    r.bind();
    if (threadIdx.x == 0) {
        r.x.make_barriers(shape<n>::consumers);
        r.w.make_barriers(shape<n>::consumers);
        fence_mbarrier_init();
    }
    if (threadIdx.x == first_filler)
        tensor_map_prefetch(&args.w);
    if (threadIdx.x == first_filler + WARP)
        tensor_map_prefetch(&args.x);
    __syncthreads();
    if (threadIdx.x < first_filler)
        consume<n, what>(args, r);
    else if (threadIdx.x == first_filler)
        fill_weights<n, most>(args, r);
    else if (threadIdx.x == first_filler + WARP)
        fill_rows<n, most>(args, r);
}

} // namespace matmul_few_sm90

#define MATMUL_FEW_KERNELS(n)                                                                      \
    KERNEL(matmul_few_store_##n, cuda_matmul_args, FEW_BLOCK(n))                                   \
    {                                                                                              \
        matmul_few_sm90::matmul<n, STORE>(args);                                                   \
    }                                                                                              \
    KERNEL(matmul_few_add_##n, cuda_matmul_args, FEW_BLOCK(n))                                     \
    {                                                                                              \
        matmul_few_sm90::matmul<n, ADD>(args);                                                     \
    }                                                                                              \
    KERNEL(matmul_few_silu_##n, cuda_matmul_args, FEW_BLOCK(n))                                    \
    {                                                                                              \
        matmul_few_sm90::matmul<n, SILU>(args);                                                    \
    }                                                                                              \
    KERNEL(matmul_few_logits_##n, cuda_matmul_args, FEW_BLOCK(n))                                  \
    {                                                                                              \
        matmul_few_sm90::matmul<n, LOGITS>(args);                                                  \
    }

/* Only chips with these instructions have these kernels. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
MATMUL_FEW_KERNELS(8)
MATMUL_FEW_KERNELS(16)
MATMUL_FEW_KERNELS(32)
MATMUL_FEW_KERNELS(64)
#endif
