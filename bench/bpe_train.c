#include "bench/bpe_train.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_internal.h"

/* A piece that occurs `count` times; `n` symbols at symbols[at]. */
struct word {
    uint32_t at, n, count;
};

/* A pair of neighbours: how often, and in which words (some of them no longer). */
struct pair {
    uint64_t key;
    int64_t count, entered; /* `entered`: of its one valid entry in the heap; 0: has none */
    uint32_t *words;
    uint32_t n_words, capacity;
    bool grown; /* is in trainer.grown */
};

/* A candidate as it was when it was entered. */
struct entry {
    int64_t count;
    uint32_t pair;
};

struct trainer {
    struct buf symbols;       /* uint32_t */
    struct buf words;         /* struct word */
    struct buf pairs;         /* struct pair */
    struct buf heap;          /* struct entry; the most frequent first, then the oldest pair */
    struct buf grown;         /* uint32_t: pairs counted up since the last merge */
    struct u64_map index;     /* key to place in pairs */
    struct buf texts;         /* bytes of all tokens */
    struct buf tokens;        /* struct text_span into texts */
    struct bytes_map known;   /* pieces */
    struct bytes_map by_text; /* tokens */
};

#define ITEM(buffer, type, i) (((type *)(void *)(buffer).data)[i])
#define COUNT(buffer, type) ((buffer).len / sizeof(type))

static void trainer_cleanup(struct trainer *t)
{
    for (size_t i = 0; i < COUNT(t->pairs, struct pair); i++)
        free(ITEM(t->pairs, struct pair, i).words);
    buf_cleanup(&t->symbols);
    buf_cleanup(&t->words);
    buf_cleanup(&t->pairs);
    buf_cleanup(&t->heap);
    buf_cleanup(&t->grown);
    buf_cleanup(&t->texts);
    buf_cleanup(&t->tokens);
    u64_map_cleanup(&t->index);
    bytes_map_cleanup(&t->known);
    bytes_map_cleanup(&t->by_text);
}

static bool before(const struct entry *a, const struct entry *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static void heap_push(struct trainer *t, struct entry e)
{
    buf_append(&t->heap, &e, sizeof e);
    size_t i = COUNT(t->heap, struct entry) - 1;
    for (; i > 0 && before(&e, &ITEM(t->heap, struct entry, (i - 1) / 2)); i = (i - 1) / 2)
        ITEM(t->heap, struct entry, i) = ITEM(t->heap, struct entry, (i - 1) / 2);
    ITEM(t->heap, struct entry, i) = e;
}

static struct entry heap_pop(struct trainer *t)
{
    struct entry top = ITEM(t->heap, struct entry, 0);
    size_t n = COUNT(t->heap, struct entry) - 1, i = 0;
    struct entry last = ITEM(t->heap, struct entry, n);
    t->heap.len -= sizeof last;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n &&
            before(&ITEM(t->heap, struct entry, child + 1), &ITEM(t->heap, struct entry, child)))
            child++;
        if (!before(&ITEM(t->heap, struct entry, child), &last))
            break;
        ITEM(t->heap, struct entry, i) = ITEM(t->heap, struct entry, child);
        i = child;
    }
    if (n > 0)
        ITEM(t->heap, struct entry, i) = last;
    return top;
}

static void add_piece(struct trainer *t, struct bytes piece)
{
    uint32_t index = (uint32_t)COUNT(t->words, struct word);
    if (bytes_map_get(&t->known, piece, &index)) {
        ITEM(t->words, struct word, index).count++;
        return;
    }
    struct word w = {(uint32_t)COUNT(t->symbols, uint32_t), (uint32_t)piece.len, 1};
    for (size_t i = 0; i < piece.len; i++) {
        uint32_t byte = piece.data[i];
        buf_append(&t->symbols, &byte, sizeof byte);
    }
    buf_append(&t->words, &w, sizeof w);
    if (is_err(bytes_map_put(&t->known, piece, index)))
        abort(); /* no memory, or our mistake */
}

