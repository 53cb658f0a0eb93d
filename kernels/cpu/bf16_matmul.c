/*
 * BF16 matrix times rows of bf16. A tile is a group of rows times TILE_N columns, all of its lanes
 * in registers, fed from the matrix as it lies. The group's rows stay in the first-level cache: a
 * longer K is cut, and the lanes are kept in memory in between, so the order stays the same. A
 * block of columns stays in the second-level cache while group after group goes over it.
 */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/vec.h"

enum {
    TILE_N = 3, /* with 8 rows 24 vectors of lanes */
    BLOCK_TILES = 8,
    /* What a group's rows may take of the cache uncut and, if they are cut, each part: 32 and 20
     * KiB, in vectors. A part needs more room for weights, which come in shorter runs. */
    WHOLE_VECTORS = 512,
    PART_VECTORS = 320,
    /* With so few rows the processor runs far enough ahead by itself. */
    ROWS_UNFETCHED = 2,
    /* What more rows read once goes in blocks of as many tiles: a longer one's outputs, which may
     * lie whole pages apart, would drive each other out of the cache. */
    ONCE_TILES = 128,
    /* How far ahead whole rows are fetched, in bytes: as far as the first-level cache keeps them,
     * which is less when a long group of rows goes through it. */
    AHEAD = 3072,
    AHEAD_LONG = 2304,
    LONG_VECTORS = 256,
};

/* One tile and one part of K. */
struct tile {
    float *y; /* column j of row i at i * y_stride + j * apart */
    size_t y_stride, apart;
    const uint16_t *x; /* (n_steps, rows, PAIRS) */
    const uint8_t *w;  /* column j at j * w_stride bytes; not aligned */
    size_t w_stride;
    size_t n_steps, n_last; /* whole vectors along K, and numbers after them: fewer than PAIRS */
    size_t ahead;           /* bytes to what the next tiles read */
    float *lanes;           /* (rows, TILE_N, LANES), between parts; not used when there is one */
    bool is_first, is_last; /* part of K */
};

/* Lane l: first a[2l+1] b[2l+1], then a[2l] b[2l] is added to it, each fused and rounded once,
 * subnormals taken and given as zero (docs/NUMERICS.md). */
INLINE void step(vec *acc, const __m512i *w, const uint16_t *x, size_t tile_m, size_t tile_n)
{
    UNROLL
    for (size_t i = 0; i < tile_m; i++) {
        __m512bh a = (__m512bh)_mm512_loadu_si512(x + i * PAIRS);
        UNROLL
        for (size_t j = 0; j < tile_n; j++)
            acc[i * tile_n + j] = _mm512_dpbf16_ps(acc[i * tile_n + j], a, (__m512bh)w[j]);
    }
}

INLINE void tile(const struct tile *t, size_t tile_m, size_t tile_n)
{
    vec acc[GROUP_ROWS * TILE_N];
    __m512i b[TILE_N];
    const uint16_t *x = t->x;
    const uint8_t *w = t->w;
    size_t w_stride = t->w_stride, ahead = t->ahead;
    UNROLL
    for (size_t o = 0; o < tile_m * tile_n; o++)
        acc[o] = t->is_first ? vec_set(0.0f) : vec_load(t->lanes + o * LANES);
    for (size_t left = t->n_steps; left > 0; left--) {
        UNROLL
        for (size_t j = 0; j < tile_n; j++) {
            b[j] = _mm512_loadu_si512(w + j * w_stride);
            if (tile_m > ROWS_UNFETCHED)
                _mm_prefetch((const void *)((uintptr_t)w + j * w_stride + ahead), _MM_HINT_T0);
        }
        step(acc, b, x, tile_m, tile_n);
        w += PAIRS * 2;
        x += tile_m * PAIRS;
    }
    if (t->n_last > 0) {
        __mmask32 mask = (__mmask32)((1u << t->n_last) - 1);
        UNROLL
        for (size_t j = 0; j < tile_n; j++)
            b[j] = _mm512_maskz_loadu_epi16(mask, w + j * w_stride);
        step(acc, b, x, tile_m, tile_n);
    }
    if (t->is_last) {
        vec_store_sums(t->y, t->y_stride, t->apart, acc, tile_m * tile_n, tile_n);
        return;
    }
    UNROLL
    for (size_t o = 0; o < tile_m * tile_n; o++)
        vec_store(t->lanes + o * LANES, acc[o]);
}

/* Functions of their own: what the loops around them hold would push lanes out of the registers. */
typedef void tile_function(const struct tile *t);
#define TILES(rows)                                                                                \
    static NOINLINE void columns_##rows(const struct tile *t)                                      \
    {                                                                                              \
        tile(t, rows, TILE_N);                                                                     \
    }                                                                                              \
    static NOINLINE void column_##rows(const struct tile *t)                                       \
    {                                                                                              \
        tile(t, rows, 1);                                                                          \
    }
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)

