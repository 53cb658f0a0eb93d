/*
 * Causal attention over the paged cache on chips of compute capability 8, for prefill and decode
 * alike: the definition that attention_sm90.cu computes, by mma.sync. A tile of 64 or 128 queries
 * goes through the pages that it sees, 16 of them each warp's own. All threads of the block copy
 * (cp.async): a ring in shared memory holds halves of pages, keys and values in turn, several ahead
 * of what is multiplied. A warp without queries copies alone.
 *
 * A query's bits depend on neither its tile nor how its splits were shared among blocks.
 */
#include "kernels/cuda/attention_queries.cuh"
#include "kernels/cuda/ptx_warp.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900
namespace attention_sm80
{

using namespace attention;

enum { SIDE = 8, PAIR = 16 }; /* of a matrix of 8 by 8; of two of them */
enum { OF_WARP = 16 };        /* queries */
enum { ONES = 0x3f803f80 };   /* two of bf16 */

/* Where a row's piece of 16 bytes lies in a half of a page: eight rows have theirs of one column in
 * eight places, so that they are read at once. */
template <int head_dim> DEVICE uint32_t place_of(uint32_t row, uint32_t piece)
{
    const uint32_t turn = head_dim % 64 == 0 ? row % SIDE : row / 2 % 4;
    return row * head_dim * 2 + (piece ^ turn) * 16;
}

/* What this lane says of four matrices of 8 by 8, two below each other, then the next columns: rows
 * from `row` on, columns from 8 * `piece` on. */
template <int head_dim>
DEVICE const uint8_t *lanes_row(const uint8_t *from, uint32_t row, uint32_t piece)
{
    const uint32_t lane = threadIdx.x % WARP, matrix = lane / SIDE;
    return from + place_of<head_dim>(row + matrix % 2 * SIDE + lane % SIDE, piece + matrix / 2);
}

/* The ring, and what is copied there next: of each block of the work, keys of its two pages, then
 * values. A page outside of the work comes as zeros. */
template <int head_dim, int tile> struct ring {
    static constexpr uint32_t stages = SM80_ATTENTION_STAGES(head_dim);
    static constexpr uint32_t queries_len = tile * head_dim * 2;
    static constexpr uint32_t len = SM80_ATTENTION_HALF_LEN(head_dim);
    const cuda_attention_args &args;
    const work &w;
    uint32_t at;        /* the next half to copy: of block at / 4 */
    uint32_t number;    /* its page in the cache */
    uint32_t stage = 0; /* the next to multiply */

    DEVICE_MEMBER ring(const cuda_attention_args &its_args, const work &its_work)
        : args(its_args), w(its_work), at(w.first / PAGES_OF_BLOCK * 4)
    {
        find_page();
    }

    DEVICE_MEMBER uint32_t page() const
    {
        return at / 4 * PAGES_OF_BLOCK + at % 2;
    }

    DEVICE_MEMBER void find_page()
    {
        const size_t last_row = w.item.row + w.item.n_rows - 1;
        number = page() >= w.first && page() < w.end
                     ? args.page_tables[last_row * args.page_table_len + page()]
                     : 0;
    }

    /* The thread's share of a half, in one column: rows eight or sixteen apart lie turned alike, so
     * one address is enough. Zeros where no row has been written: what lies there is of no
     * account. */
    DEVICE_MEMBER void copy_half(uint32_t to_stage) const
    {
        constexpr uint32_t pieces = head_dim / 8, n_threads = SM80_ATTENTION_BLOCK(tile);
        constexpr uint32_t at_once = n_threads / (SIDE * pieces) * SIDE;
        const uint32_t row = threadIdx.x / pieces, piece = threadIdx.x % pieces;
        const size_t block =
            (((size_t)number * args.n_layers + args.layer) * 2 + at % 4 / 2) * args.n_kv_heads +
            w.kv_head;
        const uint16_t *from = args.cache_at + (block * KEYS + row) * head_dim + piece * 8;
        uint8_t *to =
            shared_at<uint8_t>(queries_len + to_stage * len, len) + place_of<head_dim>(row, piece);
        if (row >= at_once)
            return;
        UNROLL
        for (uint32_t i = 0; i < KEYS; i += at_once)
            copy_async(to + i * head_dim * 2, from + i * head_dim,
                       page() >= w.first && page() * KEYS + row + i <= last_position(w));
    }

    /* One half, or nothing behind the last page; a group of copies in any case. */
    DEVICE_MEMBER void fill(uint32_t to_stage)
    {
        if (at / 4 * PAGES_OF_BLOCK < w.end) {
            copy_half(to_stage);
            at++;
            find_page();
        }
        copy_async_commit();
    }

    /* The next half to multiply has come, of all threads' copies, and all warps are done with the
     * one before it, which is filled anew. */
    DEVICE_MEMBER const uint8_t *take()
    {
        copy_async_wait<stages - 2>();
        __syncthreads();
        fill(stage == 0 ? stages - 1 : stage - 1);
        const uint8_t *from = shared_at<uint8_t>(queries_len + stage * len, len);
        stage = stage + 1 == stages ? 0 : stage + 1;
        return from;
    }
};

/* The warp's 16 queries, to shared memory. */
template <int head_dim>
DEVICE void load_queries(uint8_t *to, const cuda_attention_args &args, const work &w,
                         const place &p)
{
    constexpr uint32_t pieces = head_dim / 8;
    const uint32_t first = threadIdx.x / WARP * OF_WARP;
    UNROLL
    for (uint32_t i = threadIdx.x % WARP; i < OF_WARP * pieces; i += WARP)
        *(piece *)(to + place_of<head_dim>(i / pieces, i % pieces)) =
            query_piece(args, w, p, first + i / pieces, head_dim, i % pieces);
}

/* scores = queries times keys of one page of two: chains along head_dim, from +0. */
template <int head_dim>
DEVICE void multiply_keys(accumulators<BLOCK> &scores, uint32_t page, const uint8_t *queries,
                          const uint8_t *keys)
{
    float *of_page = &scores.d[page * KEYS / 2];
    UNROLL
    for (uint32_t i = 0; i < KEYS / 2; i++)
        of_page[i] = 0.0f;
    UNROLL
    for (uint32_t step = 0; step < head_dim / STEP; step++) {
        uint32_t a[4];
        ldmatrix_x4(a, lanes_row<head_dim>(queries, 0, step * 2));
        UNROLL
        for (uint32_t key = 0; key < KEYS; key += PAIR) {
            uint32_t b[4];
            ldmatrix_x4(b, lanes_row<head_dim>(keys, key, step * 2));
            mma(&of_page[key / 2], a, {b[0], b[2]});
            mma(&of_page[key / 2 + 4], a, {b[1], b[3]});
        }
    }
}

/* One warp's way through one piece of work. */
template <int head_dim> struct consumer {
    two_queries<head_dim, head_dim / 2> q;
    accumulators<BLOCK> s; /* scores */
    uint8_t *const queries;

    DEVICE_MEMBER consumer(const cuda_attention_args &args, const work &w, const place &p)
        : q(args, w, p, nullptr),
          queries(shared_at<uint8_t>(threadIdx.x / WARP * OF_WARP * head_dim * 2,
                                     OF_WARP * head_dim * 2))
    {
    }

    /* Blocks are named by their first page. */
    DEVICE_MEMBER void follow_scores(uint32_t page)
    {
        q.mask_block(s, page);
        if (q.begins_split(page)) {
            q.begin_split(s, page);
            q.clear_own();
        }
        if (follow(q.of, s, q.scale))
            q.scale_own();
    }

    /* The sums so far += weights times values of one page of two: chains go on along the keys. */
    DEVICE_MEMBER void see_values(uint32_t page, const uint8_t *values)
    {
        const float m[2] = {finite(q.of[0].m), finite(q.of[1].m)};
        UNROLL
        for (uint32_t step = 0; step < KEYS / STEP; step++) {
            uint32_t a[4];
            weigh(a, s, page * KEYS / STEP + step, q.scale, m);
            mma(&q.own.d[head_dim / 2], a, {ONES, ONES});
            UNROLL
            for (uint32_t col = 0; col < head_dim; col += PAIR) {
                uint32_t b[4];
                ldmatrix_x4_turned(b, lanes_row<head_dim>(values, step * STEP, col / SIDE));
                mma(&q.own.d[col / 2], a, {b[0], b[1]});
                mma(&q.own.d[col / 2 + 4], a, {b[2], b[3]});
            }
        }
    }

    DEVICE_MEMBER void end_block(uint32_t page)
    {
        const uint32_t next = page + PAGES_OF_BLOCK;
        if (next >= q.w.end || q.begins_split(next))
            q.end_split(page);
    }
};

template <int head_dim, int tile> DEVICE void attend(const cuda_attention_args &args, const work &w)
{
    using its_ring = ring<head_dim, tile>;
    const place p = find_place(args, w, threadIdx.x / GROUP);
    const bool has_queries = threadIdx.x / WARP * OF_WARP < p.n_queries;
    its_ring r(args, w);
    consumer<head_dim> c(args, w, p);
    if (has_queries)
        load_queries<head_dim>(c.queries, args, w, p);
    UNROLL
    for (uint32_t i = 0; i + 1 < its_ring::stages; i++)
        r.fill(i);
    for (uint32_t page = first_of_block(w.first); page < w.end; page += PAGES_OF_BLOCK) {
        UNROLL
        for (uint32_t i = 0; i < PAGES_OF_BLOCK; i++) {
            const uint8_t *keys = r.take();
            if (has_queries)
                multiply_keys<head_dim>(c.s, i, c.queries, keys);
        }
        if (has_queries)
            c.follow_scores(page);
        UNROLL
        for (uint32_t i = 0; i < PAGES_OF_BLOCK; i++) {
            const uint8_t *values = r.take();
            if (has_queries)
                c.see_values(i, values);
        }
        if (has_queries)
            c.end_block(page);
    }
    if (has_queries && w.item.partial == ATTENTION_WHOLE)
        c.q.write_out();
}

/* The work is kept in shared memory, in two places in turn: in registers it would be too much
 * beside the sums. Behind the barrier it is known, and nobody uses what the work before has left
 * there. */
template <int head_dim, int tile> DEVICE void run(const cuda_attention_args &args)
{
    constexpr size_t at = SM80_ATTENTION_SHARED_LEN(head_dim, tile) - 2 * SM80_ATTENTION_WORK_LEN;
    static_assert(sizeof(work) <= SM80_ATTENTION_WORK_LEN, "the work has its place");
    const uint32_t n_work = count_work(args);
    for (uint32_t round = 0; number_of(round) < n_work; round++) {
        work &w = *shared_at<work>(at + round % 2 * SM80_ATTENTION_WORK_LEN, 1);
        if (threadIdx.x == 0)
            w = find_work(args, number_of(round));
        __syncthreads();
        if (w.first < w.end)
            attend<head_dim, tile>(args, w);
    }
}

} // namespace attention_sm80

#define SM80_ATTENTION_KERNEL(head_dim, tile)                                                      \
    KERNEL(sm80_attention_##head_dim##_##tile, cuda_attention_args, SM80_ATTENTION_BLOCK(tile))    \
    {                                                                                              \
        attention_sm80::run<head_dim, tile>(args);                                                 \
    }

SM80_ATTENTION_KERNEL(64, 64)
SM80_ATTENTION_KERNEL(64, 128)
SM80_ATTENTION_KERNEL(96, 64)
SM80_ATTENTION_KERNEL(96, 128)
SM80_ATTENTION_KERNEL(128, 64)
SM80_ATTENTION_KERNEL(128, 128)
#endif
