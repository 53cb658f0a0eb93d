#include "kernels/cuda/attention_plan.h"

#include <stdlib.h>

/* Pieces of work that each multiprocessor should have, so that the last round costs little. */
enum { PIECES_OF_EACH = 4 };

struct err attention_check(const struct attention_shape *s)
{
    if (s->head_dim != 64 && s->head_dim != 96 && s->head_dim != 128)
        return err_set(ERR_UNSUPPORTED,
                       "attention on the GPU has kernels for heads of 64, 96 and 128 elements, not "
                       "%u; use the CPU backend",
                       s->head_dim);
    if (s->n_kv_heads == 0 || s->n_heads % s->n_kv_heads != 0 ||
        s->n_heads / s->n_kv_heads > ATTENTION_NARROW)
        return err_set(ERR_UNSUPPORTED,
                       "attention on the GPU takes 1 to %d query heads for each key head, not %u "
                       "for %u; use the CPU backend",
                       ATTENTION_NARROW, s->n_heads, s->n_kv_heads);
    return err_ok();
}

static uint32_t first_seen(uint32_t position, uint32_t window)
{
    return window != 0 && position >= window ? position - window + 1 : 0;
}

/* Of rows at `position` to position + n_rows - 1. */
static struct cuda_attention_item whole_item(uint32_t row, uint32_t n_rows, uint32_t position,
                                             uint32_t window)
{
    return (struct cuda_attention_item){
        .row = row,
        .n_rows = n_rows,
        .first_split = first_seen(position, window) / ATTENTION_SPLIT,
        .end_split = (position + n_rows - 1) / ATTENTION_SPLIT + 1,
        .partial = ATTENTION_WHOLE,
    };
}

static uint32_t n_splits(const struct cuda_attention_item *i)
{
    return i->end_split - i->first_split;
}

static bool is_narrow(const struct attention_run *r, uint32_t group)
{
    return r->n_rows * group <= ATTENTION_NARROW;
}

static void add_wide(struct attention_plan *plan, const struct attention_shape *s,
                     const struct attention_run *r)
{
    const uint32_t most = ATTENTION_ROWS(ATTENTION_WIDE, s->n_heads / s->n_kv_heads);
    for (uint32_t i = 0; i < r->n_rows; i += most) {
        const uint32_t n = r->n_rows - i < most ? r->n_rows - i : most;
        plan->wide[plan->n_wide++] = whole_item(r->row + i, n, r->position + i, s->window);
    }
}

/* One item, or parts of `most` splits at most, as equal as can be. */
static void add_narrow(struct attention_plan *plan, const struct attention_shape *s,
                       const struct attention_run *r, uint32_t most)
{
    struct cuda_attention_item all = whole_item(r->row, r->n_rows, r->position, s->window);
    const uint32_t n = n_splits(&all), parts = (n + most - 1) / most;
    if (parts <= 1 || n * r->n_rows > plan->n_partials_max - plan->n_partials) {
        plan->narrow[plan->n_narrow++] = all;
        return;
    }
    for (uint32_t i = 0; i < r->n_rows; i++)
        plan->folds[plan->n_folds++] = (struct cuda_attention_fold){
            .row = r->row + i, .partial = plan->n_partials + i * n, .n_partials = n};
    for (uint32_t i = 0; i < parts; i++) {
        struct cuda_attention_item part = all;
        part.first_split = all.first_split + n * i / parts;
        part.end_split = all.first_split + n * (i + 1) / parts;
        part.partial = plan->n_partials + part.first_split - all.first_split;
        part.partial_stride = n;
        plan->narrow[plan->n_narrow++] = part;
    }
    plan->n_partials += n * r->n_rows;
}

static int longest_first(const void *a, const void *b)
{
    const struct cuda_attention_item *x = a, *y = b;
    if (n_splits(x) != n_splits(y))
        return n_splits(x) > n_splits(y) ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->first_split < y->first_split ? -1 : x->first_split > y->first_split;
}

/* Splits that one piece of narrow work should have at most. */
static uint32_t choose_part(const struct attention_shape *s, const struct attention_run *runs,
                            size_t n_runs)
{
    uint64_t n = 0;
    const uint64_t pieces = (uint64_t)PIECES_OF_EACH * s->n_multiprocessors;
    for (size_t i = 0; i < n_runs; i++)
        if (is_narrow(&runs[i], s->n_heads / s->n_kv_heads)) {
            struct cuda_attention_item all =
                whole_item(0, runs[i].n_rows, runs[i].position, s->window);
            n += (uint64_t)n_splits(&all) * s->n_kv_heads;
        }
    return n <= pieces ? 1 : (uint32_t)((n + pieces - 1) / pieces);
}

void attention_plan_make(struct attention_plan *plan, const struct attention_shape *s,
                         const struct attention_run *runs, size_t n_runs)
{
    const uint32_t part = choose_part(s, runs, n_runs);
    plan->n_wide = plan->n_narrow = plan->n_folds = plan->n_partials = 0;
    for (size_t i = 0; i < n_runs; i++)
        if (is_narrow(&runs[i], s->n_heads / s->n_kv_heads))
            add_narrow(plan, s, &runs[i], part);
        else
            add_wide(plan, s, &runs[i]);
    qsort(plan->wide, plan->n_wide, sizeof *plan->wide, longest_first);
    qsort(plan->narrow, plan->n_narrow, sizeof *plan->narrow, longest_first);
}

struct gpu_tensor attention_cache_tensor(struct gpu_address cache, uint64_t n_slots,
                                         uint32_t head_dim)
{
    return (struct gpu_tensor){
        .base = cache,
        .type = GPU_TENSOR_BF16,
        .swizzle = ATTENTION_CHUNK(head_dim) == 64 ? GPU_SWIZZLE_128 : GPU_SWIZZLE_64,
        .rank = 2,
        .dims = {head_dim, n_slots},
        .strides = {(uint64_t)head_dim * 2},
        .box = {ATTENTION_CHUNK(head_dim), ATTENTION_KEYS},
    };
}
