/*
 * What each kernel takes, one struct by value: seen by the host (C) and by the kernels (C++).
 * Addresses are of the device's memory. Rows, pages and positions are those of kernels/backend.h;
 * shapes stand beside each pointer, row-major, and the meaning of each kernel beside its struct.
 */
#ifndef KERNELS_CUDA_ARGS_H
#define KERNELS_CUDA_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/tensor_map.h"

/* Threads of a block of every kernel below, part of the numerics; what those on rows use of shared
 * memory for their sums. */
enum { CUDA_BLOCK = 256, CUDA_ROWS_SHARED_LEN = CUDA_BLOCK / 32 * 4 };

/* embed_rows: x[r] = table[tokens[r]], widened. Grid: n_rows blocks. */
struct cuda_embed_args {
    float *x;               /* (n_rows, n_cols) */
    const uint16_t *table;  /* bf16 (vocabulary, n_cols) */
    const uint32_t *tokens; /* (n_rows) */
    uint32_t n_cols;
};

/* rmsnorm_rows: out[r][i] = bf16((x[s][i] * scale) * weight[i]), s = rows[r],
 * scale = 1 / sqrt(sum_i x[s][i]^2 / n_cols + eps). Grid: n_rows blocks. */
struct cuda_rmsnorm_args {
    uint16_t *out;        /* bf16 (n_rows, n_cols) */
    const float *x;       /* (any, n_cols) */
    const float *weight;  /* (n_cols) */
    const uint32_t *rows; /* (n_rows): so the final norm gathers the rows that need logits; NULL:
                             row r itself */
    uint32_t n_cols;
    float eps;
};

/* rope_write: turns the queries in place and the keys on their way into the cache; values go there
 * as they are. Of each head's first n_turned elements, pairs (i, i + n_turned / 2) are turned;
 * those behind stay. Where q_norm and k_norm are given, each head is normed first, as an rmsnorm
 * row of head_dim without the rounding between. Grid: (ROPE_BLOCKS(n_heads, n_kv_heads), n_rows)
 * blocks. */
enum { ROPE_HEAD_MAX = 256 };
#define ROPE_BLOCKS(n_heads, n_kv_heads)                                                           \
    (((n_heads) + 2 * (n_kv_heads) + CUDA_BLOCK / 32 - 1) / (CUDA_BLOCK / 32))
struct cuda_rope_write_args {
    uint16_t *qkv; /* bf16 (n_rows, (n_heads + 2 n_kv_heads) * head_dim): q, k and v of each row */
    uint16_t *cache; /* bf16 pages: (page, layer, keys then values, n_kv_heads, 64, head_dim) */
    const float *cos_sin;         /* (positions, 2, n_turned / 2) */
    const float *q_norm, *k_norm; /* (head_dim); NULL: none */
    const uint32_t *positions;    /* (n_rows) */
    const uint32_t *page_tables;  /* (n_rows, page_table_len) */
    uint32_t page_table_len;
    uint32_t n_heads, n_kv_heads, head_dim; /* head_dim: even, at most ROPE_HEAD_MAX */
    uint32_t n_turned;                      /* even, 2 to head_dim */
    uint32_t layer, n_layers;
    float eps;
};

