/*
 * Causal attention over the paged cache on Hopper, for prefill and decode alike. A tile of 64 or
 * 128 queries (rows of one sequence, each with the query heads that share a key head) goes through
 * the pages that it sees. A thread of the first warpgroup keeps a ring of pages filled by the copy
 * engine; each of the others has 64 queries: scores by the tensor cores, weights in registers,
 * weighted values by the tensor cores. The scores of a page are computed while the values of the
 * page before it are added.
 *
 * A query's bits depend on neither its tile nor how its splits were shared among blocks.
 */
#include "kernels/cuda/attention.cuh"

/* Two floats that lie beside each other, as one access. */
struct alignas(8) pair {
    float x, y;
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
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

template <int head_dim, int tile> struct ring {
    static constexpr uint32_t stages = ATTENTION_STAGES(head_dim);
    static constexpr uint32_t page_len = ATTENTION_PAGE_LEN(head_dim);
    static constexpr uint32_t queries_len = tile * head_dim * 2;
    uint64_t *keys_full, *values_full; /* a stage's have come */
    uint64_t *empty;                   /* every consumer warp is done with both */
    uint32_t stage = 0, parity = 0;

    DEVICE_MEMBER void bind()
    {
        keys_full = shared_at<uint64_t>(queries_len + stages * page_len, 3 * stages);
        values_full = keys_full + stages;
        empty = values_full + stages;
    }

    DEVICE_MEMBER uint8_t *keys() const
    {
        return shared_at<uint8_t>(queries_len + stage * page_len, page_len);
    }

    DEVICE_MEMBER uint8_t *values() const
    {
        return keys() + rows<head_dim>::len;
    }

    DEVICE_MEMBER void advance()
    {
        stage = stage + 1 == stages ? 0 : stage + 1;
        parity ^= stage == 0 ? 1 : 0;
    }
};

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
            mbarrier_wait_parity(&r.empty[r.stage], r.parity ^ 1); /* at first, at once */
            load_rows<head_dim>(r.keys(), args, (keys + w.kv_head) * KEYS, &r.keys_full[r.stage]);
            load_rows<head_dim>(r.values(), args, (keys + args.n_kv_heads + w.kv_head) * KEYS,
                                &r.values_full[r.stage]);
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

/* scores = queries times keys: one chain along head_dim, from +0. */
template <int head_dim>
DEVICE void multiply_keys(accumulators<KEYS> &scores, const uint8_t *queries, const uint8_t *keys)
{
    using r = rows<head_dim>;
    UNROLL
    for (uint32_t k = 0; k < head_dim; k += STEP) {
        const uint32_t at = k / r::chunk * r::chunk_len + k % r::chunk * 2;
        wgmma(scores, wgmma_operand<r::swizzle>(shared_address(queries) + at, 0),
              wgmma_operand<r::swizzle>(shared_address(keys) + at, 0), k == 0);
    }
    wgmma_commit();
}

/* sums += weights times values: the chain goes on along the keys. */
template <int head_dim>
DEVICE void multiply_values(accumulators<head_dim> &sums, const uint32_t (&weights)[KEYS / STEP][4],
                            const uint8_t *values, bool fresh)
{
    using r = rows<head_dim>;
    UNROLL
    for (uint32_t k = 0; k < KEYS; k += STEP)
        wgmma_rows(sums, weights[k / STEP],
                   wgmma_operand<r::swizzle>(shared_address(values) + k * r::swizzle, r::chunk_len),
                   fresh && k == 0);
    wgmma_commit();
}

DEVICE void narrow_weights(uint32_t (&to)[KEYS / STEP][4], const accumulators<KEYS> &weights)
{
    UNROLL
    for (int i = 0; i < KEYS / 4; i++)
        to[i / 4][i % 4] = narrow_pair(weights.d[2 * i], weights.d[2 * i + 1]);
}

/* One warpgroup's way through one piece of work. */
template <int head_dim> struct consumer {
    const cuda_attention_args &args;
    const work &w;
    const place &p;
    const scores_scale scale;
    accumulators<KEYS> s;             /* scores, then weights */
    uint32_t weights[KEYS / STEP][4]; /* of the page whose values are added */
    accumulators<head_dim> own;       /* of this split */
    float sums[head_dim / 2];         /* of the splits before, folded */
    gathered of_split[2], all[2];
    float factor[2];

    DEVICE_MEMBER consumer(const cuda_attention_args &its_args, const work &its_work,
                           const place &its_place)
        : args(its_args), w(its_work), p(its_place), scale(make_scale(its_args.scale))
    {
        for (int h = 0; h < 2; h++)
            of_split[h] = all[h] = nothing();
    }

    DEVICE_MEMBER bool weigh_page(uint32_t page)
    {
        const uint32_t position = page * KEYS;
        if (position >= p.low && position + KEYS - 1 <= p.high)
            return weigh<false>(s, of_split, factor, p.seen, position, scale);
        return weigh<true>(s, of_split, factor, p.seen, position, scale);
    }

    DEVICE_MEMBER bool begins_split(uint32_t page) const
    {
        return page % PAGES_OF_SPLIT == 0 || page == w.first;
    }

    DEVICE_MEMBER void scale_own()
    {
        UNROLL
        for (int i = 0; i < head_dim / 2; i++)
            own.d[i] = own.d[i] * factor[half_of(i)];
    }

    /* Where a query's head stands in (n_rows, n_heads). */
    DEVICE_MEMBER size_t head_of(int h) const
    {
        return (size_t)(w.item.row + p.query[h] / p.per_row) * args.n_heads +
               w.kv_head * p.per_row + p.query[h] % p.per_row;
    }

    DEVICE_MEMBER void fold_own(const gathered (&ended)[2])
    {
        folding f[2];
        UNROLL
        for (int h = 0; h < 2; h++)
            f[h] = fold_in(all[h], ended[h], scale);
        UNROLL
        for (int i = 0; i < head_dim / 2; i++)
            sums[i] = fold(f[half_of(i)], sums[i], own.d[i]);
    }

    DEVICE_MEMBER void write_partial(const gathered (&ended)[2], uint32_t split)
    {
        UNROLL
        for (int h = 0; h < 2; h++) {
            if (p.query[h] >= p.n_queries)
                continue;
            const size_t partial = w.item.partial +
                                   (size_t)(p.query[h] / p.per_row) * w.item.partial_stride +
                                   (split - w.item.first_split);
            const size_t head =
                partial * args.n_heads + w.kv_head * p.per_row + p.query[h] % p.per_row;
            float *to = args.partial_sums + head * head_dim;
            UNROLL
            for (int i = 0; i < head_dim / 2; i += 2)
                if (half_of(i) == h)
                    *(pair *)(to + column_of(i)) = pair{own.d[i], own.d[i + 1]};
            if (threadIdx.x % 4 == 0)
                *(pair *)(args.partial_weights + 2 * head) = pair{ended[h].m, ended[h].l};
        }
    }

    /* The split of `page`, its last one here, is whole. */
    DEVICE_MEMBER void end_split(gathered (&ended)[2], uint32_t page)
    {
        UNROLL
        for (int h = 0; h < 2; h++)
            ended[h].l = join_columns(ended[h].l);
        if (w.item.partial == ATTENTION_WHOLE)
            fold_own(ended);
        else
            write_partial(ended, page / PAGES_OF_SPLIT);
    }

    DEVICE_MEMBER void write_out() const
    {
        UNROLL
        for (int h = 0; h < 2; h++) {
            if (p.query[h] >= p.n_queries)
                continue;
            uint16_t *to = args.out + head_of(h) * head_dim;
            const float by = result_scale(all[h].l);
            UNROLL
            for (int i = 0; i < head_dim / 2; i += 2)
                if (half_of(i) == h)
                    *(uint32_t *)(to + column_of(i)) = narrow_pair(sums[i] * by, sums[i + 1] * by);
        }
    }
};

template <int head_dim, int tile> DEVICE void release(const ring<head_dim, tile> &r)
{
    if (threadIdx.x % WARP == 0)
        mbarrier_arrive(&r.empty[r.stage]);
}

template <int head_dim, int tile>
DEVICE void attend(const cuda_attention_args &args, ring<head_dim, tile> &r, const work &w)
{
    const place p = find_place(args, w);
    consumer<head_dim> c(args, w, p);
    uint8_t *queries = shared_at<uint8_t>(p.group * rows<head_dim>::len, rows<head_dim>::len);
    load_queries<head_dim>(queries, args, w, p);
    mbarrier_wait_parity(&r.keys_full[r.stage], r.parity);
    wgmma_fence();
    multiply_keys<head_dim>(c.s, queries, r.keys());
    wgmma_wait<0>();
    c.weigh_page(w.first);
    narrow_weights(c.weights, c.s);
    for (uint32_t page = w.first + 1; page < w.end; page++) {
        ring<head_dim, tile> next = r;
        next.advance();
        mbarrier_wait_parity(&next.keys_full[next.stage], next.parity);
        mbarrier_wait_parity(&r.values_full[r.stage], r.parity);
        wgmma_fence();
        multiply_keys<head_dim>(c.s, queries, next.keys());
        multiply_values<head_dim>(c.own, c.weights, r.values(), c.begins_split(page - 1));
        wgmma_wait<1>();
        gathered ended[2] = {c.of_split[0], c.of_split[1]};
        const bool split_ends = page % PAGES_OF_SPLIT == 0;
        if (split_ends)
            c.of_split[0] = c.of_split[1] = nothing();
        const bool moved = c.weigh_page(page);
        wgmma_wait<0>();
        release(r);
        if (split_ends)
            c.end_split(ended, page - 1);
        else if (moved)
            c.scale_own();
        narrow_weights(c.weights, c.s);
        r = next;
    }
    mbarrier_wait_parity(&r.values_full[r.stage], r.parity);
    clear_unwritten<head_dim>(r.values(), w, p);
    wgmma_fence();
    multiply_values<head_dim>(c.own, c.weights, r.values(), c.begins_split(w.end - 1));
    wgmma_wait<0>();
    release(r);
    r.advance();
    c.end_split(c.of_split, w.end - 1);
    if (w.item.partial == ATTENTION_WHOLE)
        c.write_out();
}

template <int head_dim, int tile> DEVICE void run(const cuda_attention_args &args)
{
    ring<head_dim, tile> r;
    r.bind();
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < r.stages; i++) {
            mbarrier_init(&r.keys_full[i], 1);
            mbarrier_init(&r.values_full[i], 1);
            mbarrier_init(&r.empty[i], tile / QUERIES * GROUP / WARP);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        registers_release<24>();
        if (threadIdx.x == 0)
            fill<head_dim, tile>(args, r);
        return;
    }
    registers_take<240>();
    const uint32_t n_work = count_work(args);
    for (uint32_t number = blockIdx.x; number < n_work; number += gridDim.x) {
        const work w = find_work(args, number);
        if (w.first < w.end)
            attend<head_dim, tile>(args, r, w);
    }
}

} // namespace attention

