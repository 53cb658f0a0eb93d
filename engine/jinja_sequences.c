/*
 * Filters on sequences.
 */
#include "engine/jinja_builtins.h"

#include <string.h>

#include "common/text.h"

#define FILTER(name)                                                                               \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

struct err attribute_path(struct jinja *j, const struct jinja_value *v,
                          const struct jinja_value *path, struct jinja_value *out)
{
    struct jinja_value at = *v, key;
    if (path->kind == JINJA_INT)
        return jinja_item(j, v, path, out);
    TRY(need_string(path, "an attribute"));
    struct bytes left = jinja_bytes(path);
    for (;;) {
        const uint8_t *dot = memchr(left.data, '.', left.len);
        size_t len = dot != NULL ? (size_t)(dot - left.data) : left.len;
        uint64_t index = 0;
        if (!is_err(decimal_decode(&index, bytes_of(left.data, len), INT32_MAX)))
            key = jinja_int((int64_t)index);
        else
            TRY(jinja_string_of(&j->arena, &key, bytes_of(left.data, len), true));
        TRY(jinja_item(j, &at, &key, &at));
        if (dot == NULL)
            break;
        left = bytes_of(dot + 1, left.len - len - 1);
    }
    *out = at;
    return err_ok();
}

FILTER(filter_length)
{
    (void)args;
    switch (self->kind) {
    case JINJA_STRING:
        TRY(jinja_charge(j, self->as.string->len));
        *out = jinja_int((int64_t)jinja_count_chars(jinja_bytes(self)));
        return err_ok();
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = jinja_int((int64_t)self->as.list->n);
        return err_ok();
    case JINJA_DICT:
        *out = jinja_int((int64_t)self->as.dict->n);
        return err_ok();
    case JINJA_UNDEFINED:
        *out = jinja_int(0);
        return err_ok();
    case JINJA_LOOP:
        *out = jinja_int((int64_t)self->as.loop->items->n);
        return err_ok();
    default:
        return err_set(ERR_USAGE, "a %s has no length", jinja_type_name(self));
    }
}

FILTER(filter_first)
{
    (void)args;
    struct jinja_list *items = NULL;
    TRY(jinja_iterate(j, self, &items));
    *out = items->n > 0 ? items->items[0] : jinja_undefined("the first item of nothing");
    return err_ok();
}

FILTER(filter_last)
{
    (void)args;
    struct jinja_list *items = NULL;
    TRY(jinja_iterate(j, self, &items));
    *out = items->n > 0 ? items->items[items->n - 1] : jinja_undefined("the last item of nothing");
    return err_ok();
}

FILTER(filter_join)
{
    JINJA_TEXT text = {0};
    struct jinja_list *items = NULL;
    TRY(jinja_iterate(j, self, &items));
    for (size_t i = 0; i < items->n; i++) {
        struct jinja_value item = items->items[i];
        size_t before = text.bytes.len;
        if (args->arg[1] != NULL && args->arg[1]->kind != JINJA_NONE)
            TRY(attribute_path(j, &item, args->arg[1], &item));
        if (i > 0 && args->arg[0] != NULL)
            TRY(jinja_text_add_value(&text, args->arg[0]));
        TRY(jinja_text_add_value(&text, &item));
        TRY(jinja_charge_text(j, &text, before));
    }
    return jinja_text_take(&text, &j->arena, out);
}

/* A fresh list of the same items. */
static struct err copy_items(struct jinja *j, const struct jinja_value *self, enum jinja_kind kind,
                             struct jinja_value *out)
{
    struct jinja_list *items = NULL;
    TRY(jinja_iterate(j, self, &items));
    TRY(jinja_charge(j, items->n * sizeof *items->items));
    TRY(jinja_list_new(&j->arena, out, kind));
    for (size_t i = 0; i < items->n; i++)
        TRY(jinja_list_add(&j->arena, out->as.list, items->items[i]));
    return err_ok();
}

FILTER(filter_list)
{
    (void)args;
    return copy_items(j, self, JINJA_LIST, out);
}

FILTER(filter_reverse)
{
    (void)args;
    struct jinja_value bounds[3] = {{.kind = JINJA_NONE}, {.kind = JINJA_NONE}, jinja_int(-1)};
    if (self->kind == JINJA_STRING)
        return jinja_slice(j, self, bounds, out);
    TRY(copy_items(j, self, JINJA_GENERATOR, out));
    struct jinja_list *l = out->as.list;
    for (size_t i = 0; i < l->n / 2; i++) {
        struct jinja_value swapped = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = swapped;
    }
    return err_ok();
}

struct err filter_items(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_args *args, struct jinja_value *out)
{
    (void)args;
    TRY(jinja_list_new(&j->arena, out, JINJA_GENERATOR));
    if (self->kind == JINJA_UNDEFINED)
        return err_ok();
    if (self->kind != JINJA_DICT)
        return err_set(ERR_USAGE, "a %s has no items", jinja_type_name(self));
    TRY(jinja_charge(j, self->as.dict->n * 128));
    for (size_t i = 0; i < self->as.dict->n; i++) {
        struct jinja_value pair;
        TRY(jinja_list_new(&j->arena, &pair, JINJA_TUPLE));
        TRY(jinja_list_add(&j->arena, pair.as.list, self->as.dict->entries[i].key));
        TRY(jinja_list_add(&j->arena, pair.as.list, self->as.dict->entries[i].value));
        TRY(jinja_list_add(&j->arena, out->as.list, pair));
    }
    return err_ok();
}