/* Every piece as long as a piece of a text may be; the last stage's matches only. */
static struct err cut(struct trainer *t, const struct tokenizer *like, struct bytes text)
{
    struct regex_matcher *matcher = NULL;
    TRY(regex_matcher_new(&matcher));
    const struct stage *stage = &like->stages[like->n_stages - 1];
    struct err e = err_ok();
    for (size_t at = 0; at < text.len && !is_err(e);) {
        struct text_span m = {0, 0};
        bool found = false;
        e = regex_find(matcher, stage->regex, text, at, &found, &m);
        if (is_err(e) || !found)
            break;
        add_piece(t, bytes_of(text.data + m.offset, m.len));
        at = m.offset + (m.len > 0 ? m.len : 1);
    }
    regex_matcher_free(matcher);
    return e;
}

static struct pair *pair_of(struct trainer *t, uint32_t left, uint32_t right, uint32_t *place)
{
    uint64_t key = (uint64_t)left << 32 | right, at = COUNT(t->pairs, struct pair);
    if (!u64_map_get(&t->index, key, &at)) {
        struct pair fresh = {.key = key};
        buf_append(&t->pairs, &fresh, sizeof fresh);
        if (is_err(u64_map_put(&t->index, key, at)))
            abort();
    }
    *place = (uint32_t)at;
    return &ITEM(t->pairs, struct pair, at);
}

/* Counts the pairs of a word `sign` times its own count; entered words are remembered. */
static void count_word(struct trainer *t, uint32_t word, int sign)
{
    const struct word w = ITEM(t->words, struct word, word);
    for (uint32_t i = 0; i + 1 < w.n; i++) {
        uint32_t place = 0;
        struct pair *p = pair_of(t, ITEM(t->symbols, uint32_t, w.at + i),
                                 ITEM(t->symbols, uint32_t, w.at + i + 1), &place);
        p->count += sign * (int64_t)w.count;
        if (sign < 0 || (p->n_words > 0 && p->words[p->n_words - 1] == word))
            continue;
        if (p->n_words == p->capacity) {
            p->capacity = p->capacity == 0 ? 4 : 2 * p->capacity;
            p->words = realloc(p->words, p->capacity * sizeof *p->words);
            if (p->words == NULL)
                abort();
        }
        p->words[p->n_words++] = word;
        if (!p->grown)
            buf_append(&t->grown, &place, sizeof place);
        p->grown = true;
    }
}

/* Pairs that are more frequent than their entry says get a new one. */
static void enter_grown(struct trainer *t)
{
    for (size_t i = 0; i < COUNT(t->grown, uint32_t); i++) {
        uint32_t place = ITEM(t->grown, uint32_t, i);
        struct pair *p = &ITEM(t->pairs, struct pair, place);
        p->grown = false;
        if (p->count <= p->entered)
            continue;
        p->entered = p->count;
        heap_push(t, (struct entry){p->count, place});
    }
    t->grown.len = 0;
}

static void merge_word(struct trainer *t, uint32_t word, uint32_t left, uint32_t right, uint32_t id)
{
    struct word *w = &ITEM(t->words, struct word, word);
    uint32_t *s = &ITEM(t->symbols, uint32_t, w->at), n = 0, found = 0;
    for (uint32_t i = 0; i + 1 < w->n; i++)
        found |= s[i] == left && s[i + 1] == right;
    if (!found)
        return;
    count_word(t, word, -1);
    for (uint32_t i = 0; i < w->n; i++) {
        bool both = i + 1 < w->n && s[i] == left && s[i + 1] == right;
        s[n++] = both ? id : s[i];
        i += both;
    }
    w->n = n;
    count_word(t, word, 1);
}

/* The token of that text, which two merges may make; a new one if there is none. */
static uint32_t token_of(struct trainer *t, struct bytes left, struct bytes right)
{
    uint32_t id = (uint32_t)COUNT(t->tokens, struct text_span);
    struct text_span span = {t->texts.len, left.len + right.len};
    BUF_AUTO whole = BUF_INIT;
    buf_append_bytes(&whole, left);
    buf_append_bytes(&whole, right);
    if (bytes_map_get(&t->by_text, buf_bytes(&whole), &id))
        return id;
    if (is_err(bytes_map_put(&t->by_text, buf_bytes(&whole), id)))
        abort();
    buf_append_bytes(&t->texts, buf_bytes(&whole));
    buf_append(&t->tokens, &span, sizeof span);
    return id;
}