/* matmul_*_<n>: products of rows x (n_rows, n_cols) and weights w (n_out, n_cols), bf16, tiles of n
 * rows, n one of 8, 16, 32, 64, 128, 256, on Hopper 96, too; no bit depends on n. `sum` is the
 * product in float, plus bias[o] where there is a bias. matmul_store:  y[r][o] = bf16(sum)
 *   matmul_add:    x[r][o] = x[r][o] + sum
 *   matmul_silu:   w holds gate and up, 8 rows of each in turn; y[r][o] = bf16(silu_mul(gate, up)),
 *                  o < n_out / 2; n_out a multiple of 16
 *   matmul_logits: logits[r][o] = sum
 * n_cols a multiple of 8. Grid: any number of blocks, each takes every gridDim.x-th tile.
 *
 * matmul_few_* (Hopper, n up to FEW_ROWS_MAX): tiles of one or several times FEW_PART outputs; a
 * block a multiprocessor is meant, of FEW_BLOCK(n) threads and FEW_SHARED_LEN(n) bytes of shared
 * memory; overlaps as below.
 * matmul_* (Hopper): tiles of MATMUL_OUT outputs; where MATMUL_TURNS(n), y and x at a multiple of
 * 16 bytes and n_out of matmul_store a multiple of 8, of matmul_add one of 4. MATMUL_BLOCK threads;
 * MATMUL_SHARED_LEN(n) bytes of shared memory. A launch may overlap the launch ahead of it, which
 * must not write w or bias.
 * sm80_matmul_*: tiles of SM80_MATMUL_OUT(n) outputs, SM80_MATMUL_BLOCK(n) threads,
 * SM80_MATMUL_SHARED_LEN(n) bytes; w_at and x_at at multiples of 16 bytes. */
enum { MATMUL_OUT = 128, MATMUL_K = 64, MATMUL_BLOCK = 384 };

struct cuda_matmul_args {
    struct gpu_tensor_map w;     /* Hopper: boxes of MATMUL_OUT rows (matmul_few: FEW_OUT), MATMUL_K
                                    columns, swizzled by 128 bytes */
    struct gpu_tensor_map x;     /* boxes of n rows, MATMUL_K columns, likewise */
    const uint16_t *w_at, *x_at; /* sm80: the same matrices */
    uint16_t *y;                 /* bf16 (n_rows, n_out), or n_out / 2 */
    float *sum_into;             /* matmul_add: x; matmul_logits: logits; (n_rows, n_out) */
    const float *bias;           /* (n_out), in the order of w's rows; NULL: none */
    uint32_t n_rows, n_out, n_cols;
};

/* Stages of the ring between the copy engine and the tensor cores, for tiles of n rows. */
#define MATMUL_STAGES(n) ((n) == 256 ? 4 : (n) >= 96 ? 6 : 8)
#define MATMUL_STAGE_LEN(n) ((MATMUL_OUT + (n)) * MATMUL_K * 2)
/* Results of many rows are turned before they are stored: four buffers of so many rows. */
enum { MATMUL_TURNED_ROWS = 32, MATMUL_TURNED_PITCH = 272 };
enum { MATMUL_TURNED_LEN = MATMUL_TURNED_ROWS * MATMUL_TURNED_PITCH };
#define MATMUL_TURNS(n) ((n) >= 64)
#define MATMUL_SHARED_LEN(n)                                                                       \
    (MATMUL_STAGES(n) * (MATMUL_STAGE_LEN(n) + 16) + (MATMUL_TURNS(n) ? 4 * MATMUL_TURNED_LEN : 0))

/* Few rows on Hopper: tiles of parts of FEW_PART outputs; two rings of stages of FEW_COLS columns,
 * of rows and of a part's weights, these in boxes of FEW_OUT outputs. Rows arrive behind the
 * weights that were asked for before them: so both rings reach about as far along K. What is on its
 * way must be some 100 KiB, or memory is not read as fast as it can be. */
enum { FEW_OUT = 16, FEW_PART = 32, FEW_PARTS = 8, FEW_ROWS_MAX = 64, FEW_COLS = 256 };
#define FEW_BLOCK(n) ((n) <= 16 ? 128 : 192)
#define FEW_X_LEN(n) ((n)*FEW_COLS * 2)
#define FEW_W_LEN (FEW_PART * FEW_COLS * 2)
#define FEW_X_STAGES(n) ((n) == 64 ? 4u : (n) == 32 ? 7u : 8u)
#define FEW_W_STAGES(n) ((n) == 64 ? 6u : (n) == 32 ? 7u : (n) == 16 ? 10u : 12u)
#define FEW_SHARED_LEN(n)                                                                          \
    (FEW_X_STAGES(n) * (FEW_X_LEN(n) + 16) + FEW_W_STAGES(n) * (FEW_W_LEN + 16))

