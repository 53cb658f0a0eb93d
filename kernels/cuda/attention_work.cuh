/*
 * What the warps of attention share: the work, shared memory and its barriers, the copies into it,
 * and what each consumer's warpgroup and thread stand for in a tile.
 */
#ifndef KERNELS_CUDA_ATTENTION_WORK_CUH
#define KERNELS_CUDA_ATTENTION_WORK_CUH

#include "kernels/cuda/attention.cuh"

namespace attention
{

enum { GROUP = 128, QUERIES = 64, STEP = 16, FIRST_BARRIER = 1 };

/* How 64 rows of a head lie in shared memory: chunks of columns beside each other, as they are
 * copied. */
template <int head_dim> struct rows {
    static constexpr uint32_t chunk = ATTENTION_CHUNK(head_dim);
    static constexpr uint32_t swizzle = chunk * 2;
    static constexpr uint32_t chunk_len = KEYS * swizzle;
    static constexpr uint32_t n_chunks = head_dim / chunk;
    static constexpr uint32_t len = KEYS * head_dim * 2;
};

/* One head of one item. Blocks of 64 positions are those of the pages. */
struct work {
    cuda_attention_item item;
    uint32_t kv_head;
    uint32_t position;   /* of the item's first row */
    uint32_t first, end; /* pages */
};

DEVICE uint32_t first_seen(uint32_t position, uint32_t window)
{
    return window != 0 && position >= window ? position - window + 1 : 0;
}

DEVICE uint32_t last_position(const work &w)
{
    return w.position + w.item.n_rows - 1;
}

DEVICE uint32_t count_work(const cuda_attention_args &args)
{
    return *args.n_items * args.n_kv_heads;
}

DEVICE work find_work(const cuda_attention_args &args, uint32_t number)
{
    work w;
    w.item = args.items[number / args.n_kv_heads];
    w.kv_head = number % args.n_kv_heads;
    w.position = args.positions[w.item.row];
    const uint32_t first = first_seen(w.position, args.window) / KEYS;
    const uint32_t end = last_position(w) / KEYS + 1;
    const uint32_t first_wanted = w.item.first_split * PAGES_OF_SPLIT;
    const uint32_t end_wanted = w.item.end_split * PAGES_OF_SPLIT;
    w.first = first > first_wanted ? first : first_wanted;
    w.end = end < end_wanted ? end : end_wanted;
    return w;
}

/* In shared memory: the queries, a ring of pages, three barriers for each, two for turns. */
template <int head_dim, int tile> struct ring {
    static constexpr uint32_t stages = ATTENTION_STAGES(head_dim);
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

/* One thread. The next page's number is fetched ahead: the ring may be full for long. */
template <int head_dim, int tile>
DEVICE void fill(const cuda_attention_args &args, ring<head_dim, tile> r)
{
    const uint32_t n_work = count_work(args);
    tensor_map_prefetch(&args.cache);
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        const work w = find_work(args, number);
        const uint32_t *pages =
            args.page_tables + (size_t)(w.item.row + w.item.n_rows - 1) * args.page_table_len;
        uint32_t page = w.first < w.end ? pages[w.first] : 0;
        for (uint32_t i = w.first; i < w.end; i++) {
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
}

/* What a consumer's warpgroup and thread stand for in a tile. */
struct place {
    uint32_t group;     /* of warpgroups, from 0 */
    uint32_t per_row;   /* query heads of a row in the tile */
    uint32_t n_queries; /* of the item's, in the tile */
    uint32_t query[2];  /* the thread's own, in the tile */
    view seen[2];
    uint32_t low, high; /* between these every query of the warpgroup sees every position */
};

DEVICE uint32_t row_of(const place &p, uint32_t query)
{
    const uint32_t last = p.n_queries - 1;
    return (query < last ? query : last) / p.per_row; /* beyond the last: its copies */
}

DEVICE place find_place(const cuda_attention_args &args, const work &w)
{
    place p;
    p.group = threadIdx.x / GROUP - 1;
    p.per_row = args.n_heads / args.n_kv_heads;
    p.n_queries = w.item.n_rows * p.per_row;
    UNROLL
    for (uint32_t h = 0; h < 2; h++) {
        p.query[h] =
            p.group * QUERIES + threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4 + 8 * h;
        p.seen[h].last = w.position + row_of(p, p.query[h]);
        p.seen[h].first = first_seen(p.seen[h].last, args.window);
    }
    p.high = w.position + row_of(p, p.group * QUERIES);
    p.low = first_seen(w.position + row_of(p, p.group * QUERIES + QUERIES - 1), args.window);
    return p;
}

/* Sixteen bytes at once. */
struct alignas(16) piece {
    uint32_t x, y, z, w;
};

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
    const uint32_t heads = args.n_heads + 2 * args.n_kv_heads;
    join_group(p); /* all are done with the queries before */
    for (uint32_t i = threadIdx.x % GROUP; i < QUERIES * pieces; i += GROUP) {
        const uint32_t m = i / pieces, at = i % pieces, query = p.group * QUERIES + m;
        const size_t head = (size_t)(w.item.row + query / p.per_row) * heads +
                            w.kv_head * p.per_row + query % p.per_row;
        piece x = {0, 0, 0, 0};
        if (query < p.n_queries)
            x = ((const piece *)(args.qkv + head * head_dim))[at];
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

} // namespace attention

#endif
