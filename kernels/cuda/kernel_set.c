#include "kernels/cuda/kernel_set.h"

#include <math.h>
#include <stdio.h>

#include "kernels/cuda/args.h"

#define SM80_TILE(n)                                                                               \
    {                                                                                              \
        (n), SM80_MATMUL_OUT(n)                                                                    \
    }

const struct kernel_set kernel_set_sm80 = {.numerics = "sm80-1",
                                           .prefix = "sm80_",
                                           .n_tiles = 6,
                                           .tiles = {SM80_TILE(8), SM80_TILE(16), SM80_TILE(32),
                                                     SM80_TILE(64), SM80_TILE(128),
                                                     SM80_TILE(256)}};
const struct kernel_set kernel_set_sm90 = {.numerics = "sm90-1",
                                           .prefix = "",
                                           .has_copy_engine = true,
                                           .launches_overlap = true,
                                           .n_tiles = 8,
                                           .tiles = {{8, FEW_OUT},
                                                     {16, FEW_OUT},
                                                     {32, FEW_OUT},
                                                     {64, FEW_OUT},
                                                     {64, MATMUL_OUT},
                                                     {96, MATMUL_OUT},
                                                     {128, MATMUL_OUT},
                                                     {256, MATMUL_OUT}}};

/* 228 KiB of a multiprocessor; of a block's 1 KiB is the system's. */
#define FITS_SM90(head_dim, tile)                                                                  \
    _Static_assert(ATTENTION_BESIDE(tile) * (ATTENTION_SHARED_LEN(head_dim, tile) + 1024) <=       \
                       228 << 10,                                                                  \
                   "too much for one multiprocessor")

FITS_SM90(64, 64);
FITS_SM90(96, 64);
FITS_SM90(128, 64);
FITS_SM90(128, 128);

#define FITS_SM80(len) _Static_assert((len) <= SM80_SHARED_MAX, "too much for chips 8.6 and 8.9")

FITS_SM80(2 * SM80_MATMUL_SHARED_LEN(8));
FITS_SM80(2 * SM80_MATMUL_SHARED_LEN(16));
FITS_SM80(2 * SM80_MATMUL_SHARED_LEN(32));
FITS_SM80(2 * SM80_MATMUL_SHARED_LEN(64));
FITS_SM80(SM80_MATMUL_SHARED_LEN(128));
FITS_SM80(SM80_MATMUL_SHARED_LEN(256));
FITS_SM80(SM80_ATTENTION_SHARED_LEN(64, 128));
FITS_SM80(SM80_ATTENTION_SHARED_LEN(96, 128));
FITS_SM80(SM80_ATTENTION_SHARED_LEN(128, 128));

/* A chip runs machine code of its own major version, up to its minor one (CUDA C++ Programming
 * Guide, "Binary compatibility"); Hopper's own instructions (sm_90a) are of 9.0 alone. */
const struct kernel_set *kernel_set_find(const struct gpu_info *chip)
{
    if (chip->major == 8)
        return &kernel_set_sm80;
    return chip->major == 9 && chip->minor == 0 ? &kernel_set_sm90 : NULL;
}

bool kernel_set_matmul_few(const struct kernel_set *s, unsigned tile)
{
    return s->has_copy_engine && s->tiles[tile].n_outs == FEW_OUT;
}

void kernel_set_matmul_name(char out[KERNEL_NAME_MAX], const struct kernel_set *s, const char *what,
                            unsigned tile)
{
    (void)snprintf(out, KERNEL_NAME_MAX, "%smatmul_%s%s_%u", s->prefix,
                   kernel_set_matmul_few(s, tile) ? "few_" : "", what, s->tiles[tile].n_rows);
}

/* Two blocks of small tiles on each multiprocessor: see args.h. */
static struct gpu_launch matmul_sm80(unsigned n)
{
    return (struct gpu_launch){.grid = {n <= 64 ? 2 : 1, 1, 1},
                               .block = {SM80_MATMUL_BLOCK(n), 1, 1},
                               .cluster = 1,
                               .shared_len = (size_t)SM80_MATMUL_SHARED_LEN(n)};
}

static struct gpu_launch matmul_few(unsigned n)
{
    return (struct gpu_launch){.grid = {1, 1, 1},
                               .block = {FEW_BLOCK(n), 1, 1},
                               .cluster = 1,
                               .shared_len = FEW_SHARED_LEN(n),
                               .overlaps_previous = true};
}

