/*
 * Byte-pair encoding of one piece. Merges are applied lowest rank first, then leftmost, with a heap
 * of candidates, so a piece of n bytes takes n log n steps whatever it holds.
 */
#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* A symbol of the piece; a list in order of place. */
struct bpe_symbol {
    uint32_t id; /* NO_TOKEN once merged into its left neighbour */
    uint32_t prev, next;
};

#define NO_SYMBOL UINT32_MAX

void bpe_scratch_cleanup(struct bpe_scratch *s)
{
    if (s->symbols != NULL)
        explicit_bzero(s->symbols, s->capacity * sizeof *s->symbols);
    if (s->heap != NULL)
        explicit_bzero(s->heap, 3 * s->capacity * sizeof *s->heap);
    free(s->symbols);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

/* Room for n symbols and their candidates: n - 1 at first and at most two more a merge. */
static struct err scratch_reserve(struct bpe_scratch *s, size_t n)
{
    if (n <= s->capacity)
        return err_ok();
    size_t capacity = n < 64 ? 64 : n * 2;
    bpe_scratch_cleanup(s);
    s->capacity = capacity;
    s->symbols = calloc(capacity, sizeof *s->symbols);
    s->heap = calloc(capacity, 3 * sizeof *s->heap);
    if (s->symbols != NULL && s->heap != NULL)
        return err_ok();
    bpe_scratch_cleanup(s);
    return err_set(ERR_MEMORY, "no memory to encode a piece of %zu bytes", n);
}

/* One symbol a byte. Returns their number. */
static size_t symbols_of(const struct tokenizer *t, struct bpe_symbol *symbols, struct bytes piece)
{
    size_t n = 0;
    bool after_unk = false;
    for (size_t i = 0; i < piece.len; i++) {
        uint32_t id = t->byte_ids[piece.data[i]];
        bool unk = id == NO_TOKEN;
        if (unk && (t->unk_id == NO_TOKEN || (after_unk && t->fuse_unk)))
            continue;
        symbols[n] = (struct bpe_symbol){unk ? t->unk_id : id,
                                         n == 0 ? NO_SYMBOL : (uint32_t)(n - 1), (uint32_t)(n + 1)};
        n++;
        after_unk = unk;
    }
    if (n > 0)
        symbols[n - 1].next = NO_SYMBOL;
    return n;
}

struct bpe_heap {
    uint64_t *at; /* rank << 32 | place of the left symbol; least first */
    size_t n;
};

static void heap_push(struct bpe_heap *h, uint64_t key)
{
    size_t i = h->n++;
    for (; i > 0 && h->at[(i - 1) / 2] > key; i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = key;
}

static uint64_t heap_pop(struct bpe_heap *h)
{
    uint64_t top = h->at[0];
    uint64_t last = h->at[--h->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->at[child + 1] < h->at[child])
            child++;
        if (h->at[child] >= last)
            break;
        h->at[i] = h->at[child];
        i = child;
    }
    h->at[i] = last;
    return top;
}

/* The merge of the symbol at `place` with its right neighbour, if there is one. */
static bool find_merge(const struct tokenizer *t, const struct bpe_symbol *symbols, uint32_t place,
                       uint64_t *merge)
{
    uint32_t next = symbols[place].next;
    return next != NO_SYMBOL &&
           u64_map_get(&t->merges, (uint64_t)symbols[place].id << 32 | symbols[next].id, merge);
}

static void push_merge(const struct tokenizer *t, const struct bpe_symbol *symbols,
                       struct bpe_heap *heap, uint32_t place)
{
    uint64_t merge = 0;
    if (place != NO_SYMBOL && find_merge(t, symbols, place, &merge))
        heap_push(heap, (merge & ~(uint64_t)UINT32_MAX) | place);
}

static void merge_all(const struct tokenizer *t, struct bpe_symbol *symbols, struct bpe_heap *heap)
{
    while (heap->n > 0) {
        uint64_t top = heap_pop(heap);
        uint32_t place = (uint32_t)top;
        uint64_t merge = 0;
        /* A candidate is stale when one of its symbols has changed since: its rank tells. */
        if (symbols[place].id == NO_TOKEN || !find_merge(t, symbols, place, &merge) ||
            merge >> 32 != top >> 32)
            continue;
        struct bpe_symbol *right = &symbols[symbols[place].next];
        symbols[place].id = (uint32_t)merge;
        symbols[place].next = right->next;
        right->id = NO_TOKEN;
        if (right->next != NO_SYMBOL)
            symbols[right->next].prev = place;
        push_merge(t, symbols, heap, symbols[place].prev);
        push_merge(t, symbols, heap, place);
    }
}

struct err bpe_encode(const struct tokenizer *t, struct bpe_scratch *s, struct bytes piece,
                      struct buf *out)
{
    if (piece.len == 0)
        return err_ok();
    uint32_t whole = 0;
    if (t->ignore_merges && bytes_map_get(&t->by_bytes, piece, &whole) &&
        !t->tokens[whole].special) {
        buf_append(out, &whole, sizeof whole);
        return err_ok();
    }
    TRY(scratch_reserve(s, piece.len));
    size_t n = symbols_of(t, s->symbols, piece);
    if (n == 0)
        return err_ok();
    struct bpe_heap heap = {s->heap, 0};
    for (uint32_t i = 0; i + 1 < n; i++)
        push_merge(t, s->symbols, &heap, i);
    merge_all(t, s->symbols, &heap);
    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbols[i].next)
        buf_append(out, &s->symbols[i].id, sizeof s->symbols[i].id);
    return err_ok();
}