/* sm80: few rows, few outputs a tile, so that a decode step's weights are spread over the chip; up
 * to 64 rows two blocks go on one multiprocessor. All fit in SM80_SHARED_MAX: what a block can have
 * on chips 8.6 and 8.9; 8.0 and 8.7 have more. */
enum { SM80_SHARED_MAX = 99 << 10 };
#define SM80_MATMUL_OUT(n) ((n) <= 16 ? 32 : (n) <= 64 ? 64 : 128)
#define SM80_MATMUL_BLOCK(n) ((n) <= 16 ? 64 : (n) <= 64 ? 128 : 256)
#define SM80_MATMUL_STAGES(n) ((n) <= 16 ? 8 : (n) == 32 ? 4 : (n) <= 128 ? 3 : 2)
#define SM80_MATMUL_STAGE_LEN(n) ((SM80_MATMUL_OUT(n) + (n)) * MATMUL_K * 2)
#define SM80_MATMUL_SHARED_LEN(n) (SM80_MATMUL_STAGES(n) * SM80_MATMUL_STAGE_LEN(n))

/*
 * attention_<head_dim>_<tile>: causal attention over the paged cache, head_dim 64, 96 or 128 (no
 * other has a kernel), tiles of 64 or 128 queries: pairs of a row and one of the n_heads /
 * n_kv_heads query heads that share a key head. No bit depends on the tile, the item or the grid:
 * docs/CUDA.md, "Attention".
 *
 * The work is a list of items in device memory, each taken once for every key head. An item is up
 * to ATTENTION_ROWS(tile, group) rows beside each other, of one sequence, at ascending positions,
 * and the splits of ATTENTION_SPLIT absolute positions that it covers. Prefill: many rows, all
 * splits. Decode: one row; all its splits, or some, so that several blocks share a long context.
 *
 * Grid: any number of blocks, each takes every gridDim.x-th piece of work, to and fro. On Hopper
 * ATTENTION_BESIDE(tile) a multiprocessor are meant, of ATTENTION_BLOCK(tile) threads and
 * ATTENTION_SHARED_LEN(head_dim, tile) bytes of shared memory; sm80_attention_<head_dim>_<tile> has
 * SM80_ATTENTION_BLOCK(tile) and SM80_ATTENTION_SHARED_LEN(head_dim, tile), and of tiles of 64 two
 * go on one multiprocessor of 8.0.
 */
enum { ATTENTION_KEYS = 64, ATTENTION_SPLIT = 512 }; /* positions of a block (a page), of a split */

struct cuda_attention_item {
    uint32_t row, n_rows;
    uint32_t first_split, end_split; /* split s is of positions 512 s to 512 s + 511 */
    /* ATTENTION_WHOLE: the item covers all splits that its rows see, and writes `out`. Else split s
     * of row r goes to partial `partial + (r - row) * partial_stride + (s - first_split)`, to be
     * folded. */
    uint32_t partial, partial_stride;
};

#define ATTENTION_WHOLE 0xffffffffu

struct cuda_attention_args {
    /* The cache as a matrix of slots: (n_pages * n_layers * 2 * n_kv_heads * 64, head_dim), boxes
     * of 64 slots and ATTENTION_CHUNK(head_dim) columns, swizzled by the bytes of that many. */
    struct gpu_tensor_map cache;
    const uint16_t *cache_at; /* sm80: the cache itself */
    uint16_t *out;            /* bf16 (n_rows, n_heads * head_dim) */
    const uint16_t *qkv; /* bf16 (n_rows, (n_heads + 2 n_kv_heads) * head_dim): only q is read */
    const uint32_t *positions;   /* (n_rows) */
    const uint32_t *page_tables; /* (n_rows, page_table_len): of an item its last row's is read */
    const struct cuda_attention_item *items;
    const uint32_t *n_items; /* one number: it may vary from launch to launch of a graph */
    float *partial_sums;     /* (n_partials, n_heads, head_dim) */
    float *partial_weights;  /* (n_partials, n_heads, 2): m and l */
    uint32_t page_table_len;
    uint32_t n_heads, n_kv_heads; /* n_heads / n_kv_heads at most 64 */
    uint32_t layer, n_layers;
    uint32_t window; /* a row sees its last `window` positions, its own too; 0: all */
    float scale;     /* of the scores, above 0 */
};