static struct bytes token_text(const struct trainer *t, uint32_t id)
{
    struct text_span span = ITEM(t->tokens, struct text_span, id);
    return bytes_of(t->texts.data + span.offset, span.len);
}

/* The next merge: left << 32 | right, or 0 when no pair is left that occurs twice. */
static uint64_t next_merge(struct trainer *t)
{
    enter_grown(t);
    while (t->heap.len > 0) {
        struct entry top = heap_pop(t);
        struct pair *p = &ITEM(t->pairs, struct pair, top.pair);
        if (top.count != p->entered)
            continue; /* another entry has replaced it */
        p->entered = 0;
        if (p->count == top.count)
            return p->key;
        if (p->count < 2)
            continue;
        p->entered = p->count;
        heap_push(t, (struct entry){p->count, top.pair});
    }
    return 0;
}

static void apply(struct trainer *t, uint64_t key)
{
    uint32_t left = (uint32_t)(key >> 32), right = (uint32_t)key, place = 0;
    uint32_t id = token_of(t, token_text(t, left), token_text(t, right));
    struct pair p = *pair_of(t, left, right, &place);
    ITEM(t->pairs, struct pair, place).words = NULL;
    ITEM(t->pairs, struct pair, place).n_words = ITEM(t->pairs, struct pair, place).capacity = 0;
    for (uint32_t i = 0; i < p.n_words; i++)
        merge_word(t, p.words[i], left, right, id);
    free(p.words);
    ITEM(t->pairs, struct pair, place).count = 0;
}

/* `bytes` in the alphabet of GPT-2. */
static void append_alphabet(struct buf *out, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        for (int c = 0x21; c <= 0x143; c++)
            if (byte_of_char(c) == bytes.data[i]) {
                if (c >= 0x80)
                    buf_append_u8(out, (uint8_t)(0xc0 | c >> 6));
                buf_append_u8(out, (uint8_t)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
                break;
            }
}

static json_t *alphabet_string(struct bytes bytes)
{
    BUF_AUTO text = BUF_INIT;
    append_alphabet(&text, bytes);
    return json_stringn((const char *)text.data, text.len);
}

static struct err write(struct buf *out, const struct trainer *t, const json_t *merges,
                        struct bytes like)
{
    json_t *root = json_loadb((const char *)like.data, like.len, 0, NULL);
    json_t *model = json_object_get(root, "model"), *vocab = json_object();
    for (uint32_t id = 0; id < COUNT(t->tokens, struct text_span); id++) {
        json_t *name = alphabet_string(token_text(t, id));
        json_object_set_new(vocab, json_string_value(name), json_integer(id));
        json_decref(name);
    }
    json_object_set_new(model, "vocab", vocab);
    json_object_set(model, "merges", (json_t *)(uintptr_t)merges);
    json_object_set_new(root, "added_tokens", json_array());
    json_object_set_new(root, "post_processor", json_null());
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL)
        return err_set(ERR_MEMORY, "no memory for a tokenizer.json");
    buf_append_str(out, text);
    free(text);
    return err_ok();
}

struct err bpe_train(struct buf *out, unsigned *n_made, struct bytes like, struct bytes text,
                     unsigned n_tokens)
{
    struct trainer t __attribute__((cleanup(trainer_cleanup))) = {0};
    struct tokenizer *cutter = NULL;
    TRY(tokenizer_new(&cutter, like));
    struct err e = cut(&t, cutter, text);
    tokenizer_free(cutter);
    TRY(e);
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;
        (void)token_of(&t, bytes_of(&one, 1), bytes_of("", 0));
    }
    for (uint32_t i = 0; i < COUNT(t.words, struct word); i++)
        count_word(&t, i, 1);
    json_t *merges = json_array();
    while (COUNT(t.tokens, struct text_span) < n_tokens) {
        uint64_t key = next_merge(&t);
        if (key == 0)
            break;
        json_t *left = alphabet_string(token_text(&t, (uint32_t)(key >> 32)));
        json_t *right = alphabet_string(token_text(&t, (uint32_t)key));
        json_array_append_new(merges, json_pack("[o,o]", left, right));
        apply(&t, key);
    }
    *n_made = (unsigned)COUNT(t.tokens, struct text_span);
    e = write(out, &t, merges, like);
    json_decref(merges);
    return e;
}
