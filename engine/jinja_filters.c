/*
 * Filters on single values: strings, numbers, tojson, default.
 */
#include "engine/jinja_builtins.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name)                                                                               \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

bool flag_arg(const struct jinja_args *args, size_t index, bool absent)
{
    return args->arg[index] != NULL ? jinja_truth(args->arg[index]) : absent;
}

FILTER(filter_trim)
{
    struct jinja_value s;
    TRY(jinja_to_string(j, self, &s));
    return string_strip(j, &s, args->arg[0], true, true, out);
}

static struct err recase(struct jinja *j, const struct jinja_value *self, enum string_case to,
                         struct jinja_value *out)
{
    struct jinja_value s;
    TRY(jinja_to_string(j, self, &s));
    return string_recase(j, &s, to, out);
}

FILTER(filter_upper)
{
    (void)args;
    return recase(j, self, CASE_UPPER, out);
}

FILTER(filter_lower)
{
    (void)args;
    return recase(j, self, CASE_LOWER, out);
}

FILTER(filter_title)
{
    (void)args;
    return recase(j, self, CASE_TITLE_WORDS, out);
}

FILTER(filter_capitalize)
{
    (void)args;
    return recase(j, self, CASE_CAPITALIZE, out);
}

FILTER(filter_replace)
{
    struct jinja_value s, from, to;
    int64_t max = -1;
    TRY(jinja_to_string(j, self, &s));
    TRY(jinja_to_string(j, args->arg[0], &from));
    TRY(jinja_to_string(j, args->arg[1], &to));
    if (args->arg[2] != NULL && args->arg[2]->kind != JINJA_NONE)
        TRY(jinja_to_int(args->arg[2], "replace's count", &max));
    return string_replace(j, &s, &from, &to, max, out);
}

FILTER(filter_string)
{
    (void)args;
    return jinja_to_string(j, self, out);
}

/* Nothing is escaped when it is printed, or by ~, but Python's Markup escapes what + joins to it.
 * Every other operation forgets it. */
FILTER(filter_safe)
{
    (void)args;
    TRY(jinja_to_string(j, self, out));
    out->safe = true;
    return err_ok();
}

FILTER(filter_default)
{
    bool missing =
        self->kind == JINJA_UNDEFINED || (flag_arg(args, 1, false) && !jinja_truth(self));
    *out = *self;
    if (missing && args->arg[0] != NULL)
        *out = *args->arg[0];
    else if (missing)
        return jinja_string_of(&j->arena, out, bytes_of_str(""), true);
    return err_ok();
}

static struct err read_separators(const struct jinja_value *v, struct jinja_json_style *style)
{
    if ((v->kind != JINJA_LIST && v->kind != JINJA_TUPLE) || v->as.list->n != 2)
        return err_set(ERR_USAGE, "tojson's separators must be two strings");
    TRY(need_string(&v->as.list->items[0], "a separator of tojson"));
    TRY(need_string(&v->as.list->items[1], "a separator of tojson"));
    style->item_separator = jinja_bytes(&v->as.list->items[0]);
    style->key_separator = jinja_bytes(&v->as.list->items[1]);
    return err_ok();
}

/* As transformers defines it: json.dumps without Jinja's escaping for HTML. */
FILTER(filter_tojson)
{
    struct jinja_json_style style = {.indent = -1,
                                     .ascii = flag_arg(args, 0, false),
                                     .sort_keys = flag_arg(args, 3, false),
                                     .item_separator = bytes_of_str(", "),
                                     .key_separator = bytes_of_str(": ")};
    if (args->arg[1] != NULL && args->arg[1]->kind != JINJA_NONE) {
        int64_t indent = 0;
        TRY(jinja_to_int(args->arg[1], "tojson's indent", &indent));
        if (indent > 64)
            return err_set(ERR_LIMIT, "tojson's indent is over 64");
        style.indent = indent < 0 ? 0 : (int)indent;
        style.item_separator = bytes_of_str(",");
    }
    if (args->arg[2] != NULL && args->arg[2]->kind != JINJA_NONE)
        TRY(read_separators(args->arg[2], &style));
    JINJA_TEXT text = {0};
    TRY(jinja_text_add_json(&text, self, &style));
    TRY(jinja_charge_text(j, &text, 0));
    return jinja_text_take(&text, &j->arena, out);
}