static tile_function *const tile_of_columns[GROUP_ROWS + 1] = {
    NULL, columns_1, columns_2, columns_3, columns_4, columns_5, columns_6, columns_7, columns_8};
static tile_function *const tile_of_column[GROUP_ROWS + 1] = {
    NULL, column_1, column_2, column_3, column_4, column_5, column_6, column_7, column_8};

/* A group of rows times a block of columns. */
struct block {
    float *y; /* at the group's first row and the block's first column */
    size_t y_stride;
    const uint16_t *x; /* the group */
    const uint8_t *w;
    size_t n_rows, n_cols, n_out;
    float *lanes; /* of BLOCK_TILES tiles */
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes from a tile to what is read after it. Whole rows are read as one long stream a column; a
 * part of them goes on in the row below, and from the last row in the next part, or with the next
 * block. */
static size_t ahead_of(const struct block *b, size_t first, size_t n, size_t tiles_left)
{
    size_t row_len = b->n_cols * 2, n_steps = (b->n_cols + PAIRS - 1) / PAIRS;
    if (n == n_steps)
        return n * b->n_rows > LONG_VECTORS ? AHEAD_LONG : AHEAD;
    if (tiles_left > 1)
        return row_len;
    size_t back = (b->n_out / TILE_N - 1) * row_len; /* to the first row */
    return first + n < n_steps ? n * PAIRS * 2 - back
                               : b->n_out * row_len - first * PAIRS * 2 - back;
}

/* Steps first to first + n - 1 along K. A tile's columns are far apart: three long streams, each of
 * whole weight rows, are what memory gives fastest. */
static void block_part(const struct block *b, size_t first, size_t n)
{
    size_t row_len = b->n_cols * 2, n_whole = b->n_cols / PAIRS, apart = b->n_out / TILE_N;
    bool is_last = (first + n) * PAIRS >= b->n_cols;
    struct tile t = {.y_stride = b->y_stride,
                     .apart = apart,
                     .x = b->x + first * b->n_rows * PAIRS,
                     .w_stride = apart * row_len,
                     .n_steps = least(n, n_whole - first),
                     .n_last = is_last ? b->n_cols % PAIRS : 0,
                     .is_first = first == 0,
                     .is_last = is_last};
    const uint8_t *w = b->w + first * PAIRS * 2;
    for (size_t i = 0; i < apart; i++) {
        t.y = b->y + i;
        t.w = w + i * row_len;
        t.ahead = ahead_of(b, first, n, apart - i);
        t.lanes = b->lanes + i % BLOCK_TILES * GROUP_ROWS * TILE_N * LANES;
        tile_of_columns[b->n_rows](&t);
    }
    for (size_t i = apart * TILE_N; i < b->n_out; i++) {
        t.y = b->y + i;
        t.w = w + i * row_len;
        t.lanes = b->lanes + i % (BLOCK_TILES * TILE_N) * GROUP_ROWS * LANES;
        tile_of_column[b->n_rows](&t);
    }
}

/* In how many parts K is gone along for n_rows rows of a group. */
static size_t n_parts_of(size_t n_steps, size_t n_rows)
{
    size_t n = n_steps * n_rows;
    return n <= WHOLE_VECTORS ? 1 : (n + PART_VECTORS - 1) / PART_VECTORS;
}

/* All rows of the columns of a block, whose y and x are at the first row. */
static void all_rows(struct block b, const struct matmul_args *args)
{
    size_t n_steps = (args->n_cols + PAIRS - 1) / PAIRS;
    for (size_t m = 0; m < args->n_rows; m += GROUP_ROWS) {
        b.n_rows = least(GROUP_ROWS, args->n_rows - m);
        size_t n_parts = n_parts_of(n_steps, b.n_rows), part = (n_steps + n_parts - 1) / n_parts;
        for (size_t k = 0; k < n_steps; k += part)
            block_part(&b, k, least(part, n_steps - k));
        b.x += group_len(args);
        b.y += GROUP_ROWS * b.y_stride;
    }
}

void cpu_bf16_columns(const struct matmul_args *args, const struct matmul_output *out, size_t first,
                      size_t last)
{
    _Alignas(64) float lanes[BLOCK_TILES * TILE_N * GROUP_ROWS * LANES];
    size_t n_steps = (args->n_cols + PAIRS - 1) / PAIRS, n_block = BLOCK_TILES * TILE_N;
    /* Nothing is read twice, no lanes are kept: */
    if (args->n_rows <= GROUP_ROWS && n_parts_of(n_steps, args->n_rows) == 1)
        n_block = args->n_rows > ROWS_UNFETCHED ? ONCE_TILES * TILE_N : last - first;
    for (size_t n = first; n < last; n += n_block) {
        struct block b = {.y = out->y + n,
                          .y_stride = out->w->n_rows,
                          .x = args->scratch,
                          .w = (const uint8_t *)out->w->data + n * args->n_cols * 2,
                          .n_cols = args->n_cols,
                          .n_out = least(n_block, last - n),
                          .lanes = lanes};
        all_rows(b, args);
    }
}
