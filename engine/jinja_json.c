/*
 * json.dumps: insertion order, Python's separators and numbers.
 */
#include "engine/jinja_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { JSON_WRITE_DEPTH_MAX = 200 };

struct writer {
    struct buf out;
    const struct jinja_json_style *style;
    uint64_t n_values;
};

static const char *short_escape(int32_t c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\f':
        return "\\f";
    case '\b':
        return "\\b";
    default:
        return NULL;
    }
}

static void write_u(struct buf *out, uint32_t c)
{
    if (c >= 0x10000)
        buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
    else
        buf_printf(out, "\\u%04x", c);
}

static void write_string(struct writer *w, struct bytes s)
{
    buf_append_u8(&w->out, '"');
    for (size_t i = 0, len = 0; i < s.len; i += len) {
        int32_t c = jinja_char(s, i, &len);
        const char *escape = short_escape(c);
        if (escape != NULL)
            buf_append_str(&w->out, escape);
        else if (c < 0x20 || (w->style->ascii && c > 0x7e))
            write_u(&w->out, (uint32_t)c);
        else
            buf_append(&w->out, s.data + i, len);
    }
    buf_append_u8(&w->out, '"');
}

static void write_newline(struct writer *w, unsigned depth)
{
    if (w->style->indent < 0)
        return;
    buf_append_u8(&w->out, '\n');
    for (size_t i = 0; i < (size_t)w->style->indent * depth; i++)
        buf_append_u8(&w->out, ' ');
}

static struct err write_value(struct writer *w, const struct jinja_value *v, unsigned depth);

static struct err write_list(struct writer *w, const struct jinja_list *l, unsigned depth)
{
    buf_append_u8(&w->out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            buf_append_bytes(&w->out, w->style->item_separator);
        write_newline(w, depth + 1);
        TRY(write_value(w, &l->items[i], depth + 1));
    }
    if (l->n > 0)
        write_newline(w, depth);
    buf_append_u8(&w->out, ']');
    return err_ok();
}

static struct err write_scalar(struct writer *w, const struct jinja_value *v)
{
    char number[40];
    switch (v->kind) {
    case JINJA_NONE:
        buf_append_str(&w->out, "null");
        return err_ok();
    case JINJA_BOOL:
        buf_append_str(&w->out, v->as.boolean ? "true" : "false");
        return err_ok();
    case JINJA_INT:
        buf_printf(&w->out, "%" PRId64, v->as.integer);
        return err_ok();
    case JINJA_FLOAT:
        jinja_float_repr(number, v->as.real);
        buf_append_str(&w->out, isnan(v->as.real)   ? "NaN"
                                : isinf(v->as.real) ? (v->as.real > 0 ? "Infinity" : "-Infinity")
                                                    : number);
        return err_ok();
    default:
        return err_set(ERR_USAGE, "tojson: a value of type %s has no JSON form",
                       jinja_type_name(v));
    }
}

/* Keys that are not strings are written as their JSON text in quotes. */
static struct err write_key(struct writer *w, const struct jinja_value *key)
{
    if (key->kind == JINJA_STRING) {
        write_string(w, jinja_bytes(key));
        return err_ok();
    }
    buf_append_u8(&w->out, '"');
    TRY(write_scalar(w, key));
    buf_append_u8(&w->out, '"');
    return err_ok();
}

static int order_of_keys(const void *a, const void *b)
{
    const struct jinja_entry *x = *(const struct jinja_entry *const *)a;
    const struct jinja_entry *y = *(const struct jinja_entry *const *)b;
    int order = 0;
    return is_err(jinja_compare(&order, &x->key, &y->key)) ? 0 : order;
}

static struct err write_dict(struct writer *w, const struct jinja_dict *d, unsigned depth)
{
    BUF_AUTO order = BUF_INIT; /* struct jinja_entry *, in the order of writing */
    for (size_t i = 0; i < d->n; i++) {
        const struct jinja_entry *e = &d->entries[i];
        buf_append(&order, &e, sizeof e);
    }
    if (w->style->sort_keys && d->n > 1)
        qsort(order.data, d->n, sizeof(struct jinja_entry *), order_of_keys);
    buf_append_u8(&w->out, '{');
    for (size_t i = 0; i < d->n; i++) {
        const struct jinja_entry *e = ((const struct jinja_entry **)(void *)order.data)[i];
        if (i > 0)
            buf_append_bytes(&w->out, w->style->item_separator);
        write_newline(w, depth + 1);
        TRY(write_key(w, &e->key));
        buf_append_bytes(&w->out, w->style->key_separator);
        TRY(write_value(w, &e->value, depth + 1));
    }
    if (d->n > 0)
        write_newline(w, depth);
    buf_append_u8(&w->out, '}');
    return err_ok();
}

static struct err write_value(struct writer *w, const struct jinja_value *v, unsigned depth)
{
    if (depth > JSON_WRITE_DEPTH_MAX)
        return err_set(ERR_LIMIT, "tojson: more than %d levels", JSON_WRITE_DEPTH_MAX);
    if (++w->n_values > JINJA_STEPS_MAX)
        return err_set(ERR_LIMIT, "tojson: more than %d values", JINJA_STEPS_MAX);
    if (w->out.len > JINJA_OUTPUT_MAX)
        return err_set(ERR_LIMIT, "tojson: more than %d bytes", JINJA_OUTPUT_MAX);
    switch (v->kind) {
    case JINJA_STRING:
        write_string(w, jinja_bytes(v));
        return err_ok();
    case JINJA_LIST:
    case JINJA_TUPLE:
        return write_list(w, v->as.list, depth);
    case JINJA_DICT:
        return write_dict(w, v->as.dict, depth);
    default:
        return write_scalar(w, v);
    }
}

struct err jinja_text_add_json(struct jinja_text *t, const struct jinja_value *v,
                               const struct jinja_json_style *style)
{
    struct writer w = {.style = style};
    struct err result = write_value(&w, v, 0);
    if (!is_err(result))
        result = jinja_text_add(t, buf_bytes(&w.out), jinja_trusted(v));
    t->n_values += w.n_values;
    buf_cleanup_secret(&w.out);
    return result;
}
