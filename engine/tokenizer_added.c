/*
 * Added tokens are cut out of the text before anything else: leftmost first, then longest. A
 * special one counts only where it lies wholly inside one trusted span.
 */
#include "engine/tokenizer_internal.h"

#include <utf8proc.h>

void added_trie_cleanup(struct added_trie *trie)
{
    u64_map_cleanup(&trie->edges);
    u64_map_cleanup(&trie->ends);
}

struct err added_trie_put(struct added_trie *trie, struct bytes content, size_t index)
{
    uint64_t node = 0;
    for (size_t i = 0; i < content.len; i++) {
        uint64_t edge = node << 8 | content.data[i];
        if (u64_map_get(&trie->edges, edge, &node))
            continue;
        node = ++trie->n_nodes;
        TRY(u64_map_put(&trie->edges, edge, node));
    }
    trie->first[content.data[0]] = true;
    return u64_map_put(&trie->ends, node, index);
}

/* The character at `at`, whose length goes to *len. The text is valid UTF-8. */
static int32_t char_at(struct bytes text, size_t at, size_t *len)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate(text.data + at, (utf8proc_ssize_t)(text.len - at), &c);
    *len = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : -1;
}

static int32_t char_before(struct bytes text, size_t at, size_t *len)
{
    size_t start = at - 1;
    while (start > 0 && (text.data[start] & 0xc0) == 0x80)
        start--;
    return char_at(text, start, len);
}

/* Unicode's White_Space. */
static bool is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Regular expressions' \w (UTS 18): Alphabetic, marks, decimal digits, connectors, joiners. */
static bool is_word(int32_t c)
{
    if (c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
        (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189))
        return true;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

/* Neither side continues a word. */
static bool stands_alone(struct bytes text, struct text_span match)
{
    size_t end = match.offset + match.len, len = 0;
    if (match.offset > 0 && is_word(char_before(text, match.offset, &len)))
        return false;
    return end == text.len || !is_word(char_at(text, end, &len));
}

/* The end of the trusted span that holds `at`, or 0. `at` never goes back. */
static size_t trusted_end(struct added_search *s, size_t at)
{
    while (s->n_trusted > 0 && s->trusted->offset + s->trusted->len <= at) {
        s->trusted++;
        s->n_trusted--;
    }
    if (s->n_trusted == 0 || s->trusted->offset > at)
        return 0;
    return s->trusted->offset + s->trusted->len;
}

/* The longest token that may be recognised at s->at. */
static const struct added_token *longest_at(struct added_search *s)
{
    const struct added_token *best = NULL;
    size_t limit = trusted_end(s, s->at);
    uint64_t node = 0, index = 0;
    for (size_t i = s->at; i < s->text.len; i++) {
        if (!u64_map_get(&s->trie->edges, node << 8 | s->text.data[i], &node))
            break;
        if (u64_map_get(&s->trie->ends, node, &index) &&
            (!s->t->added[index].special || i + 1 <= limit))
            best = &s->t->added[index];
    }
    return best;
}

/* The match, widened over the white space that the token's flags take. */
static struct text_span widen(const struct added_search *s, const struct added_token *token)
{
    size_t start = s->at, end = s->at + token->len, len = 0;
    if (token->lstrip)
        while (start > s->done && is_space(char_before(s->text, start, &len)))
            start -= len;
    if (token->rstrip)
        while (end < s->text.len && is_space(char_at(s->text, end, &len)))
            end += len;
    return (struct text_span){start, end - start};
}

bool added_next(struct added_search *s, struct text_span *gap, uint32_t *id)
{
    while (s->at < s->text.len) {
        const struct added_token *token =
            s->trie->first[s->text.data[s->at]] ? longest_at(s) : NULL;
        if (token == NULL) {
            s->at++;
            continue;
        }
        if (token->single_word && !stands_alone(s->text, (struct text_span){s->at, token->len})) {
            s->at += token->len; /* as the library: nothing else is looked for in there */
            continue;
        }
        struct text_span match = widen(s, token);
        *gap = (struct text_span){s->done, match.offset - s->done};
        *id = token->id;
        s->at = s->done = match.offset + match.len;
        return true;
    }
    *gap = (struct text_span){s->done, s->text.len - s->done};
    s->done = s->text.len;
    return false;
}
