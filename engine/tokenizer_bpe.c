/*
 * Byte-pair encoding of one piece. Merges are applied lowest rank first, then leftmost: in a short
 * piece by looking for the lowest rank, else with a heap of candidates, so a piece of n symbols
 * takes n log n steps and at most 40 bytes a symbol whatever it holds. A piece that is a token, and
 * would be merged to it, is looked up at once.
 */
#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* A symbol of the piece; a list in order of place. */
struct bpe_symbol {
    uint32_t id; /* NO_TOKEN once merged into its left neighbour */
    uint32_t prev, next;
    uint32_t rank; /* of the merge with its right neighbour, NO_RANK if there is none */
};

#define NO_SYMBOL UINT32_MAX
#define NO_RANK UINT32_MAX

static void drop(void *at, size_t len)
{
    if (at != NULL)
        explicit_bzero(at, len);
    free(at);
}

void bpe_scratch_cleanup(struct bpe_scratch *s)
{
    drop(s->symbols, s->capacity * sizeof *s->symbols);
    drop(s->heap, s->heap_capacity * sizeof *s->heap);
    explicit_bzero(s, sizeof *s);
}

/* Room for n symbols; those that are there stay. */
static struct err reserve_symbols(struct bpe_scratch *s, size_t n)
{
    if (n <= s->capacity)
        return err_ok();
    size_t capacity = n < 64 ? 64 : n + n / 2;
    struct bpe_symbol *symbols = calloc(capacity, sizeof *symbols);
    if (symbols == NULL)
        return err_set(ERR_MEMORY, "no memory to encode a piece of %zu symbols", n);
    if (s->symbols != NULL)
        memcpy(symbols, s->symbols, s->capacity * sizeof *symbols);
    drop(s->symbols, s->capacity * sizeof *s->symbols);
    s->symbols = symbols;
    s->capacity = capacity;
    return err_ok();
}

/* Room for the candidates of n symbols: n - 1 at first, and each of at most n - 1 merges takes one
 * out and puts at most two in. */
static struct err reserve_heap(struct bpe_scratch *s, size_t n)
{
    if (2 * n <= s->heap_capacity)
        return err_ok();
    drop(s->heap, s->heap_capacity * sizeof *s->heap);
    s->heap_capacity = 0;
    s->heap = calloc(2 * n, sizeof *s->heap);
    if (s->heap == NULL)
        return err_set(ERR_MEMORY, "no memory to merge %zu symbols", n);
    s->heap_capacity = 2 * n;
    return err_ok();
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
        symbols[n] =
            (struct bpe_symbol){unk ? t->unk_id : id, n == 0 ? NO_SYMBOL : (uint32_t)(n - 1),
                                (uint32_t)(n + 1), NO_RANK};
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

static uint32_t rank_of(const struct tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t rank = NO_RANK;
    (void)u64_map_get(&t->merges, (uint64_t)left << 32 | right, &rank);
    return (uint32_t)rank;
}

/* The merge of the symbol at `place` with its right neighbour becomes a candidate. */
static void push_merge(const struct tokenizer *t, struct bpe_symbol *symbols, struct bpe_heap *heap,
                       uint32_t place)
{
    if (place == NO_SYMBOL)
        return;
    struct bpe_symbol *s = &symbols[place];
    s->rank = s->next == NO_SYMBOL ? NO_RANK : rank_of(t, s->id, symbols[s->next].id);
    if (s->rank != NO_RANK)
        heap_push(heap, (uint64_t)s->rank << 32 | place);
}

static void apply_merges(const struct tokenizer *t, struct bpe_symbol *symbols,
                         struct bpe_heap *heap)
{
    while (heap->n > 0) {
        uint64_t top = heap_pop(heap);
        uint32_t place = (uint32_t)top, rank = (uint32_t)(top >> 32);
        /* A candidate is stale when one of its symbols has changed since: the rank tells. */
        if (symbols[place].rank != rank)
            continue;
        struct bpe_symbol *right = &symbols[symbols[place].next];
        symbols[place].id = t->merged[rank];
        symbols[place].next = right->next;
        right->id = NO_TOKEN;
        right->rank = NO_RANK;
        if (right->next != NO_SYMBOL)
            symbols[right->next].prev = place;
        push_merge(t, symbols, heap, symbols[place].prev);
        push_merge(t, symbols, heap, place);
    }
}

/* The place of the lowest rank, the leftmost of equals; n at least 1. Two loops, since a compiler
 * makes vectors of them. */
static size_t lowest(const uint32_t *ranks, size_t n)
{
    uint32_t least = NO_RANK;
    for (size_t i = 0; i < n; i++)
        least = ranks[i] < least ? ranks[i] : least;
    size_t at = 0;
    while (ranks[at] != least)
        at++;
    return at;
}

/* Merges n symbols of s->ids, at most BPE_SHORT, and appends what is left of them. */
static void merge_short(const struct tokenizer *t, struct bpe_scratch *s, size_t n, struct buf *out)
{
    uint32_t *ids = s->ids, *ranks = s->ranks; /* ranks[i]: of ids[i] and ids[i + 1] */
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(t, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t at = lowest(ranks, n - 1);
        if (ranks[at] == NO_RANK)
            break;
        ids[at] = t->merged[ranks[at]];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        if (at + 2 < n)
            memmove(ranks + at, ranks + at + 1, (n - at - 2) * sizeof *ranks);
        n--;
        if (at + 1 < n)
            ranks[at] = rank_of(t, ids[at], ids[at + 1]);
        if (at > 0)
            ranks[at - 1] = rank_of(t, ids[at - 1], ids[at]);
    }
    buf_append(out, ids, n * sizeof *ids);
}

/* Merges the first n symbols and appends what is left of them. */
static struct err merge_all(const struct tokenizer *t, struct bpe_scratch *s, size_t n,
                            struct buf *out)
{
    if (n <= BPE_SHORT) {
        for (size_t i = 0; i < n; i++)
            s->ids[i] = s->symbols[i].id;
        merge_short(t, s, n, out);
        return err_ok();
    }
    TRY(reserve_heap(s, n));
    struct bpe_heap heap = {s->heap, 0};
    for (uint32_t i = 0; i < n; i++)
        push_merge(t, s->symbols, &heap, i);
    apply_merges(t, s->symbols, &heap);
    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbols[i].next)
        buf_append(out, &s->symbols[i].id, sizeof s->symbols[i].id);
    return err_ok();
}