/* attention_fold: out[row] from its partials, ascending. Grid: any number of blocks of CUDA_BLOCK
 * threads. It uses no shared memory; a launch may ask for some. */
enum { CUDA_FOLD_SHARED_LEN = 96 << 10 };
struct cuda_attention_fold {
    uint32_t row;
    /* Beside each other, splits ascending; one that the row does not see changes nothing. */
    uint32_t partial, n_partials;
};

struct cuda_attention_fold_args {
    uint16_t *out;             /* as above; rows without an entry in `folds` are left alone */
    const float *partial_sums; /* as above */
    const float *partial_weights;
    const struct cuda_attention_fold *folds;
    const uint32_t *n_folds; /* one number */
    uint32_t n_heads, head_dim;
    float scale;
};

/* Rows of an item for tiles of 64 or 128 queries; columns that one copy brings. */
#define ATTENTION_ROWS(tile, group) ((tile) / (group))
#define ATTENTION_CHUNK(head_dim) ((head_dim) % 64 == 0 ? 64u : 32u)
#define ATTENTION_BLOCK(tile) ((tile) + (tile) + 128)
/* Queries; what they have of splits that have ended, but for what a thread keeps of that in
 * registers; a ring of keys and one of values, of two pages and a head each, with columns of ones
 * behind the values; two barriers for each place, and two more. */
#define ATTENTION_SUMS_KEPT(head_dim, tile) ((head_dim) * ((tile) == 64 ? 2 : 3) / 8)
#define ATTENTION_SUMS_LEN(head_dim, tile)                                                         \
    ((tile) * ((head_dim)-2 * ATTENTION_SUMS_KEPT(head_dim, tile)) * 4)
#define ATTENTION_STAGES(head_dim, tile)                                                           \
    ((tile) == 64 ? ((head_dim) == 64 ? 2 : 1) : (head_dim) == 128 ? 2 : (head_dim) == 96 ? 3 : 4)
#define ATTENTION_PART_LEN(head_dim) (2 * ATTENTION_KEYS * (head_dim)*2)
#define ATTENTION_ONES_LEN(head_dim) (2 * ATTENTION_KEYS * ATTENTION_CHUNK(head_dim) * 2)
#define ATTENTION_SHARED_LEN(head_dim, tile)                                                       \
    ((tile) * (head_dim)*2 + ATTENTION_SUMS_LEN(head_dim, tile) +                                  \
     ATTENTION_STAGES(head_dim, tile) *                                                            \
         (2 * ATTENTION_PART_LEN(head_dim) + ATTENTION_ONES_LEN(head_dim) + 32) +                  \
     16)
/* Blocks that go on one multiprocessor. Decode is a chain of latencies, page by page: two of them
 * fill each other's gaps. */
#define ATTENTION_BESIDE(tile) ((tile) == 64 ? 2 : 1)

/* sm80: queries, a ring of halves of pages (keys or values of one head), the work. */
#define SM80_ATTENTION_BLOCK(tile) ((tile)*2)
#define SM80_ATTENTION_STAGES(head_dim) ((head_dim) == 128 ? 4 : (head_dim) == 96 ? 5 : 8)
#define SM80_ATTENTION_HALF_LEN(head_dim) (ATTENTION_KEYS * (head_dim)*2)
#define SM80_ATTENTION_WORK_LEN 64
#define SM80_ATTENTION_SHARED_LEN(head_dim, tile)                                                  \
    ((tile) * (head_dim)*2 + SM80_ATTENTION_STAGES(head_dim) * SM80_ATTENTION_HALF_LEN(head_dim) + \
     2 * SM80_ATTENTION_WORK_LEN)

