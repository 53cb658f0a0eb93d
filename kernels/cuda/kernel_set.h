/*
 * Which kernels a chip runs: those of Hopper (compute capability 9.0), or those for every chip of
 * capability 8, whose machine code is that of 8.0: 8.0, 8.6, 8.7, 8.9. Both take the same arguments
 * (args.h); their names, launches and numerics differ.
 */
#ifndef KERNELS_CUDA_KERNEL_SET_H
#define KERNELS_CUDA_KERNEL_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/cuda/gpu.h"

/* A tile of the result of a matmul: so many outputs of so many rows; of matmul_few the outputs of a
 * box of weights. */
struct matmul_tile {
    unsigned n_rows, n_outs;
};

enum { MATMUL_TILES_MAX = 8 };

struct kernel_set {
    const char *numerics; /* the name in docs/NUMERICS.md */
    const char *prefix;   /* of the names of its matmul and attention */
    /* Kernels read matrices by tensor maps, and launches may have clusters; else by the pointers
     * beside them in args.h. */
    bool has_copy_engine;
    /* Every launch of a step may overlap the one ahead of it. */
    bool launches_overlap;
    unsigned n_tiles; /* that its matmul has kernels for: rows ascending, then outputs */
    struct matmul_tile tiles[MATMUL_TILES_MAX];
};

extern const struct kernel_set kernel_set_sm80, kernel_set_sm90;

/* NULL: there are none for this chip. */
const struct kernel_set *kernel_set_find(const struct gpu_info *chip);

enum { KERNEL_NAME_MAX = 40 };

/* `what`: store, add, silu or logits; `tile`: the number of one of the set's. */
void kernel_set_matmul_name(char out[KERNEL_NAME_MAX], const struct kernel_set *s, const char *what,
                            unsigned tile);

/* Whether a tile's kernel is matmul_few. */
bool kernel_set_matmul_few(const struct kernel_set *s, unsigned tile);

/* Which of the set's tiles a product of n_rows rows is fastest with. The one place where
 * that is chosen; no bit depends on it. */
unsigned kernel_set_matmul_tile(const struct kernel_set *s, unsigned n_multiprocessors,
                                size_t n_out, size_t n_rows);

/* A launch with a block for each tile, or as many as the chip holds at once. */
struct gpu_launch kernel_set_matmul(const struct kernel_set *s, unsigned n_multiprocessors,
                                    unsigned tile, size_t n_out, size_t n_rows);

/* Heads of head_dim elements, tiles of so many queries (attention_plan.h). */
void kernel_set_attention_name(char out[KERNEL_NAME_MAX], const struct kernel_set *s,
                               unsigned head_dim, unsigned tile);

/* As many blocks as the chip holds at once. */
struct gpu_launch kernel_set_attention(const struct kernel_set *s, unsigned n_multiprocessors,
                                       unsigned head_dim, unsigned tile);

/* attention_fold. */
struct gpu_launch kernel_set_fold(const struct kernel_set *s, unsigned n_multiprocessors);

/* The kernels of rows.cu, and prepare_rows. */
struct gpu_launch kernel_set_rows(const struct kernel_set *s, size_t across, size_t down);

/* sample_scan and sample_weigh: as many blocks as the chip holds at once, at least one a row and at
 * most one a chunk. sample_choose. */
struct gpu_launch kernel_set_scan(const struct kernel_set *s, unsigned n_multiprocessors,
                                  size_t n_vocab, size_t n_rows);
struct gpu_launch kernel_set_choose(const struct kernel_set *s, size_t n_rows);

#endif
