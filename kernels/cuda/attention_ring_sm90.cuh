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

/* How 64 rows of a head lie in shared memory: chunks of columns beside each other, as they are
 * copied. */
template <int head_dim> struct rows {
    static constexpr uint32_t chunk = ATTENTION_CHUNK(head_dim);
    static constexpr uint32_t swizzle = chunk * 2;
    static constexpr uint32_t chunk_len = KEYS * swizzle;
    static constexpr uint32_t n_chunks = head_dim / chunk;
    static constexpr uint32_t len = KEYS * head_dim * 2;
};

/* In shared memory: the queries, a ring of pages, three barriers for each, two for turns. */
template <int head_dim, int tile> struct ring {
    static constexpr uint32_t stages = ATTENTION_STAGES(head_dim, tile);
    static constexpr uint32_t page_len = ATTENTION_PAGE_LEN(head_dim);
    static constexpr uint32_t queries_len = tile * head_dim * 2;
    uint32_t stage = 0, parity = 0;

    DEVICE_MEMBER uint8_t *keys() const
    {
        return shared_at<uint8_t>(queries_len + stage * page_len, page_len);
    }

    DEVICE_MEMBER uint8_t *values() const
    {
        return keys() + rows<head_dim>::len;
    }

    DEVICE_MEMBER uint64_t *barrier(uint32_t of_kind) const
    {
        constexpr uint32_t at = queries_len + stages * page_len;
        return shared_at<uint64_t>(at + 8 * (of_kind * stages + stage), 1);
    }

    DEVICE_MEMBER uint64_t *keys_full() const
    {
        return barrier(0);
    }

    DEVICE_MEMBER uint64_t *values_full() const
    {
        return barrier(1);
    }

    DEVICE_MEMBER uint64_t *empty() const /* every consumer warp is done with both */
    {
        return barrier(2);
    }

    DEVICE_MEMBER void advance()
    {
        stage = stage + 1 == stages ? 0 : stage + 1;
        parity ^= stage == 0 ? 1 : 0;
    }
};

/* Two warpgroups take turns at the tensor cores: while one computes weights, the other multiplies.
 * Each takes as many turns as the other, since both go through the same pages. */
template <int head_dim, int tile> struct turns {
    uint32_t n = 0; /* taken so far */

    DEVICE_MEMBER static uint64_t *of_group(uint32_t group)
    {
        using r = ring<head_dim, tile>;
        return shared_at<uint64_t>(r::queries_len + r::stages * (r::page_len + 24) + 8 * group, 1);
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

template <int head_dim, int tile> DEVICE void release(const ring<head_dim, tile> &r)
{
    if (threadIdx.x % WARP == 0)
        mbarrier_arrive(r.empty());
}

template <int head_dim>
DEVICE void load_rows(uint8_t *to, const cuda_attention_args &args, uint32_t slot, uint64_t *full)
{
    mbarrier_arrive_expect_tx(full, rows<head_dim>::len);
    for (uint32_t i = 0; i < rows<head_dim>::n_chunks; i++)
        tensor_load_2d(to + i * rows<head_dim>::chunk_len, &args.cache,
                       (int)(i * rows<head_dim>::chunk), (int)slot, full);
}

/* One thread. The next page's number is fetched ahead: the ring may be full for long. Of a narrow
 * item, which has all rows that its sequence has in this step, the pages before that of its first
 * row were written by earlier steps: they are fetched before the launch ahead has ended. */
template <int head_dim, int tile>
DEVICE void fill(const cuda_attention_args &args, ring<head_dim, tile> r)
{
    const uint32_t n_work = count_work(args);
    bool waited = false;
    tensor_map_prefetch(&args.cache);
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        const work w = find_work(args, number);
        const uint32_t *pages =
            args.page_tables + (size_t)(w.item.row + w.item.n_rows - 1) * args.page_table_len;
        uint32_t page = w.first < w.end ? pages[w.first] : 0;
        for (uint32_t i = w.first; i < w.end; i++) {
            if (!waited && (tile > QUERIES || (i + 1) * KEYS > w.position)) {
                grid_wait();
                waited = true;
            }
            const uint32_t next = i + 1 < w.end ? pages[i + 1] : 0;
            const uint32_t keys = (page * args.n_layers + args.layer) * 2 * args.n_kv_heads;
            mbarrier_wait_parity(r.empty(), r.parity ^ 1); /* at first, at once */
            load_rows<head_dim>(r.keys(), args, (keys + w.kv_head) * KEYS, r.keys_full());
            load_rows<head_dim>(r.values(), args, (keys + args.n_kv_heads + w.kv_head) * KEYS,
                                r.values_full());
            r.advance();
            page = next;
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
    constexpr uint32_t pieces = head_dim / 8, of_chunk = rows<head_dim>::chunk / 8;
    join_group(p); /* all are done with the queries before */
    for (uint32_t i = threadIdx.x % GROUP; i < QUERIES * pieces; i += GROUP) {
        const uint32_t m = i / pieces, at = i % pieces;
        const piece x = query_piece(args, w, p, p.group * QUERIES + m, head_dim, at);
        uint32_t offset = at / of_chunk * rows<head_dim>::chunk_len + m * rows<head_dim>::swizzle +
                          at % of_chunk * 16;
        offset ^= (offset >> 7 & (rows<head_dim>::swizzle / 16 - 1)) << 4;
        *(piece *)(to + offset) = x;
    }
    fence_proxy_async();
    join_group(p);
}

/* Slots beyond the last row have not been written: their values count as zero, whatever lies there.
 */
template <int head_dim> DEVICE void clear_unwritten(uint8_t *values, const work &w, const place &p)
{
    constexpr uint32_t of_row = rows<head_dim>::swizzle / 16;
    const uint32_t n = last_position(w) + 1 - (w.end - 1) * KEYS; /* that were written */
    if (n >= KEYS)
        return;
    for (uint32_t c = 0; c < rows<head_dim>::n_chunks; c++)
        for (uint32_t i = n * of_row + threadIdx.x % GROUP; i < KEYS * of_row; i += GROUP)
            ((piece *)(values + c * rows<head_dim>::chunk_len))[i] = piece{0, 0, 0, 0};
    fence_proxy_async();
    join_group(p);
}

} // namespace attention_sm90

#endif