static struct gpu_launch matmul_sm90(unsigned n)
{
    return (struct gpu_launch){.grid = {1, 1, 1},
                               .block = {MATMUL_BLOCK, 1, 1},
                               .cluster = 1,
                               .shared_len = (size_t)MATMUL_SHARED_LEN(n),
                               .overlaps_previous = true};
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t tiles_of(const struct matmul_tile *t, size_t n_out, size_t n_rows)
{
    return ceil_div(n_out, t->n_outs) * ceil_div(n_rows, t->n_rows);
}

struct gpu_launch kernel_set_matmul(const struct kernel_set *s, unsigned n_multiprocessors,
                                    unsigned tile, size_t n_out, size_t n_rows)
{
    const struct matmul_tile *t = &s->tiles[tile];
    struct gpu_launch how = kernel_set_matmul_few(s, tile) ? matmul_few(t->n_rows)
                            : s->has_copy_engine           ? matmul_sm90(t->n_rows)
                                                           : matmul_sm80(t->n_rows);
    size_t held = (size_t)n_multiprocessors * how.grid[0], n_tiles = tiles_of(t, n_out, n_rows);
    size_t n_blocks = n_tiles < held ? n_tiles : held;
    how.grid[0] = n_blocks > 0 ? (unsigned)n_blocks : 1;
    return how;
}

/* The first that holds all rows, or the largest there is. */
static unsigned tile_of_all(const struct kernel_set *s, size_t n_rows)
{
    unsigned i = 0;
    while (i + 1 < s->n_tiles && s->tiles[i].n_rows < n_rows)
        i++;
    return i;
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

/* What the copy engine brings for a tile of MATMUL_K columns. */
static double bytes_of_step(const struct matmul_tile *t)
{
    return (double)(t->n_outs + t->n_rows) * MATMUL_K * 2;
}

/* Clocks of a step of MATMUL_K columns with such tiles, by what an H200 was measured to do: a
 * multiprocessor multiplies 128 outputs of a row in 4 clocks, in effect 5.1 since its clock falls
 * when all multiply, and takes in 60 bytes a clock; for each multiprocessor the L2 cache gives 50
 * bytes, the memory 16. */
static double clocks_of_step(const struct matmul_tile *t, unsigned n_multiprocessors, size_t n_out,
                             size_t n_rows)
{
    const double bytes = bytes_of_step(t), n = n_multiprocessors;
    const size_t n_tiles = tiles_of(t, n_out, n_rows);
    const double of_one = most(5.1 / 128 * t->n_outs * t->n_rows, bytes / 60);
    const double of_last = of_one * (double)ceil_div(n_tiles, n_multiprocessors);
    const double of_cache = (double)n_tiles * bytes / (50 * n);
    const double of_memory = (double)n_out * MATMUL_K * 2 / (16 * n);
    return most(most(of_last, of_cache), of_memory);
}

/* Few rows are one tile. Of tiles that are as fast as the fastest, within 2 %, those that read the
 * least. */
unsigned kernel_set_matmul_tile(const struct kernel_set *s, unsigned n_multiprocessors,
                                size_t n_out, size_t n_rows)
{
    double clocks[MATMUL_TILES_MAX], fewest = INFINITY, least = INFINITY;
    unsigned best = tile_of_all(s, n_rows);
    if (!s->has_copy_engine || n_rows <= FEW_ROWS_MAX)
        return best;
    for (unsigned i = 0; i < s->n_tiles; i++) {
        clocks[i] = clocks_of_step(&s->tiles[i], n_multiprocessors, n_out, n_rows);
        if (!kernel_set_matmul_few(s, i) && clocks[i] < fewest)
            fewest = clocks[i];
    }
    for (unsigned i = 0; i < s->n_tiles; i++) {
        const double bytes =
            (double)tiles_of(&s->tiles[i], n_out, n_rows) * bytes_of_step(&s->tiles[i]);
        if (kernel_set_matmul_few(s, i) || clocks[i] > 1.02 * fewest || bytes >= least)
            continue;
        best = i;
        least = bytes;
    }
    return best;
}

void kernel_set_attention_name(char out[KERNEL_NAME_MAX], const struct kernel_set *s,
                               unsigned head_dim, unsigned tile)
{
    (void)snprintf(out, KERNEL_NAME_MAX, "%sattention_%u_%u", s->prefix, head_dim, tile);
}

struct gpu_launch kernel_set_attention(const struct kernel_set *s, unsigned n_multiprocessors,
                                       unsigned head_dim, unsigned tile)
{
    if (s->has_copy_engine)
        return (struct gpu_launch){.grid = {n_multiprocessors * ATTENTION_BESIDE(tile), 1, 1},
                                   .block = {(unsigned)ATTENTION_BLOCK(tile), 1, 1},
                                   .shared_len = (size_t)ATTENTION_SHARED_LEN(head_dim, tile),
                                   .overlaps_previous = true};
    return (struct gpu_launch){.grid = {n_multiprocessors * (tile == 64 ? 2 : 1), 1, 1},
                               .block = {(unsigned)SM80_ATTENTION_BLOCK(tile), 1, 1},
                               .shared_len = (size_t)SM80_ATTENTION_SHARED_LEN(head_dim, tile)};
}

struct gpu_launch kernel_set_rows(const struct kernel_set *s, size_t across, size_t down)
{
    return (struct gpu_launch){.grid = {(unsigned)across, (unsigned)down, 1},
                               .block = {CUDA_BLOCK, 1, 1},
                               .shared_len = CUDA_ROWS_SHARED_LEN,
                               .overlaps_previous = s->launches_overlap};
}

/* Where launches overlap, blocks go wherever there is room first, and many would go on one
 * multiprocessor: shared memory that nobody uses keeps them apart. */
struct gpu_launch kernel_set_fold(const struct kernel_set *s, unsigned n_multiprocessors)
{
    struct gpu_launch how = kernel_set_rows(s, n_multiprocessors, 1);
    if (s->launches_overlap)
        how.shared_len = CUDA_FOLD_SHARED_LEN;
    return how;
}

struct gpu_launch kernel_set_scan(const struct kernel_set *s, unsigned n_multiprocessors,
                                  size_t n_vocab, size_t n_rows)
{
    const size_t n_chunks = CUDA_SAMPLE_CHUNKS(n_vocab);
    const size_t held = ceil_div((size_t)n_multiprocessors * CUDA_SAMPLE_BESIDE, n_rows);
    struct gpu_launch how = kernel_set_choose(s, n_rows);
    how.grid[0] = (unsigned)(held < n_chunks ? held : n_chunks);
    how.grid[1] = (unsigned)n_rows;
    return how;
}

struct gpu_launch kernel_set_choose(const struct kernel_set *s, size_t n_rows)
{
    return (struct gpu_launch){.grid = {(unsigned)n_rows, 1, 1},
                               .block = {CUDA_SAMPLE_BLOCK, 1, 1},
                               .shared_len = CUDA_SAMPLE_SHARED_LEN,
                               .overlaps_previous = s->launches_overlap};
}
