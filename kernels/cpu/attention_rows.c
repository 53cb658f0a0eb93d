/*
 * Attention of rows that stand one behind the other in a sequence, as those of a prompt do, in one
 * pass over its pages: each is read once for all of them, and tiles of queries fill the registers
 * where a group has too few heads to do so. A query is a row's head. For every query the order is
 * attention.c's, to the bit: where a tile's queries do not see the same positions, those that some
 * do not see are added outside of it, in their turn; sums wait in `out` between pages.
 */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

enum { TILE = 4 }; /* queries whose outputs are summed side by side */
#define DIMS (LANES == 16 ? (size_t)4 : (size_t)2) /* vectors of an output side by side */

struct pass {
    const struct attention_args *args;
    const struct attention_rows *rows;
    const uint32_t *page_table;
    size_t n_heads, n_queries, head_dim, head_offset;
    size_t position;      /* of the first row */
    size_t first, end;    /* the positions that any row sees */
    size_t begin, stride; /* of a query's scores: position `begin` first; multiples of LANES */
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t first_seen(const struct attention_args *args, size_t position)
{
    return args->window != 0 && position + 1 > args->window ? position + 1 - args->window : 0;
}

/* What differs between the queries of a tile. */
struct query {
    const float *x;
    float *out, *scores;
    size_t first, end; /* the positions that it sees */
};

static struct query query_at(const struct pass *p, size_t i)
{
    size_t row = i / p->n_heads, head = p->rows->kv_head * p->n_heads + i % p->n_heads;
    size_t at = ((p->rows->first + row) * p->args->n_heads + head) * p->head_dim;
    size_t position = p->position + row;
    return (struct query){.x = p->args->q + at,
                          .out = p->args->out + at,
                          .scores = p->rows->scores + i * p->stride,
                          .first = first_seen(p->args, position),
                          .end = position + 1};
}

/* tile_m queries times LANES / tile_m keys. */
INLINE void score_tile(const struct query *queries, size_t at, const float *keys, size_t head_dim,
                       size_t tile_m)
{
    vec acc[16], a[2];
    size_t tile_n = LANES / tile_m, whole = head_dim / LANES * LANES, left = head_dim - whole;
    float sums[16];
    UNROLL
    for (size_t o = 0; o < LANES; o++)
        acc[o] = vec_set(0.0f);
    for (size_t k = 0; k < whole; k += LANES) {
        UNROLL
        for (size_t i = 0; i < tile_m; i++)
            a[i] = vec_load(queries[i].x + k);
        UNROLL
        for (size_t j = 0; j < tile_n; j++) {
            vec b = vec_load(keys + j * head_dim + k);
            UNROLL
            for (size_t i = 0; i < tile_m; i++)
                acc[i * tile_n + j] = vec_fma(a[i], b, acc[i * tile_n + j]);
        }
    }
    if (left > 0) {
        UNROLL
        for (size_t o = 0; o < LANES; o++)
            acc[o] = vec_fma(vec_load_part(queries[o / tile_n].x + whole, left),
                             vec_load_part(keys + o % tile_n * head_dim + whole, left), acc[o]);
    }
    vec_store(sums, vec_join_all(acc));
    UNROLL
    for (size_t i = 0; i < tile_m; i++)
        memcpy(queries[i].scores + at, sums + i * tile_n, tile_n * sizeof *sums);
}

/* Of all queries with the keys of positions from to to - 1, multiples of LANES on one page, whether
 * they see them or not. */
static void score(const struct pass *p, size_t from, size_t to)
{
    size_t page = p->page_table[from / KV_PAGE_TOKENS], i = 0;
    const float *keys = kv_cache_keys(p->args->cache, page, p->args->layer) + p->head_offset +
                        from % KV_PAGE_TOKENS * p->head_dim;
    for (; i + 2 <= p->n_queries; i += 2) {
        const struct query pair[] = {query_at(p, i), query_at(p, i + 1)};
        for (size_t at = from; at < to; at += LANES / 2)
            score_tile(pair, at - p->begin, keys + (at - from) * p->head_dim, p->head_dim, 2);
    }
    if (i == p->n_queries)
        return;
    const struct query last = query_at(p, i);
    for (size_t at = from; at < to; at += LANES)
        score_tile(&last, at - p->begin, keys + (at - from) * p->head_dim, p->head_dim, 1);
}

/* Values of n positions, and `last` lanes of the last vector of dimensions from d on. */
INLINE void add_tile(const struct query *queries, const float *values, size_t at, size_t n,
                     size_t head_dim, size_t d, size_t tile_m, size_t tile_d, size_t last)
{
    vec acc[TILE * 4], v[4];
    UNROLL
    for (size_t i = 0; i < tile_m; i++) {
        UNROLL
        for (size_t c = 0; c < tile_d; c++)
            acc[i * tile_d + c] = last < LANES ? vec_load_part(queries[i].out + d, last)
                                               : vec_load(queries[i].out + d + c * LANES);
    }
    for (size_t j = 0; j < n; j++, values += head_dim) {
        UNROLL
        for (size_t c = 0; c < tile_d; c++)
            v[c] =
                last < LANES ? vec_load_part(values + d, last) : vec_load(values + d + c * LANES);
        UNROLL
        for (size_t i = 0; i < tile_m; i++) {
            vec weight = vec_set(queries[i].scores[at + j]);
            UNROLL
            for (size_t c = 0; c < tile_d; c++)
                acc[i * tile_d + c] = vec_fma(weight, v[c], acc[i * tile_d + c]);
        }
    }
    UNROLL
    for (size_t i = 0; i < tile_m; i++) {
        UNROLL
        for (size_t c = 0; c < tile_d; c++)
            vec_store_part(queries[i].out + d + c * LANES, acc[i * tile_d + c], last);
    }
}

INLINE void add_dims(const struct query *queries, const float *values, size_t at, size_t n,
                     size_t head_dim, size_t tile_m)
{
    size_t d = 0;
    for (; d + DIMS * LANES <= head_dim; d += DIMS * LANES)
        add_tile(queries, values, at, n, head_dim, d, tile_m, DIMS, LANES);
    for (; d + LANES <= head_dim; d += LANES)
        add_tile(queries, values, at, n, head_dim, d, tile_m, 1, LANES);
    if (d < head_dim)
        add_tile(queries, values, at, n, head_dim, d, tile_m, 1, head_dim - d);
}

/* Of positions from to to - 1, if there are any, of the page at `values`. */
static void add_one(const struct pass *p, const struct query *q, const float *values, size_t from,
                    size_t to)
{
    if (from < to)
        add_dims(q, values + from % KV_PAGE_TOKENS * p->head_dim, from - p->begin, to - from,
                 p->head_dim, 1);
}

/* The positions from to to - 1 of one page, as far as each query of the tile sees them. */
static void add_queries(const struct pass *p, const struct query q[TILE], const float *values,
                        size_t from, size_t to)
{
    size_t low = from, high = to;
    for (size_t i = 0; i < TILE; i++) {
        low = most(low, q[i].first);
        high = least(high, q[i].end);
    }
    if (low >= high)
        low = high = to; /* none that all see */
    for (size_t i = 0; i < TILE; i++)
        add_one(p, &q[i], values, most(from, q[i].first), least(low, q[i].end));
    if (low < high)
        add_dims(q, values + low % KV_PAGE_TOKENS * p->head_dim, low - p->begin, high - low,
                 p->head_dim, TILE);
    for (size_t i = 0; i < TILE; i++)
        add_one(p, &q[i], values, most(high, q[i].first), least(to, q[i].end));
}

static void add_values(const struct pass *p, size_t from, size_t to)
{
    size_t page = p->page_table[from / KV_PAGE_TOKENS], i = 0;
    const float *values = kv_cache_values(p->args->cache, page, p->args->layer) + p->head_offset;
    for (; i + TILE <= p->n_queries; i += TILE) {
        struct query q[TILE];
        for (size_t k = 0; k < TILE; k++)
            q[k] = query_at(p, i + k);
        add_queries(p, q, values, from, to);
    }
    for (; i < p->n_queries; i++) {
        const struct query q = query_at(p, i);
        add_one(p, &q, values, most(from, q.first), least(to, q.end));
    }
}

static struct pass pass_of(const struct attention_args *args, const struct attention_rows *rows)
{
    const struct kv_row *row = &args->rows[rows->first];
    struct pass p = {.args = args,
                     .rows = rows,
                     .page_table = row->page_table,
                     .n_heads = args->n_heads / args->cache->n_kv_heads,
                     .head_dim = args->cache->head_dim,
                     .position = row->position,
                     .first = first_seen(args, row->position),
                     .end = row->position + rows->n};
    p.n_queries = rows->n * p.n_heads;
    p.head_offset = rows->kv_head * KV_PAGE_TOKENS * p.head_dim;
    p.begin = p.first / LANES * LANES;
    p.stride = (p.end + LANES - 1) / LANES * LANES - p.begin;
    return p;
}

bool cpu_attention_rows_fit(const struct attention_args *args, const struct attention_rows *rows)
{
    const struct pass p = pass_of(args, rows);
    return p.n_queries <= ATTENTION_QUERIES_MAX && p.n_queries * p.stride <= args->scratch_len;
}

void cpu_attention_rows(const struct attention_args *args, const struct attention_rows *rows)
{
    const struct pass p = pass_of(args, rows);
    float sums[ATTENTION_QUERIES_MAX];
    for (size_t at = p.begin, to; at < p.begin + p.stride; at = to) {
        to = least((at / KV_PAGE_TOKENS + 1) * KV_PAGE_TOKENS, p.begin + p.stride);
        score(&p, at, to);
    }
    for (size_t i = 0; i < p.n_queries; i++) {
        const struct query q = query_at(&p, i);
        sums[i] = cpu_soften(q.scores + q.first - p.begin, q.end - q.first, args->scale);
        memset(q.out, 0, p.head_dim * sizeof *q.out);
    }
    for (size_t at = p.first, to; at < p.end; at = to) {
        to = least((at / KV_PAGE_TOKENS + 1) * KV_PAGE_TOKENS, p.end);
        add_values(&p, at, to);
    }
    for (size_t i = 0; i < p.n_queries; i++) {
        float *out = query_at(&p, i).out;
        for (size_t d = 0; d < p.head_dim; d++)
            out[d] /= sums[i];
    }
}
