/*
 * Attention over the paged cache. The query heads of a group share every read of a key and of a
 * value. For one row and head: all scores, their maximum, exponentials and their lane sum, then the
 * weighted sum of values, positions ascending, divided at the end. Neighbours in a sequence go
 * together (attention_rows.c).
 */
#include "kernels/cpu/set.h"
#include "kernels/cpu/vec.h"

enum { HEADS = 4 };                                /* heads whose outputs are summed side by side */
enum { ITEMS_PER_THREAD = 8 };                     /* or more, where rows go together */
enum { FETCHED_LINES = 64 };                       /* of keys and of values, before they are read */
#define DIMS (LANES == 16 ? (size_t)4 : (size_t)2) /* vectors of an output side by side */

/* One group: a row and a key head. */
struct group {
    const struct attention_args *args;
    const uint32_t *page_table;
    size_t first, n_keys; /* the positions that the row sees */
    size_t n_heads, head_dim, head_offset;
    const float *q;
    float *out;
    float *scores; /* (n_heads, n_keys) */
};

/* How many of the keys from the at-th on lie one behind the other on its page. */
static size_t run_len(const struct group *g, size_t at)
{
    size_t room = KV_PAGE_TOKENS - (g->first + at) % KV_PAGE_TOKENS, left = g->n_keys - at;
    return left < room ? left : room;
}

/* Where the at-th key lies, or its value, from the start of its page. */
static size_t offset(const struct group *g, size_t at)
{
    return g->head_offset + (g->first + at) % KV_PAGE_TOKENS * g->head_dim;
}

static void score(const struct group *g)
{
    for (size_t at = 0, n; at < g->n_keys; at += n) {
        size_t page = g->page_table[(g->first + at) / KV_PAGE_TOKENS];
        const float *keys = kv_cache_keys(g->args->cache, page, g->args->layer) + offset(g, at);
        n = run_len(g, at);
        for (size_t h = 0; h < g->n_heads; h += FEW_ROWS) {
            struct few_rows job = {
                .y = g->scores + h * g->n_keys + at,
                .y_stride = g->n_keys,
                .x = g->q + h * g->head_dim,
                .w = (const uint8_t *)keys,
                .n_rows = g->n_heads - h < FEW_ROWS ? g->n_heads - h : FEW_ROWS,
                .n_out = n,
                .n_cols = g->head_dim,
                .type = WEIGHT_F32,
            };
            cpu_few_rows(&job);
        }
    }
}

/* The largest of x[i] * scale, which no order changes. */
static float scaled_max(const float *x, size_t n, float scale)
{
    float lanes[LANES];
    vec max = vec_set(x[0] * scale);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        max = vec_max(vec_mul(vec_load(x + i), vec_set(scale)), max);
    vec_store(lanes, max);
    for (; i < n; i++)
        lanes[0] = x[i] * scale > lanes[0] ? x[i] * scale : lanes[0];
    for (size_t l = 1; l < LANES; l++)
        lanes[0] = lanes[l] > lanes[0] ? lanes[l] : lanes[0];
    return lanes[0];
}

float cpu_soften(float *x, size_t n, float scale)
{
    vec max = vec_set(scaled_max(x, n, scale)), sum = vec_set(0.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec p = vec_exp(vec_load(x + i) * scale - max);
        vec_store(x + i, p);
        sum = vec_add(sum, p);
    }
    if (i < n) {
        vec p = vec_exp(vec_load_part(x + i, n - i) * scale - max);
        vec_store_part(x + i, p, n - i);
        sum = vec_add(sum, vec_load_part(x + i, n - i)); /* zeros after the last */
    }
    return vec_join(sum);
}

/* sums: of the tile_h heads. Vectors of dimensions from d on, `last` lanes of the last one, for
 * tile_h heads from h on. */