#define ATTENTION_KERNEL(head_dim, tile)                                                           \
    KERNEL(attention_##head_dim##_##tile, cuda_attention_args, ATTENTION_BLOCK(tile))              \
    {                                                                                              \
        attention::run<head_dim, tile>(args);                                                      \
    }

ATTENTION_KERNEL(64, 64)
ATTENTION_KERNEL(64, 128)
ATTENTION_KERNEL(96, 64)
ATTENTION_KERNEL(96, 128)
ATTENTION_KERNEL(128, 64)
ATTENTION_KERNEL(128, 128)
#endif

enum { FOLD_ELEMENTS = 128 / WARP };

/* One head of one row: a warp, lane l has every 32nd element from l on. */
DEVICE void fold_head(const cuda_attention_fold_args &args, const cuda_attention_fold &row,
                      uint32_t head)
{
    const scores_scale scale = make_scale(args.scale);
    const uint32_t lane = threadIdx.x % WARP;
    gathered all = nothing();
    float sums[FOLD_ELEMENTS] = {};
    for (uint32_t i = 0; i < row.n_partials; i++) {
        const size_t at = (size_t)(row.partial + i) * args.n_heads + head;
        const pair weights = ((const pair *)args.partial_weights)[at];
        const folding f = fold_in(all, gathered{weights.x, weights.y}, scale);
        UNROLL
        for (uint32_t e = 0; e < FOLD_ELEMENTS; e++)
            if (lane + e * WARP < args.head_dim)
                sums[e] = fold(f, sums[e], args.partial_sums[at * args.head_dim + lane + e * WARP]);
    }
    uint16_t *to = args.out + ((size_t)row.row * args.n_heads + head) * args.head_dim;
    const float by = result_scale(all.l);
    UNROLL
    for (uint32_t e = 0; e < FOLD_ELEMENTS; e++)
        if (lane + e * WARP < args.head_dim)
            to[lane + e * WARP] = narrow(sums[e] * by).bits;
}

KERNEL(attention_fold, cuda_attention_fold_args, CUDA_BLOCK)
{
    const uint32_t n_warps = CUDA_BLOCK / WARP, n = *args.n_folds * args.n_heads;
    for (uint32_t i = blockIdx.x * n_warps + threadIdx.x / WARP; i < n; i += gridDim.x * n_warps)
        fold_head(args, args.folds[i / args.n_heads], i % args.n_heads);
}