/* A copy of at most 63 bytes without white space around; false where it is longer. */
static bool number_text(char out[64], const struct jinja_value *v)
{
    struct bytes s = jinja_bytes(v);
    while (s.len > 0 && jinja_is_space(s.data[0]) && s.data[0] < 0x80)
        s = bytes_of(s.data + 1, s.len - 1);
    while (s.len > 0 && jinja_is_space(s.data[s.len - 1]) && s.data[s.len - 1] < 0x80)
        s.len--;
    if (s.len == 0 || s.len > 63 || memchr(s.data, 0, s.len) != NULL)
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

static bool read_float(const struct jinja_value *v, double *out)
{
    char text[64], *end = NULL;
    if (jinja_is_number(v)) {
        *out = jinja_number(v);
        return true;
    }
    if (v->kind != JINJA_STRING || !number_text(text, v) || strpbrk(text, "xXpP(") != NULL)
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

static bool read_int(const struct jinja_value *v, int base, int64_t *out)
{
    char text[64], *end = NULL;
    double real = 0;
    if (v->kind == JINJA_STRING && number_text(text, v)) {
        errno = 0;
        long long n = strtoll(text, &end, base);
        if (*end == '\0' && errno == 0) {
            *out = n;
            return true;
        }
    }
    if (v->kind == JINJA_INT || v->kind == JINJA_BOOL)
        return !is_err(jinja_to_int(v, "", out));
    if (!read_float(v, &real) || !(real > -9.2e18 && real < 9.2e18))
        return false;
    *out = (int64_t)real;
    return true;
}

FILTER(filter_int)
{
    (void)j;
    int64_t base = 10, value = 0;
    if (self->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(self);
    if (args->arg[1] != NULL)
        TRY(jinja_to_int(args->arg[1], "int's base", &base));
    if (base < 2 || base > 36)
        return err_set(ERR_USAGE, "int's base must be 2 to 36");
    bool read = read_int(self, (int)base, &value);
    *out = read || args->arg[0] == NULL ? jinja_int(value) : *args->arg[0];
    out->untrusted = out->untrusted || (read && !jinja_trusted(self));
    return err_ok();
}

FILTER(filter_float)
{
    (void)j;
    double value = 0;
    if (self->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(self);
    bool read = read_float(self, &value);
    *out = read || args->arg[0] == NULL ? jinja_float(value) : *args->arg[0];
    out->untrusted = out->untrusted || (read && !jinja_trusted(self));
    return err_ok();
}

/* Python's round(): to the nearest decimal, judged on the exact binary value. */
static double round_common(double v, int precision)
{
    char text[400];
    double scale = pow(10, -precision);
    if (isnan(v) || isinf(v))
        return v;
    if (precision < 0)
        return nearbyint(v / scale) * scale;
    snprintf(text, sizeof text, "%.*f", precision, v);
    return strtod(text, NULL);
}

FILTER(filter_round)
{
    (void)j;
    int64_t precision = 0;
    const struct jinja_value *method = args->arg[1];
    if (!jinja_is_number(self))
        return err_set(ERR_USAGE, "a %s cannot be rounded", jinja_type_name(self));
    if (args->arg[0] != NULL)
        TRY(jinja_to_int(args->arg[0], "round's precision", &precision));
    if (precision < -18 || precision > 18)
        return err_set(ERR_LIMIT, "round's precision must be -18 to 18");
    bool common = method == NULL || jinja_string_is(method, "common");
    bool up = !common && jinja_string_is(method, "ceil");
    if (!common && !up && !jinja_string_is(method, "floor"))
        return err_set(ERR_USAGE, "round's method must be common, ceil or floor");
    double v = jinja_number(self), scale = pow(10, (double)precision);
    *out = *self;
    if (common && self->kind != JINJA_FLOAT && precision >= 0)
        out->kind = JINJA_INT, out->as.integer = (int64_t)v;
    else
        *out = jinja_float(common ? round_common(v, (int)precision)
                                  : (up ? ceil(v * scale) : floor(v * scale)) / scale);
    out->untrusted = self->untrusted;
    return err_ok();
}

FILTER(filter_abs)
{
    (void)args;
    struct jinja_value zero = jinja_int(0);
    if (self->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(self);
    if (!jinja_is_number(self))
        return err_set(ERR_USAGE, "a %s has no absolute value", jinja_type_name(self));
    if (jinja_number(self) < 0)
        return jinja_operate(j, OP_SUB, &zero, self, out);
    return jinja_operate(j, OP_ADD, &zero, self, out);
}

const struct jinja_builtin jinja_string_filters[] = {
    {"trim", filter_trim, 0, {"chars"}},
    {"upper", filter_upper, 0, {NULL}},
    {"lower", filter_lower, 0, {NULL}},
    {"title", filter_title, 0, {NULL}},
    {"capitalize", filter_capitalize, 0, {NULL}},
    {"replace", filter_replace, 2, {"old", "new", "count"}},
    {"string", filter_string, 0, {NULL}},
    {"safe", filter_safe, 0, {NULL}},
    {"default", filter_default, 0, {"default_value", "boolean"}},
    {"d", filter_default, 0, {"default_value", "boolean"}},
    {"tojson", filter_tojson, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"int", filter_int, 0, {"default", "base"}},
    {"float", filter_float, 0, {"default"}},
    {"round", filter_round, 0, {"precision", "method"}},
    {"abs", filter_abs, 0, {NULL}},
    {NULL, NULL, 0, {NULL}},
};