INLINE void add_values(const struct group *g, const float *sums, size_t h, size_t d, size_t tile_h,
                       size_t tile_d, size_t last)
{
    vec acc[HEADS * 4], v[4];
    UNROLL
    for (size_t o = 0; o < tile_h * tile_d; o++)
        acc[o] = vec_set(0.0f);
    for (size_t at = 0, n; at < g->n_keys; at += n) {
        size_t page = g->page_table[(g->first + at) / KV_PAGE_TOKENS];
        const float *values =
            kv_cache_values(g->args->cache, page, g->args->layer) + offset(g, at) + d;
        n = run_len(g, at);
        for (size_t j = 0; j < n; j++, values += g->head_dim) {
            UNROLL
            for (size_t c = 0; c < tile_d; c++)
                v[c] = last < LANES ? vec_load_part(values, last) : vec_load(values + c * LANES);
            UNROLL
            for (size_t i = 0; i < tile_h; i++) {
                vec p = vec_set(g->scores[(h + i) * g->n_keys + at + j]);
                UNROLL
                for (size_t c = 0; c < tile_d; c++)
                    acc[i * tile_d + c] = vec_fma(p, v[c], acc[i * tile_d + c]);
            }
        }
    }
    UNROLL
    for (size_t i = 0; i < tile_h; i++) {
        UNROLL
        for (size_t c = 0; c < tile_d; c++)
            vec_store_part(g->out + (h + i) * g->head_dim + d + c * LANES,
                           vec_div(acc[i * tile_d + c], vec_set(sums[i])), last);
    }
}

/* A tile of one vector takes what is left at the end. */
INLINE void add_heads(const struct group *g, const float *sums, size_t h, size_t tile_h)
{
    size_t d = 0;
    for (; d + DIMS * LANES <= g->head_dim; d += DIMS * LANES)
        add_values(g, sums, h, d, tile_h, DIMS, LANES);
    for (; d + LANES <= g->head_dim; d += LANES)
        add_values(g, sums, h, d, tile_h, 1, LANES);
    if (d < g->head_dim)
        add_values(g, sums, h, d, tile_h, 1, g->head_dim - d);
}

/* Few keys are read before a processor sees that they lie one behind the other. */
static void fetch(const float *data, const struct group *g)
{
    size_t n = run_len(g, 0) * g->head_dim, most = FETCHED_LINES * 16;
    for (size_t i = 0; i < (n < most ? n : most); i += 16)
        _mm_prefetch((const void *)(data + offset(g, 0) + i), _MM_HINT_T0);
}

static void fetch_keys(const struct group *g)
{
    size_t page = g->page_table[g->first / KV_PAGE_TOKENS];
    fetch(kv_cache_keys(g->args->cache, page, g->args->layer), g);
}

static void fetch_values(const struct group *g)
{
    size_t page = g->page_table[g->first / KV_PAGE_TOKENS];
    fetch(kv_cache_values(g->args->cache, page, g->args->layer), g);
}

/* `next`: whose keys are read then. */
static void attend_group(const struct group *g, const struct group *next)
{
    fetch_values(g);
    score(g);
    fetch_keys(next);
    for (size_t h = 0; h < g->n_heads; h += HEADS) {
        size_t n = g->n_heads - h < HEADS ? g->n_heads - h : HEADS;
        float sums[HEADS];
        for (size_t i = 0; i < n; i++)
            sums[i] = cpu_soften(g->scores + (h + i) * g->n_keys, g->n_keys, g->args->scale);
        if (n == HEADS)
            add_heads(g, sums, h, HEADS);
        else if (n == 3)
            add_heads(g, sums, h, 3);
        else if (n == 2)
            add_heads(g, sums, h, 2);
        else
            add_heads(g, sums, h, 1);
    }
}

static struct group group_of(const struct attention_args *a, size_t row, size_t kv_head,
                             float *scores)
{
    size_t head_dim = a->cache->head_dim, n_heads = a->n_heads / a->cache->n_kv_heads;
    size_t q_at = (row * a->n_heads + kv_head * n_heads) * head_dim;
    size_t end_key = (size_t)a->rows[row].position + 1;
    size_t first = a->window != 0 && end_key > a->window ? end_key - a->window : 0;
    return (struct group){
        .args = a,
        .page_table = a->rows[row].page_table,
        .n_heads = n_heads,
        .first = first,
        .n_keys = end_key - first,
        .head_dim = head_dim,
        .head_offset = kv_head * KV_PAGE_TOKENS * head_dim,
        .q = a->q + q_at,
        .out = a->out + q_at,
        .scores = scores,
    };
}

