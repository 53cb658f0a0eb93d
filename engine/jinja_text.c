/*
 * Text being written, with its trusted and untrusted runs, and how values are written: as str() and
 * repr() do, and as json.dumps does.
 */
#include "engine/jinja_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { WRITE_DEPTH_MAX = 200 };

void jinja_text_cleanup(struct jinja_text *t)
{
    buf_cleanup_secret(&t->bytes);
    buf_cleanup(&t->runs);
}

struct err jinja_text_add(struct jinja_text *t, struct bytes data, bool trusted)
{
    if (data.len == 0)
        return err_ok();
    if (data.len > JINJA_OUTPUT_MAX || t->bytes.len > JINJA_OUTPUT_MAX - data.len)
        return err_set(ERR_LIMIT, "the template writes more than %d bytes", JINJA_OUTPUT_MAX);
    buf_append_bytes(&t->bytes, data);
    struct jinja_run *last = NULL;
    if (t->runs.len > 0)
        last = (struct jinja_run *)(void *)(t->runs.data + t->runs.len - sizeof *last);
    if (last != NULL && last->trusted == trusted) {
        last->len += data.len;
        return err_ok();
    }
    struct jinja_run run = {data.len, trusted};
    buf_append(&t->runs, &run, sizeof run);
    return err_ok();
}

struct err jinja_text_add_string(struct jinja_text *t, const struct jinja_value *string)
{
    const struct jinja_string *s = string->as.string;
    if (s->runs == NULL)
        return jinja_text_add(t, bytes_of(s->data, s->len), s->trusted);
    size_t at = 0;
    for (size_t i = 0; i < s->n_runs; i++) {
        TRY(jinja_text_add(t, bytes_of(s->data + at, s->runs[i].len), s->runs[i].trusted));
        at += s->runs[i].len;
    }
    return err_ok();
}

/* One run: what needs no escape is added in one piece. */
static struct err add_escaped_run(struct jinja_text *t, struct bytes run, bool trusted)
{
    static const char special[] = "&<>'\"";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    size_t done = 0;
    for (size_t i = 0; i < run.len; i++) {
        const char *at = memchr(special, run.data[i], sizeof special - 1);
        if (at == NULL)
            continue;
        TRY(jinja_text_add(t, bytes_of(run.data + done, i - done), trusted));
        TRY(jinja_text_add(t, bytes_of_str(entities[at - special]), trusted));
        done = i + 1;
    }
    return jinja_text_add(t, bytes_of(run.data + done, run.len - done), trusted);
}

struct err jinja_text_add_escaped(struct jinja_text *t, const struct jinja_value *string)
{
    const struct jinja_string *s = string->as.string;
    struct bytes all = jinja_bytes(string);
    if (s->runs == NULL)
        return add_escaped_run(t, all, s->trusted);
    for (size_t i = 0, at = 0; i < s->n_runs; at += s->runs[i++].len)
        TRY(add_escaped_run(t, bytes_of(all.data + at, s->runs[i].len), s->runs[i].trusted));
    return err_ok();
}

struct err jinja_text_take(struct jinja_text *t, struct jinja_arena *a, struct jinja_value *out)
{
    char *data = NULL;
    size_t n_runs = t->runs.len / sizeof(struct jinja_run);
    TRY(jinja_alloc(a, &data, t->bytes.len));
    if (t->bytes.len > 0)
        memcpy(data, t->bytes.data, t->bytes.len);
    struct jinja_value v;
    bool trusted = true;
    if (n_runs == 1)
        trusted = ((const struct jinja_run *)(const void *)t->runs.data)->trusted;
    TRY(jinja_string_of(a, &v, bytes_of(data, t->bytes.len), trusted));
    if (n_runs > 1) {
        struct jinja_string *s = (struct jinja_string *)(uintptr_t)v.as.string;
        struct jinja_run *runs = NULL;
        TRY(jinja_alloc(a, &runs, t->runs.len));
        memcpy(runs, t->runs.data, t->runs.len);
        s->runs = runs;
        s->n_runs = n_runs;
    }
    *out = v;
    return err_ok();
}

/* Digits without trailing zeros after the point; Python adds ".0" where neither point nor exponent
 * is there. */
static void float_fixed(char out[40], const char *digits, int exponent, bool negative)
{
    size_t n = strlen(digits), at = 0;
    if (negative)
        out[at++] = '-';
    if (exponent < 0) {
        at += (size_t)snprintf(out + at, 40 - at, "0.%.*s%s", -exponent - 1, "0000", digits);
    } else {
        for (size_t i = 0; i <= (size_t)exponent; i++)
            out[at++] = i < n ? digits[i] : '0';
        out[at++] = '.';
        snprintf(out + at, 40 - at, "%s", n > (size_t)exponent + 1 ? digits + exponent + 1 : "0");
    }
}

