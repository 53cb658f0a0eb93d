/*
 * The normalizer: NFC, a text put before every piece, and literal replacements, in the order of the
 * file. Trusted spans follow the text through every step: what replaces a part is trusted if the
 * part was, and what goes before a text if the text's beginning was.
 */
#include "engine/tokenizer_internal.h"

#include <string.h>

enum {
    REWRITE_MAX = 64,                        /* bytes of a pattern and of what replaces it */
    NORMALIZED_MAX = 4 * TOKENIZER_TEXT_MAX, /* bytes; a space becomes three */
};

static struct err add_step(struct tokenizer *t, enum normalizer_kind kind, struct bytes pattern,
                           struct bytes content)
{
    if (t->n_normalizers == N_NORMALIZERS_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: more than %d normalizers", N_NORMALIZERS_MAX);
    if (pattern.len > REWRITE_MAX || content.len > REWRITE_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: normalizer: a text of more than %d bytes",
                       REWRITE_MAX);
    struct normalizer *n = &t->normalizers[t->n_normalizers++];
    n->kind = kind;
    buf_append_bytes(&n->pattern, pattern);
    buf_append_bytes(&n->content, content);
    return err_ok();
}

static struct err load_step(struct tokenizer *t, const json_t *step)
{
    const json_t *type = json_object_get(step, "type");
    if (json_is(type, "NFC"))
        return add_step(t, NORMALIZER_NFC, (struct bytes){NULL, 0}, (struct bytes){NULL, 0});
    if (json_is(type, "Prepend")) {
        const json_t *text = json_object_get(step, "prepend");
        if (!json_is_string(text) || json_string_length(text) == 0)
            return refuse("normalizer Prepend.prepend", text);
        return add_step(t, NORMALIZER_PREPEND, (struct bytes){NULL, 0}, json_bytes(text));
    }
    if (json_is(type, "Replace")) {
        const json_t *pattern = json_object_get(step, "pattern");
        const json_t *text = json_object_get(pattern, "String");
        const json_t *content = json_object_get(step, "content");
        if (!json_is_string(text) || json_string_length(text) == 0)
            return refuse("normalizer Replace.pattern", pattern);
        if (!json_is_string(content))
            return refuse("normalizer Replace.content", content);
        return add_step(t, NORMALIZER_REPLACE, json_bytes(text), json_bytes(content));
    }
    return refuse("normalizer", step);
}

struct err tokenizer_load_normalizer(struct tokenizer *t, const json_t *normalizer)
{
    if (normalizer == NULL || json_is_null(normalizer))
        return err_ok();
    if (!json_is(json_object_get(normalizer, "type"), "Sequence"))
        return load_step(t, normalizer);
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (!json_is_array(list))
        return refuse("normalizer.normalizers", list);
    size_t i = 0;
    json_t *step = NULL;
    json_array_foreach(list, i, step) TRY(load_step(t, step));
    return err_ok();
}

void tokenizer_free_normalizer(struct tokenizer *t)
{
    for (size_t i = 0; i < t->n_normalizers; i++) {
        buf_cleanup(&t->normalizers[i].pattern);
        buf_cleanup(&t->normalizers[i].content);
    }
}

/* A text and the trusted spans in it. */
struct draft {
    struct buf text;
    struct span_list spans;
};

static void draft_cleanup(struct draft *d)
{
    buf_cleanup_secret(&d->text);
    span_list_cleanup(&d->spans);
}

static struct err prepend(const struct normalizer *n, struct draft *to, const struct draft *from)
{
    const struct text_span *spans = from->spans.at;
    buf_append_bytes(&to->text, buf_bytes(&n->content));
    buf_append_bytes(&to->text, buf_bytes(&from->text));
    if (from->spans.n > 0 && spans->offset == 0)
        TRY(span_list_add(&to->spans, 0, n->content.len));
    return span_list_carry(&to->spans, spans, from->spans.n, (struct text_span){0, from->text.len},
                           n->content.len);
}

/* The spans that reach beyond `at`. */
static void skip_spans(const struct text_span **spans, size_t *n_spans, size_t at)
{
    while (*n_spans > 0 && (*spans)->offset + (*spans)->len <= at) {
        (*spans)++;
        (*n_spans)--;
    }
}

/* Not memmem: its check under a sanitizer reads the whole rest of the text on every call. */
size_t tokenizer_find_bytes(struct bytes text, size_t from, struct bytes pattern)
{
    while (from < text.len) {
        const uint8_t *first = memchr(text.data + from, pattern.data[0], text.len - from);
        if (first == NULL)
            break;
        from = (size_t)(first - text.data);
        if (text.len - from >= pattern.len && memcmp(first, pattern.data, pattern.len) == 0)
            return from;
        from++;
    }
    return text.len;
}

static struct err replace(const struct normalizer *n, struct draft *to, const struct draft *from)
{
    const struct text_span *spans = from->spans.at;
    size_t n_spans = from->spans.n, at = 0;
    while (at < from->text.len) {
        size_t match = tokenizer_find_bytes(buf_bytes(&from->text), at, buf_bytes(&n->pattern));
        skip_spans(&spans, &n_spans, at);
        TRY(span_list_carry(&to->spans, spans, n_spans, (struct text_span){at, match - at},
                            to->text.len));
        buf_append(&to->text, from->text.data + at, match - at);
        at = match;
        if (at == from->text.len)
            break;
        skip_spans(&spans, &n_spans, at);
        if (n_spans > 0 && spans->offset <= at && spans->offset + spans->len >= at + n->pattern.len)
            TRY(span_list_add(&to->spans, to->text.len, n->content.len));
        buf_append_bytes(&to->text, buf_bytes(&n->content));
        at += n->pattern.len;
        if (to->text.len > NORMALIZED_MAX)
            return err_set(ERR_LIMIT, "the normalized text has more than %d bytes", NORMALIZED_MAX);
    }
    return err_ok();
}

static struct err apply(const struct normalizer *n, struct draft *to, const struct draft *from)
{
    if (from->text.len == 0)
        return err_ok();
    if (n->kind == NORMALIZER_PREPEND)
        return prepend(n, to, from);
    if (n->kind == NORMALIZER_REPLACE)
        return replace(n, to, from);
    return normalize_nfc(&to->text, &to->spans, buf_bytes(&from->text), from->spans.at,
                         from->spans.n);
}

struct err tokenizer_normalize(const struct tokenizer *t, struct buf *out, struct span_list *spans,
                               struct bytes text, const struct text_span *trusted, size_t n_trusted)
{
    struct draft now __attribute__((cleanup(draft_cleanup))) = {0};
    buf_append_bytes(&now.text, text);
    TRY(span_list_carry(&now.spans, trusted, n_trusted, (struct text_span){0, text.len}, 0));
    for (size_t i = 0; i < t->n_normalizers; i++) {
        struct draft next __attribute__((cleanup(draft_cleanup))) = {0};
        TRY(apply(&t->normalizers[i], &next, &now));
        struct draft old = now;
        now = next;
        next = old;
    }
    buf_append_bytes(out, buf_bytes(&now.text));
    for (size_t i = 0; i < now.spans.n; i++)
        TRY(span_list_add(spans, now.spans.at[i].offset, now.spans.at[i].len));
    return err_ok();
}