/* The arguments behind the first `skip`. */
static struct jinja_args rest_of(const struct jinja_args *args, size_t skip)
{
    struct jinja_args rest = *args;
    rest.positional += skip;
    rest.n_positional -= skip;
    memset(rest.arg, 0, sizeof rest.arg);
    return rest;
}

static struct err find_builtin(const struct jinja_value *name, bool test,
                               const struct jinja_builtin **out)
{
    char shown[84];
    TRY(need_string(name, "the name of a filter or test"));
    *out = test ? jinja_find_test(jinja_bytes(name)) : jinja_find_filter(jinja_bytes(name));
    if (*out != NULL)
        return err_ok();
    return err_set(ERR_UNSUPPORTED, "the %s \"%s\" is not supported", test ? "test" : "filter",
                   printable(shown, jinja_bytes(name)));
}

static const struct jinja_value *named(const struct jinja_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_named; i++)
        if (jinja_string_is(&args->named[i].key, name))
            return &args->named[i].value;
    return NULL;
}

/* What map and select go over: nothing for whatever is false, None and 0 too. */
static struct err iterate_truthy(struct jinja *j, const struct jinja_value *self,
                                 struct jinja_list **out)
{
    struct jinja_value nothing = JINJA_NOTHING;
    return jinja_iterate(j, jinja_truth(self) ? self : &nothing, out);
}

/* map(attribute='a.b', default=...) or map('filter', arguments...). */
FILTER(filter_map)
{
    struct jinja_list *items = NULL;
    const struct jinja_value *attribute = named(args, "attribute");
    const struct jinja_builtin *filter = NULL;
    if (attribute == NULL && args->n_positional == 0)
        return err_set(ERR_USAGE, "map needs a filter or an attribute");
    if (attribute == NULL)
        TRY(find_builtin(&args->positional[0], false, &filter));
    TRY(iterate_truthy(j, self, &items));
    TRY(jinja_list_new(&j->arena, out, JINJA_GENERATOR));
    for (size_t i = 0; i < items->n; i++) {
        struct jinja_value mapped;
        TRY(jinja_charge(j, 0));
        if (attribute != NULL) {
            TRY(attribute_path(j, &items->items[i], attribute, &mapped));
            if (mapped.kind == JINJA_UNDEFINED && named(args, "default") != NULL)
                mapped = *named(args, "default");
        } else {
            struct jinja_args rest = rest_of(args, 1);
            TRY(jinja_call_builtin(j, filter, &items->items[i], &rest, &mapped));
        }
        TRY(jinja_list_add(&j->arena, out->as.list, mapped));
    }
    return err_ok();
}

/* The items whose (attribute's) test comes out as `wanted`; without a test, their truth. */
static struct err select_items(struct jinja *j, const struct jinja_value *self,
                               const struct jinja_args *args, bool by_attribute, bool wanted,
                               struct jinja_value *out)
{
    struct jinja_list *items = NULL;
    const struct jinja_builtin *test = NULL;
    size_t skip = by_attribute ? 1 : 0;
    if (args->n_positional > skip)
        TRY(find_builtin(&args->positional[skip], true, &test));
    TRY(iterate_truthy(j, self, &items));
    TRY(jinja_list_new(&j->arena, out, JINJA_GENERATOR));
    for (size_t i = 0; i < items->n; i++) {
        struct jinja_value v = items->items[i];
        TRY(jinja_charge(j, 0));
        if (by_attribute)
            TRY(attribute_path(j, &v, &args->positional[0], &v));
        if (test != NULL) {
            struct jinja_args rest = rest_of(args, skip + 1);
            TRY(jinja_call_builtin(j, test, &v, &rest, &v));
        }
        if (jinja_truth(&v) == wanted)
            TRY(jinja_list_add(&j->arena, out->as.list, items->items[i]));
    }
    return err_ok();
}

FILTER(filter_select)
{
    return select_items(j, self, args, false, true, out);
}

FILTER(filter_reject)
{
    return select_items(j, self, args, false, false, out);
}

FILTER(filter_selectattr)
{
    return select_items(j, self, args, true, true, out);
}

FILTER(filter_rejectattr)
{
    return select_items(j, self, args, true, false, out);
}

const struct jinja_builtin jinja_sequence_filters[] = {
    {"length", filter_length, 0, {NULL}},
    {"count", filter_length, 0, {NULL}},
    {"first", filter_first, 0, {NULL}},
    {"last", filter_last, 0, {NULL}},
    {"join", filter_join, 0, {"d", "attribute"}},
    {"list", filter_list, 0, {NULL}},
    {"reverse", filter_reverse, 0, {NULL}},
    {"items", filter_items, 0, {NULL}},
    {"map", filter_map, 0, {"*"}},
    {"select", filter_select, 0, {"*"}},
    {"reject", filter_reject, 0, {"*"}},
    {"selectattr", filter_selectattr, 1, {"*"}},
    {"rejectattr", filter_rejectattr, 1, {"*"}},
    {NULL, NULL, 0, {NULL}},
};
