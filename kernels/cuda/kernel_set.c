#include "kernels/cuda/kernel_set.h"

#include <stdio.h>

#include "kernels/cuda/args.h"

enum { MATMUL_FEW = 64 }; /* rows up to which a product has one tile of them */

const struct kernel_set kernel_set_sm80 = {
    .numerics = "sm80-1", .prefix = "sm80_", .n_tiles = 6, .tiles = {8, 16, 32, 64, 128, 256}};
const struct kernel_set kernel_set_sm90 = {.numerics = "sm90-1",
                                           .prefix = "",
                                           .has_copy_engine = true,
                                           .n_tiles = 7,
                                           .tiles = {8, 16, 32, 64, 96, 128, 256}};

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

void kernel_set_matmul_name(char out[KERNEL_NAME_MAX], const struct kernel_set *s, const char *what,
                            unsigned n)
{
    (void)snprintf(out, KERNEL_NAME_MAX, "%smatmul_%s_%u", s->prefix, what, n);
}

/* Two blocks of small tiles on each multiprocessor: see args.h. */
static struct gpu_launch matmul_sm80(unsigned n)
{
    return (struct gpu_launch){.grid = {n <= 64 ? 2 : 1, 1, 1},
                               .block = {SM80_MATMUL_BLOCK(n), 1, 1},
                               .cluster = 1,
                               .shared_len = (size_t)SM80_MATMUL_SHARED_LEN(n)};
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

static size_t n_tiles(const struct kernel_set *s, unsigned n, size_t n_out, size_t n_rows)
{
    size_t outs = s->has_copy_engine ? MATMUL_OUT : (size_t)SM80_MATMUL_OUT(n);
    return ceil_div(n_out, outs) * ceil_div(n_rows, n);
}

struct gpu_launch kernel_set_matmul(const struct kernel_set *s, unsigned n_multiprocessors,
                                    unsigned n, size_t n_out, size_t n_rows)
{
    struct gpu_launch how = s->has_copy_engine ? matmul_sm90(n) : matmul_sm80(n);
    size_t held = (size_t)n_multiprocessors * how.grid[0], tiles = n_tiles(s, n, n_out, n_rows);
    size_t n_blocks = tiles < held ? tiles : held;
    how.grid[0] = n_blocks > 0 ? (unsigned)n_blocks : 1;
    return how;
}

/* The smallest that holds all rows, or the largest there is. */
static unsigned tile_of_all(const struct kernel_set *s, size_t n_rows)
{
    unsigned i = 0;
    while (i + 1 < s->n_tiles && s->tiles[i] < n_rows)
        i++;
    return i;
}

/* Clocks of a step of MATMUL_K columns, by what an H200 was measured to do: a multiprocessor
 * multiplies MATMUL_OUT outputs of a row in 4 clocks and takes in 61 bytes a clock; the L2 cache
 * gives 48 times as many bytes as there are multiprocessors. */
static double clocks_of_step(unsigned n_multiprocessors, unsigned n, size_t n_out, size_t n_rows)
{
    const double products = 4.0 * n, bytes = (MATMUL_OUT + n) * MATMUL_K * 2.0;
    const size_t n_tiles = ceil_div(n_out, MATMUL_OUT) * ceil_div(n_rows, n);
    const double of_one = products > bytes / 61 ? products : bytes / 61;
    const double of_last = of_one * (double)ceil_div(n_tiles, n_multiprocessors);
    const double of_all = (double)n_tiles * bytes / (48.0 * n_multiprocessors);
    return of_last > of_all ? of_last : of_all;
}

/* Few rows are one tile. */
unsigned kernel_set_matmul_tile(const struct kernel_set *s, unsigned n_multiprocessors,
                                size_t n_out, size_t n_rows)
{
    unsigned best = tile_of_all(s, n_rows);
    if (!s->has_copy_engine || n_rows <= MATMUL_FEW)
        return best;
    for (unsigned i = 0; i < s->n_tiles; i++)
        if (s->tiles[i] > MATMUL_FEW &&
            clocks_of_step(n_multiprocessors, s->tiles[i], n_out, n_rows) <
                clocks_of_step(n_multiprocessors, s->tiles[best], n_out, n_rows))
            best = i;
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
        return (struct gpu_launch){.grid = {n_multiprocessors, 1, 1},
                                   .block = {(unsigned)ATTENTION_BLOCK(tile), 1, 1},
                                   .shared_len = (size_t)ATTENTION_SHARED_LEN(head_dim, tile)};
    return (struct gpu_launch){.grid = {n_multiprocessors * (tile == 64 ? 2 : 1), 1, 1},
                               .block = {(unsigned)SM80_ATTENTION_BLOCK(tile), 1, 1},
                               .shared_len = (size_t)SM80_ATTENTION_SHARED_LEN(head_dim, tile)};
}
