#include "kernels/cuda/kernel_set.h"

#include <stdio.h>

#include "kernels/cuda/args.h"

const struct kernel_set kernel_set_sm80 = {.numerics = "sm80-1", .prefix = "sm80_"};
const struct kernel_set kernel_set_sm90 = {
    .numerics = "sm90-1", .prefix = "", .has_copy_engine = true, .launches_overlap = true};

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
                               .cluster = MATMUL_CLUSTER(n),
                               .shared_len = (size_t)MATMUL_SHARED_LEN(n),
                               .overlaps_previous = true};
}

static size_t ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Whole clusters: as many as have a piece to multiply, and as the chip holds at once. */
struct gpu_launch kernel_set_matmul(const struct kernel_set *s, unsigned n_multiprocessors,
                                    unsigned n, size_t n_out, size_t n_rows)
{
    struct gpu_launch how = s->has_copy_engine ? matmul_sm90(n) : matmul_sm80(n);
    size_t outs = s->has_copy_engine ? (size_t)MATMUL_OUT * how.cluster : SM80_MATMUL_OUT(n);
    size_t held = (size_t)n_multiprocessors * how.grid[0] / how.cluster;
    size_t n_pieces = ceil_div(n_out, outs) * ceil_div(n_rows, n);
    size_t n_clusters = n_pieces < held ? n_pieces : held;
    how.grid[0] = how.cluster * (n_clusters > 0 ? (unsigned)n_clusters : 1);
    return how;
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