/* exp2_check: adds to n_other how many exponents there are of which the chip's power of two makes
 * another weight of attention than det_exp2. Any grid. */
struct cuda_exp2_check_args {
    uint64_t *n_other;
};

/*
 * A running sequence has a slot. What it keeps there, on the device: the token that was sampled
 * last, whose keys are not computed yet, and its position; its page table; the parameters of its
 * sampling. The host writes a slot when a sequence is admitted and appends pages before they are
 * needed; sample_choose moves it on. So a step can be launched before the ids of the step before it
 * were read: which rows it has does not depend on them.
 */
#define CUDA_NO_SLOT UINT32_MAX
#define CUDA_NEWEST UINT32_MAX

/* What the host says of a row. A row without a slot fills up the bucket of a graph: token 0 at
 * position 0 of the spare page, which no sequence has. */
struct cuda_plan_row {
    uint32_t slot;     /* or CUDA_NO_SLOT */
    uint32_t token;    /* CUDA_NEWEST: the slot's newest token at its position */
    uint32_t position; /* of any other token */
};

/* prepare_rows: what the forward pass reads of each row. Of a page table only the entries up to the
 * row's own position are written. Grid: n_rows blocks. */
struct cuda_prepare_args {
    uint32_t *tokens, *positions;     /* (n_rows) */
    uint32_t *page_tables;            /* (n_rows, page_table_len) */
    const struct cuda_plan_row *plan; /* (n_rows) */
    const uint32_t *newest;           /* (n_slots): ids */
    const uint32_t *newest_at;        /* (n_slots): their positions */
    const uint32_t *slot_tables;      /* (n_slots, page_table_len) */
    uint32_t page_table_len;
    uint32_t spare_page;
};

/* zero_pages: all of each page. Grid: (any, n_pages) blocks. */
struct cuda_zero_pages_args {
    uint16_t *cache;
    const uint32_t *pages; /* (n_pages) */
    uint64_t page_len;     /* elements of one page: a multiple of 8 */
};

/* copy_pages: the first n_tokens positions of page `from` to page `to`, all layers. No page is
 * written by one copy and in another. Grid: (any, n_copies) blocks. */
struct cuda_page_copy {
    uint32_t to, from, n_tokens;
};

struct cuda_copy_pages_args {
    uint16_t *cache;
    const struct cuda_page_copy *copies; /* (n_copies) */
    uint32_t n_layers, n_kv_heads, head_dim;
};

/* count_tokens: what a slot's penalties are computed from, of a sequence's tokens so far. counts
 * must be zero before. Grid: any number of blocks. */
#define CUDA_IN_PROMPT 0x80000000u
struct cuda_count_args {
    uint32_t *counts; /* (n_vocab): times in the answer, plus CUDA_IN_PROMPT */
    const uint32_t
        *tokens; /* (n_tokens): prompt, then answer; those from n_vocab on are passed over */
    uint32_t n_tokens, n_prompt, n_vocab;
};

/*
 * Sampling: docs/NUMERICS.md, "Sampling", bit for bit what engine/sample.c does. Three kernels with
 * the same arguments, one after the other:
 *   sample_scan:   step 1, largest logits.    Grid: (any, n_rows) blocks, each takes every
 *                                             gridDim.x-th of CUDA_SAMPLE_CHUNKS(n_vocab) chunks
 *   sample_weigh:  step 3.                    Grid: likewise
 *   sample_choose: the rest; moves slots on.  Grid: n_rows blocks
 * CUDA_SAMPLE_BLOCK threads, CUDA_SAMPLE_SHARED_LEN bytes of shared memory each.
 */
