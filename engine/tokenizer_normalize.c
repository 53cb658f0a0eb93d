/*
 * Normalization Form C (Unicode annex 15) on utf8proc's tables. The text is taken in stretches that
 * begin with an ASCII character, which composes with nothing before it: so each stretch can be
 * normalized alone, and trusted spans can be carried over. Combining marks are put in order here,
 * since utf8proc's own ordering takes quadratic time on long runs of them.
 */
#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static const utf8proc_option_t nfc_options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

void span_list_cleanup(struct span_list *l)
{
    free(l->at);
    *l = (struct span_list){0};
}

struct err span_list_add(struct span_list *l, size_t offset, size_t len)
{
    if (len == 0)
        return err_ok();
    struct text_span *last = l->n > 0 ? &l->at[l->n - 1] : NULL;
    if (last != NULL && last->offset + last->len == offset) {
        last->len += len;
        return err_ok();
    }
    if (l->n == l->capacity) {
        size_t capacity = l->capacity == 0 ? 16 : l->capacity * 2;
        struct text_span *at = realloc(l->at, capacity * sizeof *at);
        if (at == NULL)
            return err_set(ERR_MEMORY, "no memory for %zu text spans", capacity);
        l->at = at;
        l->capacity = capacity;
    }
    l->at[l->n++] = (struct text_span){offset, len};
    return err_ok();
}

/* Characters while they are normalized. */
struct chars {
    utf8proc_int32_t *at;
    size_t n, capacity;
};

static void chars_cleanup(struct chars *c)
{
    if (c->at != NULL)
        explicit_bzero(c->at, c->capacity * sizeof *c->at);
    free(c->at);
}

/* Canonical decomposition; one character becomes at most four, from at least half as many bytes. */
static struct err decompose(struct chars *out, struct bytes text)
{
    out->capacity = text.len * 4 + 8;
    out->at = calloc(out->capacity, sizeof *out->at);
    if (out->at == NULL)
        return err_set(ERR_MEMORY, "no memory to normalize %zu bytes", text.len);
    int boundclass = 0;
    for (size_t i = 0; i < text.len;) {
        utf8proc_int32_t c = 0;
        utf8proc_ssize_t n = utf8proc_iterate(text.data + i, (utf8proc_ssize_t)(text.len - i), &c);
        if (n <= 0)
            return err_set(ERR_MALFORMED, "text to normalize is not UTF-8 at byte %zu", i);
        utf8proc_ssize_t room = (utf8proc_ssize_t)(out->capacity - out->n);
        utf8proc_ssize_t made =
            utf8proc_decompose_char(c, out->at + out->n, room, nfc_options, &boundclass);
        if (made < 0 || made > room)
            return err_set(ERR_MALFORMED, "character U+%04X cannot be decomposed", (unsigned)c);
        out->n += (size_t)made;
        i += (size_t)n;
    }
    return err_ok();
}

static int combining_class(utf8proc_int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Stable counting sort of one run of marks by combining class, through `spare`. */
static void order_run(utf8proc_int32_t *run, size_t n, utf8proc_int32_t *spare)
{
    size_t starts[257] = {0};
    for (size_t i = 0; i < n; i++)
        starts[combining_class(run[i]) + 1]++;
    for (size_t k = 1; k < 257; k++)
        starts[k] += starts[k - 1];
    for (size_t i = 0; i < n; i++)
        spare[starts[combining_class(run[i])]++] = run[i];
    memcpy(run, spare, n * sizeof *run);
}

/* Canonical ordering (Unicode 3.11, D108 and D109). */
static struct err order_marks(struct chars *c)
{
    struct chars spare __attribute__((cleanup(chars_cleanup))) = {0};
    for (size_t i = 0; i < c->n;) {
        size_t end = i;
        bool sorted = true;
        for (; end < c->n && combining_class(c->at[end]) > 0; end++)
            sorted = sorted &&
                     (end == i || combining_class(c->at[end - 1]) <= combining_class(c->at[end]));
        if (!sorted) {
            if (spare.at == NULL) {
                spare.capacity = c->n;
                spare.at = calloc(c->n, sizeof *spare.at);
            }
            if (spare.at == NULL)
                return err_set(ERR_MEMORY, "no memory to order %zu characters", c->n);
            order_run(c->at + i, end - i, spare.at);
        }
        i = end + 1;
    }
    return err_ok();
}

static struct err nfc_stretch(struct buf *out, struct bytes text)
{
    struct chars c __attribute__((cleanup(chars_cleanup))) = {0};
    TRY(decompose(&c, text));
    TRY(order_marks(&c));
    utf8proc_ssize_t n = utf8proc_normalize_utf32(c.at, (utf8proc_ssize_t)c.n, nfc_options);
    if (n < 0)
        return err_set(ERR_MALFORMED, "text cannot be normalized: %s", utf8proc_errmsg(n));
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t len = utf8proc_encode_char(c.at[i], bytes);
        buf_append(out, bytes, (size_t)len);
    }
    return err_ok();
}

struct err span_list_carry(struct span_list *spans, const struct text_span *trusted,
                           size_t n_trusted, struct text_span part, size_t to)
{
    for (size_t i = 0; i < n_trusted && trusted[i].offset < part.offset + part.len; i++) {
        size_t start = trusted[i].offset, end = trusted[i].offset + trusted[i].len;
        if (start < part.offset)
            start = part.offset;
        if (end > part.offset + part.len)
            end = part.offset + part.len;
        if (start < end)
            TRY(span_list_add(spans, to + start - part.offset, end - start));
    }
    return err_ok();
}

static size_t stretch_end(struct bytes text, size_t from, bool *ascii)
{
    size_t end = from;
    while (end < text.len && text.data[end] < 0x80)
        end++;
    *ascii = end == text.len;
    if (*ascii)
        return end;
    /* The last ASCII character may take the marks that follow it: it begins the next stretch. */
    if (end > from + 1) {
        *ascii = true;
        return end - 1;
    }
    while (end < text.len && text.data[end] >= 0x80)
        end++;
    return end;
}

struct err normalize_nfc(struct buf *out, struct span_list *spans, struct bytes text,
                         const struct text_span *trusted, size_t n_trusted)
{
    size_t base = out->len;
    for (size_t at = 0; at < text.len;) {
        bool ascii = false;
        size_t end = stretch_end(text, at, &ascii), before = out->len;
        struct bytes stretch = {text.data + at, end - at};
        if (ascii)
            buf_append_bytes(out, stretch);
        else
            TRY(nfc_stretch(out, stretch));
        struct bytes now = {out->data + before, out->len - before};
        while (n_trusted > 0 && trusted->offset + trusted->len <= at) {
            trusted++;
            n_trusted--;
        }
        bool inside =
            n_trusted > 0 && trusted->offset <= at && trusted->offset + trusted->len >= end;
        if (spans != NULL && inside)
            TRY(span_list_add(spans, before - base, now.len));
        else if (spans != NULL && bytes_equal(stretch, now))
            TRY(span_list_carry(spans, trusted, n_trusted, (struct text_span){at, end - at},
                                before - base));
        at = end;
    }
    return err_ok();
}
