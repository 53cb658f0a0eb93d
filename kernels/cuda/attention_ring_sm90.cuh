/*
 * Shared memory of attention on Hopper and its barriers, the copies into it, the queries.
 */
#ifndef KERNELS_CUDA_ATTENTION_RING_SM90_CUH
#define KERNELS_CUDA_ATTENTION_RING_SM90_CUH

#include "kernels/cuda/attention_work.cuh"
#include "kernels/cuda/ptx_copies.cuh"

namespace attention_sm90
{

using namespace attention;

enum { FIRST_BARRIER = 1 };

/* How rows of a head lie in shared memory: chunks of columns beside each other, as they are copied.
 */
template <int head_dim, int n_rows> struct rows {
    static constexpr uint32_t chunk = ATTENTION_CHUNK(head_dim);
    static constexpr uint32_t swizzle = chunk * 2;
    static constexpr uint32_t chunk_len = n_rows * swizzle;
    static constexpr uint32_t n_chunks = head_dim / chunk;
    static constexpr uint32_t len = n_rows * head_dim * 2;

    /* Where sixteen bytes of a row are. */
    DEVICE_MEMBER static uint32_t offset(uint32_t row, uint32_t piece)
    {
        constexpr uint32_t of_chunk = chunk / 8;
        const uint32_t at = piece / of_chunk * chunk_len + row * swizzle + piece % of_chunk * 16;
        return at ^ (at >> 7 & (swizzle / 16 - 1)) << 4;
    }
};

enum part { KEYS_OF_PAGE, VALUES_OF_PAGE };

/* A ring of one head's keys, or values, of a block each; two barriers for each place. Behind values
 * is one more chunk, of whose columns the first eight are ones. */
template <int head_dim, int tile, part which> struct ring {
    static constexpr uint32_t stages = ATTENTION_STAGES(head_dim, tile);
    static constexpr uint32_t len = rows<head_dim, BLOCK>::len;
    static constexpr uint32_t ones_len = which == VALUES_OF_PAGE ? ATTENTION_ONES_LEN(head_dim) : 0;
    static constexpr uint32_t first = /* behind queries and sums */
        tile * head_dim * 2 + ATTENTION_SUMS_LEN(head_dim, tile);
    static constexpr uint32_t barriers = first + stages * (2 * len + ATTENTION_ONES_LEN(head_dim));
    uint32_t stage = 0, parity = 0;

    DEVICE_MEMBER static uint8_t *data_of(uint32_t stage)
    {
        return shared_at<uint8_t>(first + which * stages * len + stage * (len + ones_len),
                                  len + ones_len);
    }

    DEVICE_MEMBER uint8_t *data() const
    {
        return data_of(stage);
    }

    DEVICE_MEMBER static void put_ones(uint32_t row)
    {
        for (uint32_t i = 0; i < stages; i++)
            *(piece *)(data_of(i) + rows<head_dim, BLOCK>::offset(row, head_dim / 8)) =
                piece{0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    }

    DEVICE_MEMBER uint64_t *full() const
    {
        return shared_at<uint64_t>(barriers + 8 * (2 * which * stages + stage), 1);
    }

    DEVICE_MEMBER uint64_t *empty() const /* every consumer warp is done with it */
    {
        return full() + stages;
    }

    DEVICE_MEMBER void advance()
    {
        stage = stage + 1 == stages ? 0 : stage + 1;
        parity ^= stage == 0 ? 1 : 0;
    }

    DEVICE_MEMBER void wait() const
    {
        mbarrier_wait_parity(full(), parity);
    }

    DEVICE_MEMBER void leave()
    {
        if (threadIdx.x % WARP == 0)
            mbarrier_arrive(empty());
        advance();
    }
};

template <int head_dim, int tile> struct rings {
    ring<head_dim, tile, KEYS_OF_PAGE> keys;
    ring<head_dim, tile, VALUES_OF_PAGE> values;
};

/* Two warpgroups take turns at the tensor cores: while one computes weights, the other multiplies.
 * Each takes as many turns as the other, since both go through the same blocks. */
template <int head_dim, int tile> struct turns {
    uint32_t n = 0; /* taken so far */

    DEVICE_MEMBER static uint64_t *of_group(uint32_t group)
    {
        using r = ring<head_dim, tile, KEYS_OF_PAGE>;
        return shared_at<uint64_t>(r::barriers + r::stages * 32 + 8 * group, 1);
    }

    DEVICE_MEMBER void take(uint32_t group)
    {
        if (tile > QUERIES)
            mbarrier_wait_parity(of_group(group), (n + 1 + group) % 2); /* the first one at once */
        n++;
    }

    DEVICE_MEMBER void give(uint32_t group) const
    {
        if (tile > QUERIES && threadIdx.x % WARP == 0)
            mbarrier_arrive(of_group(1 - group));
    }
};

template <int head_dim, int tile, part which> DEVICE void init(ring<head_dim, tile, which> r)
{
    for (; r.parity == 0; r.advance()) {
        mbarrier_init(r.full(), 1);
        mbarrier_init(r.empty(), tile / QUERIES * GROUP / WARP);
    }
}

/* One thread. A page's place in the cache; outside of the work beyond it, where the copy engine
 * finds zeros. */
template <part which>
DEVICE int place_of_page(const cuda_attention_args &args, const work &w, uint32_t page)
{
    const size_t last_row = w.item.row + w.item.n_rows - 1;
    if (page < w.first || page >= w.end)
        return -KEYS;
    const uint32_t number = args.page_tables[last_row * args.page_table_len + page];
    return (
        int)((((number * args.n_layers + args.layer) * 2 + which) * args.n_kv_heads + w.kv_head) *
             KEYS);
}

/* One thread. A page of a block, those beside each other. */
template <int head_dim, int tile, part which>
DEVICE void load_page(const cuda_attention_args &args, const ring<head_dim, tile, which> &r,
                      uint32_t page, int at)
{
    using row = rows<head_dim, BLOCK>;
    uint8_t *to = r.data() + page % PAGES_OF_BLOCK * KEYS * row::swizzle;
    for (uint32_t c = 0; c < row::n_chunks; c++)
        tensor_load_2d(to + c * row::chunk_len, &args.cache, (int)(c * row::chunk), at, r.full());
}

/* One thread. The next page is looked up ahead: the ring may be full for long. Of a narrow item,
 * which has all rows that its sequence has in this step, the pages before that of its first row
 * were written by earlier steps: they are fetched before the launch ahead has ended. */
template <int head_dim, int tile, part which>
DEVICE void fill(const cuda_attention_args &args, ring<head_dim, tile, which> r)
{
    const uint32_t n_work = count_work(args);
    bool waited = false;
    tensor_map_prefetch(&args.cache);
    for (uint32_t round = 0; number_of(round) < n_work; round++) {
        const work w = find_work(args, number_of(round));
        int at = place_of_page<which>(args, w, first_of_block(w.first));
        for (uint32_t page = first_of_block(w.first); page < w.end; r.advance()) {
            mbarrier_wait_parity(r.empty(), r.parity ^ 1); /* at first, at once */
            mbarrier_arrive_expect_tx(r.full(), r.len);
            for (uint32_t i = 0; i < PAGES_OF_BLOCK; i++, page++) {
                const int next = place_of_page<which>(args, w, page + 1);
                if (!waited && (tile > QUERIES || (page + 1) * KEYS > w.position)) {
                    grid_wait();
                    waited = true;
                }
                load_page(args, r, page, at);
                at = next;
            }
        }
    }
    if (!waited)
        grid_wait();
}

DEVICE void join_group(const place &p)
{
    barrier_sync(FIRST_BARRIER + p.group, GROUP);
}

/* The warpgroup's queries, as the copy engine would leave them; zeros beyond the item's. */
template <int head_dim>
DEVICE void load_queries(uint8_t *to, const cuda_attention_args &args, const work &w,
                         const place &p)
{
    using row = rows<head_dim, QUERIES>;
    constexpr uint32_t pieces = head_dim / 8;
    join_group(p); /* all are done with the queries before */
    for (uint32_t i = threadIdx.x % GROUP; i < QUERIES * pieces; i += GROUP) {
        const uint32_t m = i / pieces, at = i % pieces;
        *(piece *)(to + row::offset(m, at)) =
            query_piece(args, w, p, p.group * QUERIES + m, head_dim, at);
    }
    fence_proxy_async();
    join_group(p);
}

/* Slots beyond the last row have not been written: their values count as zero, whatever lies there.
 */
template <int head_dim> DEVICE void clear_unwritten(uint8_t *values, const work &w, const place &p)
{
    using row = rows<head_dim, BLOCK>;
    constexpr uint32_t of_row = row::swizzle / 16;
    const uint32_t n = last_position(w) % BLOCK + 1; /* that were written */
    if (w.end != last_position(w) / KEYS + 1 || n == BLOCK)
        return;
    for (uint32_t c = 0; c < row::n_chunks; c++)
        for (uint32_t i = n * of_row + threadIdx.x % GROUP; i < BLOCK * of_row; i += GROUP)
            ((piece *)(values + c * row::chunk_len))[i] = piece{0, 0, 0, 0};
    fence_proxy_async();
    join_group(p);
}

} // namespace attention_sm90

#endif
