/*
 * BF16 matrix times rows of bf16. A tile is a group of rows times TILE_N columns, all of its lanes
 * in registers, fed from the matrix as it lies. The group's rows stay in the first-level cache: a
 * longer K is cut, and the lanes are kept in memory in between, so the order stays the same. A
 * block of columns stays in the second-level cache while group after group goes over it. Finished
 * sums are gathered and put in their places some tiles at a time: y's lines, one for each row and
 * column of a tile, would drive what is still needed out of the first-level cache.
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
    /* Where there is one group: smaller parts, each used by more tiles. */
    ONCE_PART_VECTORS = 256,
    ONCE_PART_TILES = 24,
    /* With so few rows the processor runs far enough ahead by itself. */
    ROWS_UNFETCHED = 2,
    /* What more rows read once goes in blocks of as many tiles: a longer one's outputs, which may
     * lie whole pages apart, would drive each other out of the cache. */
    ONCE_TILES = 128,
    /* How far ahead whole rows are fetched, in bytes: as far as the first-level cache keeps them,
     * which is less when a long group of rows goes through it. */
    AHEAD = 3072,
    AHEAD_LONG = 2176,
    LONG_VECTORS = 256,
    TILE_SUMS = GROUP_ROWS * TILE_N,
    SUM_TILES = 16, /* whose sums are gathered: a line of each row and column of y */
};