static struct err encode_bytes(const struct tokenizer *t, struct bpe_scratch *s, struct bytes piece,
                               struct buf *out)
{
    TRY(reserve_symbols(s, piece.len));
    return merge_all(t, s, symbols_of(t, s->symbols, piece), out);
}

/* Symbols that are characters, collected up to a place that no merge can cross: so a text that is
 * one piece takes no more memory and time than its words do. Tokens of bytes and the unknown token
 * take part in no merge (refused at load) and end a stretch too. */
struct stretch {
    const struct tokenizer *t;
    struct bpe_scratch *scratch;
    struct buf *out;
    size_t n;
    int32_t last; /* character of the last symbol */
    bool unknown; /* an unknown token is due, before the next character or at the end */
};

static struct err stretch_end(struct stretch *s)
{
    size_t n = s->n;
    s->n = 0;
    if (n > 0)
        s->scratch->symbols[n - 1].next = NO_SYMBOL;
    return merge_all(s->t, s->scratch, n, s->out);
}

static void put_unknown(struct stretch *s)
{
    if (s->unknown)
        buf_append(s->out, &s->t->unk_id, sizeof s->t->unk_id);
    s->unknown = false;
}

static struct err put_char(struct stretch *s, int32_t c, uint32_t id)
{
    uint64_t joint = (uint64_t)(uint32_t)s->last << 32 | (uint32_t)c, unused = 0;
    if (s->n > 0 && !u64_map_get(&s->t->joints, joint, &unused))
        TRY(stretch_end(s));
    put_unknown(s); /* no stretch is open then */
    TRY(reserve_symbols(s->scratch, s->n + 1));
    s->scratch->symbols[s->n] = (struct bpe_symbol){
        id, s->n == 0 ? NO_SYMBOL : (uint32_t)(s->n - 1), (uint32_t)(s->n + 1), NO_RANK};
    s->n++;
    s->last = c;
    return err_ok();
}

static bool has_bytes(const struct tokenizer *t, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (t->byte_ids[bytes.data[i]] == NO_TOKEN)
            return false;
    return t->byte_fallback;
}

/* A character that is no token. What has neither bytes nor an unknown token is left out, and its
 * neighbours may merge; an unknown token comes behind bytes that follow it (as in the library). */
static struct err put_unlisted(struct stretch *s, struct bytes bytes)
{
    bool fallback = has_bytes(s->t, bytes);
    if (!fallback && s->t->unk_id == NO_TOKEN)
        return err_ok();
    TRY(stretch_end(s));
    for (size_t i = 0; fallback && i < bytes.len; i++)
        buf_append(s->out, &s->t->byte_ids[bytes.data[i]], sizeof s->t->byte_ids[0]);
    if (fallback)
        return err_ok();
    if (!s->t->fuse_unk)
        put_unknown(s);
    s->unknown = true;
    return err_ok();
}

static struct err encode_chars(const struct tokenizer *t, struct bpe_scratch *scratch,
                               struct bytes piece, struct buf *out)
{
    struct stretch s = {.t = t, .scratch = scratch, .out = out};
    for (size_t i = 0, len = 0; i < piece.len; i += len) {
        uint64_t id = 0;
        int32_t c = first_char(bytes_of(piece.data + i, piece.len - i), &len);
        if (u64_map_get(&t->char_ids, (uint32_t)c, &id))
            TRY(put_char(&s, c, (uint32_t)id));
        else
            TRY(put_unlisted(&s, bytes_of(piece.data + i, len)));
    }
    TRY(stretch_end(&s));
    put_unknown(&s);
    return err_ok();
}

struct err bpe_find_whole(struct tokenizer *t)
{
    struct bpe_scratch scratch __attribute__((cleanup(bpe_scratch_cleanup))) = {0};
    BUF_AUTO ids = BUF_INIT;
    struct bytes piece;
    uint32_t id = 0;
    for (size_t at = 0; bytes_map_next(&t->by_bytes, &at, &piece, &id);) {
        buf_clear(&ids);
        if (!t->ignore_merges && t->byte_level)
            TRY(encode_bytes(t, &scratch, piece, &ids));
        bool alone = ids.len == sizeof id && memcmp(ids.data, &id, sizeof id) == 0;
        t->tokens[id].whole = !t->tokens[id].special && (t->ignore_merges || alone);
        if (piece.len > t->longest)
            t->longest = piece.len;
    }
    return err_ok();
}

struct err bpe_encode(const struct tokenizer *t, struct bpe_scratch *s, struct bytes piece,
                      struct buf *out)
{
    uint32_t id = 0;
    if (piece.len == 0)
        return err_ok();
    if (piece.len <= t->longest && bytes_map_get(&t->by_bytes, piece, &id) && t->tokens[id].whole) {
        buf_append(out, &id, sizeof id);
        return err_ok();
    }
    return t->byte_level ? encode_bytes(t, s, piece, out) : encode_chars(t, s, piece, out);
}
