/*
 * Arithmetic and comparison. Integers have 63 bits and a sign; what leaves them is ERR_LIMIT.
 */
#include "engine/jinja_eval.h"

#include <math.h>
#include <string.h>

static const char *const symbols[] = {
    [OP_ADD] = "+", [OP_SUB] = "-",       [OP_MUL] = "*",  [OP_DIV] = "/",
    [OP_MOD] = "%", [OP_FLOORDIV] = "//", [OP_POW] = "**",
};

static struct err overflow(enum jinja_operator op)
{
    return err_set(ERR_LIMIT, "the result of %s has more than 63 bits", symbols[op]);
}

/* Python's floor division and modulo: the remainder has the divisor's sign. */
static struct err divide_ints(enum jinja_operator op, int64_t a, int64_t b, int64_t *out)
{
    if (b == 0)
        return err_set(ERR_USAGE, "division by zero");
    if (b == -1 && a == INT64_MIN)
        return op == OP_MOD ? (*out = 0, err_ok()) : overflow(op);
    int64_t quotient = a / b, remainder = a % b;
    if (remainder != 0 && (remainder < 0) != (b < 0)) {
        quotient--;
        remainder += b;
    }
    *out = op == OP_MOD ? remainder : quotient;
    return err_ok();
}

static struct err power_of_ints(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    if (base == 0 || base == 1 || base == -1)
        exponent = exponent > 2 ? 2 + exponent % 2 : exponent; /* the same, and quick */
    for (int64_t i = 0; i < exponent; i++)
        if (__builtin_mul_overflow(result, base, &result))
            return overflow(OP_POW);
    *out = result;
    return err_ok();
}

static struct err operate_ints(enum jinja_operator op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case OP_ADD:
        return __builtin_add_overflow(a, b, out) ? overflow(op) : err_ok();
    case OP_SUB:
        return __builtin_sub_overflow(a, b, out) ? overflow(op) : err_ok();
    case OP_MUL:
        return __builtin_mul_overflow(a, b, out) ? overflow(op) : err_ok();
    case OP_POW:
        return power_of_ints(a, b, out);
    default:
        return divide_ints(op, a, b, out);
    }
}

static struct err operate_floats(enum jinja_operator op, double a, double b, double *out)
{
    bool divides = op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD;
    if (divides && b == 0)
        return err_set(ERR_USAGE, "division by zero");
    double remainder = divides ? fmod(a, b) : 0;
    if (remainder != 0 && (remainder < 0) != (b < 0))
        remainder += b;
    switch (op) {
    case OP_ADD:
        *out = a + b;
        return err_ok();
    case OP_SUB:
        *out = a - b;
        return err_ok();
    case OP_MUL:
        *out = a * b;
        return err_ok();
    case OP_DIV:
        *out = a / b;
        return err_ok();
    case OP_FLOORDIV:
        *out = floor((a - remainder) / b + 0.5);
        return err_ok();
    case OP_MOD:
        *out = remainder;
        return err_ok();
    default:
        *out = pow(a, b);
        return err_ok();
    }
}

static struct err operate_numbers(enum jinja_operator op, const struct jinja_value *a,
                                  const struct jinja_value *b, struct jinja_value *out)
{
    bool ints = a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT && op != OP_DIV;
    bool untrusted = a->untrusted || b->untrusted;
    int64_t x = 0, y = 0, integer = 0;
    double real = 0;
    if (ints) {
        TRY(jinja_to_int(a, "an operand", &x));
        TRY(jinja_to_int(b, "an operand", &y));
    }
    if (ints && (op != OP_POW || y >= 0)) {
        TRY(operate_ints(op, x, y, &integer));
        *out = jinja_int(integer);
    } else {
        TRY(operate_floats(op, jinja_number(a), jinja_number(b), &real));
        *out = jinja_float(real);
    }
    out->untrusted = untrusted;
    return err_ok();
}

static struct err join_strings(struct jinja *j, const struct jinja_value *a,
                               const struct jinja_value *b, struct jinja_value *out)
{
    JINJA_TEXT text = {0};
    bool safe = a->safe || b->safe;
    TRY(safe && !a->safe ? jinja_text_add_escaped(&text, a) : jinja_text_add_string(&text, a));
    TRY(safe && !b->safe ? jinja_text_add_escaped(&text, b) : jinja_text_add_string(&text, b));
    TRY(jinja_charge(j, text.bytes.len));
    TRY(jinja_text_take(&text, &j->arena, out));
    out->safe = safe;
    return err_ok();
}