/* Items are key heads, and in each `n` blocks of rows from both ends towards the middle: threads
 * get about the same number of keys, and stay with one head's pages. */
static size_t block_of(size_t item, size_t n)
{
    size_t turn = item % n;
    return turn % 2 == 0 ? turn / 2 : n - 1 - turn / 2;
}

/* Blocks of one row. */
static void attend(void *context, size_t begin, size_t end, unsigned thread)
{
    const struct attention_args *a = context;
    float *scores = a->scratch + thread * a->scratch_len;
    struct group next = group_of(a, block_of(begin, a->n_rows), begin / a->n_rows, scores);
    fetch_keys(&next);
    for (size_t item = begin; item < end; item++) {
        struct group g = next;
        if (item + 1 < end)
            next = group_of(a, block_of(item + 1, a->n_rows), (item + 1) / a->n_rows, scores);
        attend_group(&g, &next);
    }
}

/* How many rows from `first` on, before `end`, stand one behind the other in one sequence. */
static size_t n_in_line(const struct attention_args *a, size_t first, size_t end)
{
    const struct kv_row *rows = &a->rows[first];
    size_t n = 1;
    while (first + n < end && rows[n].page_table == rows->page_table &&
           rows[n].position == rows->position + n)
        n++;
    return n;
}

/* Rows first to end - 1: together where they are neighbours and the scratch memory holds it. */
static void attend_rows(const struct attention_args *a, size_t first, size_t end, size_t kv_head,
                        float *scores)
{
    while (first < end) {
        struct attention_rows rows = {first, n_in_line(a, first, end), kv_head, scores};
        while (rows.n > 1 && !cpu_attention_rows_fit(a, &rows))
            rows.n /= 2;
        const struct group g = group_of(a, first, kv_head, scores);
        if (rows.n > 1)
            cpu_attention_rows(a, &rows);
        else
            attend_group(&g, &g);
        first += rows.n;
    }
}

struct job {
    const struct attention_args *args;
    size_t block_len; /* rows */
};

static size_t n_blocks(const struct job *j)
{
    return (j->args->n_rows + j->block_len - 1) / j->block_len;
}

static void attend_blocks(void *context, size_t begin, size_t end, unsigned thread)
{
    const struct job *j = context;
    const struct attention_args *a = j->args;
    for (size_t item = begin, n = n_blocks(j); item < end; item++) {
        size_t first = block_of(item, n) * j->block_len, last = first + j->block_len;
        attend_rows(a, first, last < a->n_rows ? last : a->n_rows, item / n,
                    a->scratch + thread * a->scratch_len);
    }
}

static bool has_neighbours(const struct attention_args *a)
{
    for (size_t i = 0; i + 1 < a->n_rows; i++)
        if (n_in_line(a, i, i + 2) > 1)
            return true;
    return false;
}

/* Blocks so small that every thread gets several. */
static size_t block_len(const struct attention_args *a, unsigned n_threads)
{
    size_t n = a->n_rows * a->cache->n_kv_heads / (ITEMS_PER_THREAD * (size_t)n_threads);
    return n < 1 ? 1 : n < ATTENTION_ROWS ? n : ATTENTION_ROWS;
}

void cpu_attention(struct pool *pool, const struct attention_args *args)
{
    struct job j = {args, block_len(args, pool_n_threads(pool))};
    struct attention_args copy = *args; /* a pool's context is not const */
    if (j.block_len > 1 && has_neighbours(args))
        pool_run(pool, n_blocks(&j) * args->cache->n_kv_heads, 1, attend_blocks, &j);
    else
        pool_run(pool, args->n_rows * args->cache->n_kv_heads, 1, attend, &copy);
}
