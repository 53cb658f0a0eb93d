/*
 * Truth, equality and order of values, as Python has them.
 */
#include "engine/jinja_value.h"

#include <string.h>

const char *jinja_type_name(const struct jinja_value *v)
{
    static const char *const names[] = {
        [JINJA_UNDEFINED] = "Undefined", [JINJA_NONE] = "NoneType",
        [JINJA_BOOL] = "bool",           [JINJA_INT] = "int",
        [JINJA_FLOAT] = "float",         [JINJA_STRING] = "str",
        [JINJA_LIST] = "list",           [JINJA_TUPLE] = "tuple",
        [JINJA_GENERATOR] = "generator", [JINJA_DICT] = "dict",
        [JINJA_NAMESPACE] = "namespace", [JINJA_LOOP] = "loop",
        [JINJA_CALLABLE] = "function",
    };
    return names[v->kind];
}

bool jinja_truth(const struct jinja_value *v)
{
    switch (v->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->as.boolean;
    case JINJA_INT:
        return v->as.integer != 0;
    case JINJA_FLOAT:
        return v->as.real != 0;
    case JINJA_STRING:
        return v->as.string->len > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return v->as.list->n > 0;
    case JINJA_DICT:
        return v->as.dict->n > 0;
    default:
        return true;
    }
}

bool jinja_is_number(const struct jinja_value *v)
{
    return v->kind == JINJA_BOOL || v->kind == JINJA_INT || v->kind == JINJA_FLOAT;
}

double jinja_number(const struct jinja_value *v)
{
    if (v->kind == JINJA_FLOAT)
        return v->as.real;
    return v->kind == JINJA_BOOL ? (double)v->as.boolean : (double)v->as.integer;
}

static int64_t integer_of(const struct jinja_value *v)
{
    return v->kind == JINJA_BOOL ? v->as.boolean : v->as.integer;
}

static int compare_numbers(const struct jinja_value *a, const struct jinja_value *b)
{
    if (a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT) {
        int64_t x = integer_of(a), y = integer_of(b);
        return (x > y) - (x < y);
    }
    double x = jinja_number(a), y = jinja_number(b);
    return (x > y) - (x < y);
}

static bool equal_lists(const struct jinja_list *a, const struct jinja_list *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jinja_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

static bool equal_dicts(const struct jinja_dict *a, const struct jinja_dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct jinja_value *other = jinja_dict_get(b, &a->entries[i].key);
        if (other == NULL || !jinja_equal(&a->entries[i].value, other))
            return false;
    }
    return true;
}

bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b)
{
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (a->kind == JINJA_FLOAT || b->kind == JINJA_FLOAT)
            return jinja_number(a) == jinja_number(b);
        return integer_of(a) == integer_of(b);
    }
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return true;
    case JINJA_STRING:
        return bytes_equal(jinja_bytes(a), jinja_bytes(b));
    case JINJA_LIST:
    case JINJA_TUPLE:
        return equal_lists(a->as.list, b->as.list);
    case JINJA_DICT:
        return equal_dicts(a->as.dict, b->as.dict);
    case JINJA_CALLABLE:
        return a->as.callable == b->as.callable;
    default:
        return a->as.list == b->as.list; /* the same object */
    }
}

static struct err compare_lists(int *order, const struct jinja_list *a, const struct jinja_list *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!jinja_equal(&a->items[i], &b->items[i]))
            return jinja_compare(order, &a->items[i], &b->items[i]);
    *order = (a->n > b->n) - (a->n < b->n);
    return err_ok();
}

struct err jinja_compare(int *order, const struct jinja_value *a, const struct jinja_value *b)
{
    if (a->kind == JINJA_UNDEFINED || b->kind == JINJA_UNDEFINED) {
        const char *what = a->kind == JINJA_UNDEFINED ? a->as.what : b->as.what;
        return err_set(ERR_USAGE, "%s is undefined and cannot be compared",
                       what != NULL ? what : "a value");
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *order = compare_numbers(a, b);
        return err_ok();
    }
    if (a->kind == JINJA_STRING && b->kind == JINJA_STRING) {
        /* The order of UTF-8 bytes is that of the characters. */
        size_t n = a->as.string->len < b->as.string->len ? a->as.string->len : b->as.string->len;
        int c = memcmp(a->as.string->data, b->as.string->data, n);
        *order = c != 0 ? c
                        : (a->as.string->len > b->as.string->len) -
                              (a->as.string->len < b->as.string->len);
        return err_ok();
    }
    if (a->kind == b->kind && (a->kind == JINJA_LIST || a->kind == JINJA_TUPLE))
        return compare_lists(order, a->as.list, b->as.list);
    return err_set(ERR_USAGE, "values of the types %s and %s have no order", jinja_type_name(a),
                   jinja_type_name(b));
}