static struct err join_lists(struct jinja *j, const struct jinja_value *a,
                             const struct jinja_value *b, struct jinja_value *out)
{
    struct jinja_value joined;
    TRY(jinja_list_new(&j->arena, &joined, a->kind));
    TRY(jinja_charge(j, (a->as.list->n + b->as.list->n) * sizeof joined));
    for (size_t i = 0; i < a->as.list->n; i++)
        TRY(jinja_list_add(&j->arena, joined.as.list, a->as.list->items[i]));
    for (size_t i = 0; i < b->as.list->n; i++)
        TRY(jinja_list_add(&j->arena, joined.as.list, b->as.list->items[i]));
    *out = joined;
    return err_ok();
}

/* A string or list, `times` over. */
static struct err repeat(struct jinja *j, const struct jinja_value *v, int64_t times,
                         struct jinja_value *out)
{
    if (v->kind == JINJA_STRING) {
        JINJA_TEXT text = {0};
        for (int64_t i = 0; i < times && v->as.string->len > 0; i++) {
            TRY(jinja_charge(j, v->as.string->len));
            TRY(jinja_text_add_string(&text, v));
        }
        return jinja_text_take(&text, &j->arena, out);
    }
    struct jinja_value repeated;
    TRY(jinja_list_new(&j->arena, &repeated, v->kind));
    for (int64_t i = 0; i < times && v->as.list->n > 0; i++) {
        TRY(jinja_charge(j, v->as.list->n * sizeof repeated));
        for (size_t k = 0; k < v->as.list->n; k++)
            TRY(jinja_list_add(&j->arena, repeated.as.list, v->as.list->items[k]));
    }
    *out = repeated;
    return err_ok();
}

static bool is_sequence(const struct jinja_value *v)
{
    return v->kind == JINJA_STRING || v->kind == JINJA_LIST || v->kind == JINJA_TUPLE;
}

static bool is_integer(const struct jinja_value *v)
{
    return v->kind == JINJA_INT || v->kind == JINJA_BOOL;
}

struct err jinja_operate(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                         const struct jinja_value *b, struct jinja_value *out)
{
    int64_t times = 0;
    if (jinja_is_number(a) && jinja_is_number(b))
        return operate_numbers(op, a, b, out);
    if (a->kind == JINJA_UNDEFINED || b->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(a->kind == JINJA_UNDEFINED ? a : b);
    if (op == OP_ADD && a->kind == JINJA_STRING && b->kind == JINJA_STRING)
        return join_strings(j, a, b, out);
    if (op == OP_ADD && a->kind == b->kind && is_sequence(a))
        return join_lists(j, a, b, out);
    if (op == OP_MUL && ((is_sequence(a) && is_integer(b)) || (is_integer(a) && is_sequence(b)))) {
        TRY(jinja_to_int(is_integer(a) ? a : b, "a count", &times));
        return repeat(j, is_integer(a) ? b : a, times, out);
    }
    if (op == OP_MOD && a->kind == JINJA_STRING)
        return err_set(ERR_UNSUPPORTED, "formatting a string with %% is not supported");
    return err_set(ERR_USAGE, "unsupported operand types for %s: %s and %s", symbols[op],
                   jinja_type_name(a), jinja_type_name(b));
}

/* item in container */
static struct err contains(struct jinja *j, const struct jinja_value *container,
                           const struct jinja_value *item, bool *out)
{
    *out = false;
    if (container->kind == JINJA_STRING) {
        if (item->kind != JINJA_STRING)
            return err_set(ERR_USAGE, "a %s cannot be in a str", jinja_type_name(item));
        TRY(jinja_charge(j, container->as.string->len));
        *out = item->as.string->len == 0 ||
               memmem(container->as.string->data, container->as.string->len, item->as.string->data,
                      item->as.string->len) != NULL;
        return err_ok();
    }
    if (container->kind == JINJA_DICT) {
        TRY(jinja_charge(j, container->as.dict->n * 8));
        *out = jinja_dict_get(container->as.dict, item) != NULL;
        return err_ok();
    }
    struct jinja_list *items = NULL;
    TRY(jinja_iterate(j, container, &items));
    TRY(jinja_charge(j, items->n * 8));
    for (size_t i = 0; i < items->n && !*out; i++)
        *out = jinja_equal(&items->items[i], item);
    return err_ok();
}

struct err jinja_relate(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                        const struct jinja_value *b, bool *out)
{
    int order = 0;
    if (a->kind == JINJA_STRING && b->kind == JINJA_STRING)
        TRY(jinja_charge(j, a->as.string->len));
    switch (op) {
    case OP_EQ:
    case OP_NE:
        *out = jinja_equal(a, b) == (op == OP_EQ);
        return err_ok();
    case OP_IN:
    case OP_NOT_IN:
        TRY(contains(j, b, a, out));
        *out = *out == (op == OP_IN);
        return err_ok();
    default:
        TRY(jinja_compare(&order, a, b));
        *out = op == OP_LT   ? order < 0
               : op == OP_LE ? order <= 0
               : op == OP_GT ? order > 0
                             : order >= 0;
        return err_ok();
    }
}