enum {
    CUDA_SAMPLE_BLOCK = 512,
    CUDA_SAMPLE_BESIDE = 2,   /* blocks of sample_scan and sample_weigh on one multiprocessor */
    CUDA_SAMPLE_CHUNK = 4096, /* ids of one block */
    CUDA_SAMPLE_BINS = 2048,  /* of a row's ids by their distance from the best */
    CUDA_SAMPLE_TOP = 20,     /* alternatives that one token can report */
    CUDA_SAMPLE_SHARED_LEN = 36 << 10,
};

struct cuda_token_float { /* a bias, or a logprob */
    uint32_t id;
    float value;
};

/* Of one slot; struct engine_params with what a request has beside it. */
struct cuda_sample_params {
    uint64_t seed;
    uint32_t choice;
    float temperature, top_p, min_p;
    uint32_t top_k;
    float repetition_penalty, frequency_penalty, presence_penalty;
    uint32_t *counts;                      /* (n_vocab), of count_tokens; NULL: no penalties */
    const struct cuda_token_float *biases; /* (n_biases), each id once */
    const uint32_t *end_ids;               /* (n_end_ids): banned at positions below may_end_at */
    const uint32_t *allowed;               /* ((n_vocab + 31) / 32) words of bits; NULL: all */
    uint32_t n_biases, n_end_ids, may_end_at; /* may_end_at: n_prompt + min_tokens */
    uint32_t logprobs, n_logprobs;            /* 0 or 1; alternatives, at most CUDA_SAMPLE_TOP */
};

enum cuda_sample_fault {
    CUDA_SAMPLED,
    CUDA_SAMPLE_NOT_A_NUMBER, /* a logit, that of `id` */
    CUDA_SAMPLE_INFINITE,     /* likewise */
    CUDA_SAMPLE_NONE_ALLOWED, /* the mask allows no id */
    CUDA_SAMPLE_ONLY_ENDS,    /* it allows ids that are banned here and no others */
};

struct cuda_sampled {
    uint32_t fault; /* not CUDA_SAMPLED: nothing was chosen, and the slot's newest token is 0 */
    uint32_t id;
    float logprob; /* 0 unless they were asked for */
    uint32_t n_top;
};

struct cuda_sample_args {
    struct cuda_sampled *out;     /* (n_rows) */
    struct cuda_token_float *top; /* (n_rows, CUDA_SAMPLE_TOP): the first n_top, best first */
    uint32_t *newest, *newest_at; /* (n_slots): moved on, as the slot's counts are */
    const float *logits;          /* (n_rows, row_len) */
    float *z;                     /* scratch, likewise */
    void *scratch;                /* CUDA_SAMPLE_SCRATCH_LEN bytes, at a multiple of 16 */
    const struct cuda_sample_params *params; /* (n_slots) */
    const struct cuda_plan_row *plan;        /* of the step's rows: the slots; no slot: no result */
    const uint32_t *positions;               /* of the step's rows; the new token's is one more */
    const uint32_t *rows;                    /* (n_rows): rows of the step; NULL: row r itself */
    uint32_t n_vocab;                        /* ids that can be chosen: 0 to n_vocab - 1 */
    uint32_t row_len;                        /* floats from row to row, at least n_vocab */
};

#define CUDA_SAMPLE_CHUNKS(n_vocab) (((n_vocab) + CUDA_SAMPLE_CHUNK - 1) / CUDA_SAMPLE_CHUNK)
/* Of a row: 32 bytes a chunk, 16 bytes a bin. */
#define CUDA_SAMPLE_SCRATCH_LEN(n_rows, n_vocab)                                                   \
    ((size_t)(n_rows) * (CUDA_SAMPLE_CHUNKS((size_t)(n_vocab)) * 32 + CUDA_SAMPLE_BINS * 16))

#endif
