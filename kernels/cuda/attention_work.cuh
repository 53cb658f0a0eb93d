/*
 * The work of attention's blocks, and what each warp and thread stands for in a tile: the same for
 * every chip. A group of four warps has 64 queries, each of its warps 16 of them.
 */
#ifndef KERNELS_CUDA_ATTENTION_WORK_CUH
#define KERNELS_CUDA_ATTENTION_WORK_CUH

#include "kernels/cuda/attention.cuh"

namespace attention
{

enum { GROUP = 128, QUERIES = 64 };

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

DEVICE uint32_t first_of_block(uint32_t page)
{
    return page - page % PAGES_OF_BLOCK;
}

DEVICE uint32_t last_position(const work &w)
{
    return w.position + w.item.n_rows - 1;
}

DEVICE uint32_t count_work(const cuda_attention_args &args)
{
    return *args.n_items * args.n_kv_heads;
}

/* The block's pieces of work: every gridDim.x-th, to and fro, so that the block whose first one
 * takes longest has the shortest of the next ones. */
DEVICE uint32_t number_of(uint32_t round)
{
    return round * gridDim.x + (round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
}

/* The same in all lanes, which the compiler does not see by itself: what is made from it need not
 * be kept in each of them. */
DEVICE uint32_t uniform(uint32_t x)
{
    return __shfl_sync(ALL_LANES, x, 0);
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

/* What a group of warps and a thread stand for in a tile. */
struct place {
    uint32_t group;     /* of those that have queries, from 0 */
    uint32_t per_row;   /* query heads of a row in the tile */
    uint32_t n_queries; /* of the item's, in the tile */
    uint32_t query[2];  /* the thread's own, in the tile */
    uint32_t low, high; /* between these every query of the group sees every position */
};

DEVICE uint32_t row_of(const place &p, uint32_t query)
{
    const uint32_t last = p.n_queries - 1;
    return (query < last ? query : last) / p.per_row; /* beyond the last: its copies */
}

DEVICE place find_place(const cuda_attention_args &args, const work &w, uint32_t group)
{
    place p;
    p.group = group;
    p.per_row = args.n_heads / args.n_kv_heads;
    p.n_queries = w.item.n_rows * p.per_row;
    UNROLL
    for (uint32_t h = 0; h < 2; h++)
        p.query[h] =
            p.group * QUERIES + threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4 + 8 * h;
    p.high = w.position + row_of(p, p.group * QUERIES);
    p.low = first_seen(w.position + row_of(p, p.group * QUERIES + QUERIES - 1), args.window);
    return p;
}

/* Found anew for each page that needs it: kept, it would cost registers all along. */
DEVICE view find_view(const cuda_attention_args &args, const work &w, const place &p, int half)
{
    const uint32_t last = w.position + row_of(p, p.query[half]);
    return view{first_seen(last, args.window), last};
}

/* Sixteen bytes at once. */
struct alignas(16) piece {
    uint32_t x, y, z, w;
};

/* Sixteen bytes of a query, by its number in the tile; zeros beyond the item's. */
DEVICE piece query_piece(const cuda_attention_args &args, const work &w, const place &p,
                         uint32_t query, uint32_t head_dim, uint32_t at)
{
    const uint32_t heads = args.n_heads + 2 * args.n_kv_heads;
    const size_t head = (size_t)(w.item.row + query / p.per_row) * heads + w.kv_head * p.per_row +
                        query % p.per_row;
    if (query >= p.n_queries)
        return piece{0, 0, 0, 0};
    return ((const piece *)(args.qkv + head * head_dim))[at];
}

} // namespace attention

#endif