/* One tile and one part of K. */
struct tile {
    float *sums;       /* (rows, columns), room for TILE_SUMS */
    const uint16_t *x; /* (n_steps, rows, PAIRS) */
    const uint8_t *w;  /* column j at j * w_stride bytes; not aligned */
    size_t w_stride;
    size_t n_steps, n_last; /* whole vectors along K, and numbers after them: fewer than PAIRS */
    size_t ahead;           /* bytes to what the next tiles read */
    float *lanes;           /* (rows, columns, LANES), between parts */
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

/* The sums of n vectors; up to three more floats are written. */
INLINE void store_sums(float *sums, const vec *acc, size_t n)
{
    size_t first = n < LANES ? 0 : LANES;
    if (first > 0)
        vec_store(sums, vec_join_all(acc));
    UNROLL
    for (size_t o = first; o < n; o += 4)
        _mm_storeu_ps(sums + o, vec_join4(acc[o], acc[o + 1 < n ? o + 1 : o],
                                          acc[o + 2 < n ? o + 2 : o], acc[o + 3 < n ? o + 3 : o]));
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
        store_sums(t->sums, acc, tile_m * tile_n);
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
    bool is_cut;  /* K, into parts */
    float *lanes; /* then: of all tiles */
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The sums of n tiles of full groups, four tiles and four sums at a time. */
static void put_groups(float *y, size_t y_stride, size_t apart, const float *sums, size_t n)
{
    for (size_t i = 0; i + 4 <= n; i += 4)
        for (size_t half = 0; half < 2; half++) {
            const float *from = sums + i * TILE_SUMS + half * (TILE_SUMS / 2);
            float *to = y + i + half * (GROUP_ROWS / 2) * y_stride;
            UNROLL
            for (size_t o = 0; o < TILE_SUMS / 2; o += 4) {
                __m128 part[4];
                UNROLL
                for (size_t k = 0; k < 4; k++)
                    part[k] = _mm_loadu_ps(from + k * TILE_SUMS + o);
                _MM_TRANSPOSE4_PS(part[0], part[1], part[2], part[3]);
                UNROLL
                for (size_t k = 0; k < 4; k++)
                    _mm_storeu_ps(to + (o + k) / TILE_N * y_stride + (o + k) % TILE_N * apart,
                                  part[k]);
            }
        }
}

/* The sums of n tiles: column j of row i of the first one goes to y[i * y_stride + j * apart]. */
static void put_sums(const struct block *b, float *y, size_t apart, const float *sums, size_t n)
{
    size_t i = 0;
    if (b->n_rows == GROUP_ROWS) {
        put_groups(y, b->y_stride, apart, sums, n);
        i = n / 4 * 4;
    }
    for (; i < n; i++)
        for (size_t o = 0; o < b->n_rows * TILE_N; o++)
            y[o / TILE_N * b->y_stride + o % TILE_N * apart + i] = sums[i * TILE_SUMS + o];
}

/* Bytes from a tile to what is read `ahead` of it: whole rows are read as one long stream a
 * column; a part of them goes on in the row below, and from the last row in the next part, or with
 * the next block. */
struct ahead {
    size_t within, last; /* of the last tile */
};

static struct ahead ahead_of(const struct block *b, size_t first, size_t n)
{
    size_t row_len = b->n_cols * 2, n_steps = (b->n_cols + PAIRS - 1) / PAIRS;
    if (!b->is_cut) {
        size_t whole = n * b->n_rows > LONG_VECTORS ? AHEAD_LONG : AHEAD;
        return (struct ahead){whole, whole};
    }
    size_t back = (b->n_out / TILE_N - 1) * row_len; /* to the first row */
    size_t next = first + n < n_steps ? n * PAIRS * 2 : b->n_out * row_len - first * PAIRS * 2;
    return (struct ahead){row_len, next - back};
}

/* Steps first to first + n - 1 along K. A tile's columns are far apart: three long streams, each of
 * whole weight rows, are what memory gives fastest. */
static void block_part(const struct block *b, size_t first, size_t n)
{
    _Alignas(64) float sums[SUM_TILES * TILE_SUMS];
    size_t row_len = b->n_cols * 2, n_whole = b->n_cols / PAIRS, apart = b->n_out / TILE_N;
    bool is_last = (first + n) * PAIRS >= b->n_cols;
    struct ahead ahead = ahead_of(b, first, n);
    struct tile t = {.x = b->x + first * b->n_rows * PAIRS,
                     .w = b->w + first * PAIRS * 2,
                     .w_stride = apart * row_len,
                     .n_steps = least(n, n_whole - first),
                     .n_last = is_last ? b->n_cols % PAIRS : 0,
                     .ahead = ahead.within,
                     .lanes = b->lanes,
                     .is_first = first == 0,
                     .is_last = is_last};
    for (size_t i = 0, n_sums = 0; i < apart; i++, t.w += row_len) {
        t.sums = sums + n_sums++ * TILE_SUMS;
        if (i + 1 == apart)
            t.ahead = ahead.last;
        tile_of_columns[b->n_rows](&t);
        t.lanes += b->is_cut ? TILE_SUMS * LANES : 0;
        if (is_last && (n_sums == SUM_TILES || i + 1 == apart)) {
            put_sums(b, b->y + i + 1 - n_sums, apart, sums, n_sums);
            n_sums = 0;
        }
        n_sums %= SUM_TILES;
    }
    t.sums = sums;
    t.w += (TILE_N - 1) * t.w_stride;
    for (size_t i = apart * TILE_N; i < b->n_out; i++, t.w += row_len) {
        tile_of_column[b->n_rows](&t);
        t.lanes += b->is_cut ? GROUP_ROWS * LANES : 0;
        for (size_t r = 0; r < b->n_rows && is_last; r++)
            b->y[i + r * b->y_stride] = sums[r];
    }
}

/* Steps along K that are gone at a time for n_rows rows of a group: all of them, or equal parts. */
static size_t part_of(size_t n_steps, size_t n_rows, size_t part_vectors)
{
    size_t n = n_steps * n_rows, n_parts = (n + part_vectors - 1) / part_vectors;
    return n <= WHOLE_VECTORS ? n_steps : (n_steps + n_parts - 1) / n_parts;
}

/* All rows of the columns of a block, whose y and x are at the first row. */
static void all_rows(struct block b, const struct matmul_args *args)
{
    size_t n_steps = (args->n_cols + PAIRS - 1) / PAIRS;
    size_t part_vectors = args->n_rows <= GROUP_ROWS ? ONCE_PART_VECTORS : PART_VECTORS;
    for (size_t m = 0; m < args->n_rows; m += GROUP_ROWS) {
        b.n_rows = least(GROUP_ROWS, args->n_rows - m);
        size_t part = part_of(n_steps, b.n_rows, part_vectors);
        b.is_cut = part < n_steps;
        for (size_t k = 0; k < n_steps; k += part)
            block_part(&b, k, least(part, n_steps - k));
        b.x += group_len(args);
        b.y += GROUP_ROWS * b.y_stride;
    }
}

/* Tiles of a block. */
static size_t block_tiles(size_t n_steps, size_t n_rows)
{
    if (n_rows > GROUP_ROWS)
        return BLOCK_TILES;
    if (n_steps * n_rows > WHOLE_VECTORS)
        return ONCE_PART_TILES;
    return n_rows > ROWS_UNFETCHED ? ONCE_TILES : SIZE_MAX / TILE_N;
}

void cpu_bf16_columns(const struct matmul_args *args, const struct matmul_output *out, size_t first,
                      size_t last)
{
    _Alignas(64) float lanes[ONCE_PART_TILES * TILE_SUMS * LANES];
    size_t n_steps = (args->n_cols + PAIRS - 1) / PAIRS;
    size_t n_block = block_tiles(n_steps, args->n_rows) * TILE_N;
    for (size_t n = first; n < last;) {
        struct block b = {.y = out->y + n,
                          .y_stride = out->w->n_rows,
                          .x = args->scratch,
                          .w = (const uint8_t *)out->w->data + n * args->n_cols * 2,
                          .n_cols = args->n_cols,
                          .n_out = least(n_block, last - n),
                          .lanes = lanes};
        all_rows(b, args);
        n += b.n_out;
    }
}