/* The shortest digits that read back as the same number; an exponent below -4 or from 16 on. */
void jinja_float_repr(char out[40], double v)
{
    if (isnan(v) || isinf(v)) {
        strcpy(out, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    char shortest[40] = "", digits[24] = "";
    for (int precision = 0; precision < 17; precision++) {
        snprintf(shortest, sizeof shortest, "%.*e", precision, v);
        if (strtod(shortest, NULL) == v)
            break;
    }
    const char *mantissa = shortest[0] == '-' ? shortest + 1 : shortest;
    const char *e = strchr(mantissa, 'e');
    int exponent = atoi(e + 1);
    size_t n = 0;
    for (const char *p = mantissa; p < e; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    if (exponent >= -4 && exponent < 16)
        float_fixed(out, digits, exponent, shortest[0] == '-');
    else
        snprintf(out, 40,
                 "%s%c%s%s"
                 "e%c%02d",
                 shortest[0] == '-' ? "-" : "", digits[0], n > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
}

static struct err add_str(struct jinja_text *t, const char *text, bool trusted)
{
    return jinja_text_add(t, bytes_of_str(text), trusted);
}

/* str.isprintable of one character. */
static bool is_printable(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    if (c == ' ')
        return true;
    return k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF && k != UTF8PROC_CATEGORY_CS &&
           k != UTF8PROC_CATEGORY_CO && k != UTF8PROC_CATEGORY_CN && k != UTF8PROC_CATEGORY_ZL &&
           k != UTF8PROC_CATEGORY_ZP && k != UTF8PROC_CATEGORY_ZS;
}

static void repr_char(struct buf *out, struct bytes s, size_t at, size_t len, int32_t c, char quote)
{
    if (c == quote || c == '\\')
        buf_printf(out, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        buf_append_str(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else if (is_printable(c))
        buf_append(out, s.data + at, len);
    else
        buf_printf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
}

static struct err add_repr_string(struct jinja_text *t, const struct jinja_value *v)
{
    struct bytes s = jinja_bytes(v);
    bool both = memchr(s.data, '\'', s.len) != NULL && memchr(s.data, '"', s.len) == NULL;
    char quote = both ? '"' : '\'';
    struct buf out __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    buf_append_u8(&out, (uint8_t)quote);
    for (size_t i = 0, len = 0; i < s.len; i += len) {
        int32_t c = jinja_char(s, i, &len);
        repr_char(&out, s, i, len, c, quote);
    }
    buf_append_u8(&out, (uint8_t)quote);
    return jinja_text_add(t, buf_bytes(&out), jinja_trusted(v));
}

static struct err add_value(struct jinja_text *t, const struct jinja_value *v, bool repr,
                            unsigned depth);

static struct err add_list(struct jinja_text *t, const struct jinja_value *v, unsigned depth)
{
    const struct jinja_list *l = v->as.list;
    bool tuple = v->kind == JINJA_TUPLE;
    TRY(add_str(t, tuple ? "(" : "[", true));
    for (size_t i = 0; i < l->n; i++) {
        TRY(add_str(t, i > 0 ? ", " : "", true));
        TRY(add_value(t, &l->items[i], true, depth + 1));
    }
    return add_str(t, !tuple ? "]" : l->n == 1 ? ",)" : ")", true);
}

static struct err add_dict(struct jinja_text *t, const struct jinja_dict *d, unsigned depth)
{
    TRY(add_str(t, "{", true));
    for (size_t i = 0; i < d->n; i++) {
        TRY(add_str(t, i > 0 ? ", " : "", true));
        TRY(add_value(t, &d->entries[i].key, true, depth + 1));
        TRY(add_str(t, ": ", true));
        TRY(add_value(t, &d->entries[i].value, true, depth + 1));
    }
    return add_str(t, "}", true);
}

/* None, True, 12, 1.5; "Undefined" only within containers. */
static const char *scalar_text(char out[40], const struct jinja_value *v, bool repr)
{
    switch (v->kind) {
    case JINJA_UNDEFINED:
        return repr ? "Undefined" : "";
    case JINJA_NONE:
        return "None";
    case JINJA_BOOL:
        return v->as.boolean ? "True" : "False";
    case JINJA_INT:
        snprintf(out, 40, "%" PRId64, v->as.integer);
        return out;
    case JINJA_FLOAT:
        jinja_float_repr(out, v->as.real);
        return out;
    default:
        return NULL;
    }
}

static struct err add_value(struct jinja_text *t, const struct jinja_value *v, bool repr,
                            unsigned depth)
{
    char number[40];
    if (depth > WRITE_DEPTH_MAX)
        return err_set(ERR_LIMIT, "a value of more than %d levels cannot be written",
                       WRITE_DEPTH_MAX);
    if (++t->n_values > JINJA_STEPS_MAX)
        return err_set(ERR_LIMIT, "more than %d values cannot be written at once", JINJA_STEPS_MAX);
    if (v->kind == JINJA_STRING)
        return repr ? add_repr_string(t, v) : jinja_text_add_string(t, v);
    if (v->kind == JINJA_LIST || v->kind == JINJA_TUPLE)
        return add_list(t, v, depth);
    if (v->kind == JINJA_DICT)
        return add_dict(t, v->as.dict, depth);
    const char *scalar = scalar_text(number, v, repr);
    if (scalar == NULL)
        return err_set(ERR_USAGE, "a %s cannot be written", jinja_type_name(v));
    return add_str(t, scalar, !v->untrusted);
}

struct err jinja_text_add_value(struct jinja_text *t, const struct jinja_value *v)
{
    return add_value(t, v, false, 0);
}

/* --- characters --- */

int32_t jinja_char(struct bytes s, size_t at, size_t *len)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate(s.data + at, (utf8proc_ssize_t)(s.len - at), &c);
    *len = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xfffd;
}

size_t jinja_count_chars(struct bytes s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += (s.data[i] & 0xc0) != 0x80;
    return n;
}

size_t jinja_char_place(struct bytes s, size_t n)
{
    size_t i = 0;
    for (; i < s.len; i++)
        if ((s.data[i] & 0xc0) != 0x80 && n-- == 0)
            break;
    return i;
}

bool jinja_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}
