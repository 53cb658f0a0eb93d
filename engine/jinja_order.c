/*
 * Filters that compare items: what is unique, in which order, the least and the greatest.
 */
#include "engine/jinja_builtins.h"

#include <string.h>

#define FILTER(name)                                                                               \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

/* What items are compared by: themselves or an attribute, without case unless asked. */
static struct err sort_key(struct jinja *j, const struct jinja_value *item,
                           const struct jinja_value *attribute, bool case_sensitive,
                           struct jinja_value *out)
{
    *out = *item;
    if (attribute != NULL && attribute->kind != JINJA_NONE)
        TRY(attribute_path(j, item, attribute, out));
    if (out->kind == JINJA_STRING && !case_sensitive)
        return string_recase(j, out, CASE_LOWER, out);
    return err_ok();
}

FILTER(filter_unique)
{
    struct jinja_list *items = NULL;
    struct jinja_value keys;
    TRY(jinja_iterate(j, self, &items));
    TRY(jinja_list_new(&j->arena, &keys, JINJA_LIST));
    TRY(jinja_list_new(&j->arena, out, JINJA_GENERATOR));
    for (size_t i = 0; i < items->n; i++) {
        struct jinja_value key;
        bool seen = false;
        TRY(sort_key(j, &items->items[i], args->arg[1], flag_arg(args, 0, false), &key));
        TRY(jinja_relate(j, OP_IN, &key, &keys, &seen));
        if (seen)
            continue;
        TRY(jinja_list_add(&j->arena, keys.as.list, key));
        TRY(jinja_list_add(&j->arena, out->as.list, items->items[i]));
    }
    return err_ok();
}

/* Stable merge sort of entries by key; `spare` has room for n. With `reverse`, equal entries keep
 * their order, as in Python. */
static struct err merge_sort(struct jinja *j, struct jinja_entry *e, struct jinja_entry *spare,
                             size_t n, bool reverse)
{
    if (n < 2)
        return err_ok();
    size_t half = n / 2, a = 0, b = half, k = 0;
    TRY(merge_sort(j, e, spare, half, reverse));
    TRY(merge_sort(j, e + half, spare, n - half, reverse));
    while (a < half || b < n) {
        int order = 0;
        TRY(jinja_charge(j, 0));
        if (a == half || b == n)
            order = a < half ? 0 : reverse ? -1 : 1;
        else if (!jinja_equal(&e[a].key, &e[b].key))
            TRY(jinja_compare(&order, &e[a].key, &e[b].key));
        spare[k++] = (reverse ? order >= 0 : order <= 0) ? e[a++] : e[b++];
    }
    memcpy(e, spare, n * sizeof *e);
    return err_ok();
}

static struct err sort_entries(struct jinja *j, struct jinja_dict *d, bool reverse)
{
    struct jinja_entry *spare = NULL;
    TRY(jinja_alloc(&j->arena, &spare, d->n * sizeof *spare));
    return merge_sort(j, d->entries, spare, d->n, reverse);
}

FILTER(filter_sort)
{
    struct jinja_list *items = NULL;
    struct jinja_dict sorted = {0};
    TRY(jinja_iterate(j, self, &items));
    TRY(jinja_alloc(&j->arena, &sorted.entries, items->n * sizeof *sorted.entries));
    for (sorted.n = 0; sorted.n < items->n; sorted.n++) {
        struct jinja_entry *e = &sorted.entries[sorted.n];
        e->value = items->items[sorted.n];
        TRY(sort_key(j, &e->value, args->arg[2], flag_arg(args, 1, false), &e->key));
    }
    TRY(sort_entries(j, &sorted, flag_arg(args, 0, false)));
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    for (size_t i = 0; i < sorted.n; i++)
        TRY(jinja_list_add(&j->arena, out->as.list, sorted.entries[i].value));
    return err_ok();
}

/* The first of the least or greatest items. */
static struct err extreme(struct jinja *j, const struct jinja_value *self,
                          const struct jinja_args *args, enum jinja_operator better,
                          struct jinja_value *out)
{
    struct jinja_list *items = NULL;
    struct jinja_value key, best = JINJA_NOTHING;
    TRY(jinja_iterate(j, self, &items));
    *out = jinja_undefined("the least or greatest item of nothing");
    for (size_t i = 0; i < items->n; i++) {
        bool wins = i == 0;
        TRY(sort_key(j, &items->items[i], args->arg[1], flag_arg(args, 0, false), &key));
        if (i > 0)
            TRY(jinja_relate(j, better, &key, &best, &wins));
        if (!wins)
            continue;
        best = key;
        *out = items->items[i];
    }
    return err_ok();
}

FILTER(filter_min)
{
    return extreme(j, self, args, OP_LT, out);
}

FILTER(filter_max)
{
    return extreme(j, self, args, OP_GT, out);
}

FILTER(filter_dictsort)
{
    struct jinja_value pairs;
    struct jinja_dict sorted = {0};
    struct jinja_args none = {0};
    bool by_value = args->arg[1] != NULL && jinja_string_is(args->arg[1], "value");
    if (self->kind != JINJA_DICT)
        return err_set(ERR_USAGE, "a %s cannot be sorted as a dict", jinja_type_name(self));
    TRY(filter_items(j, self, &none, &pairs));
    TRY(jinja_alloc(&j->arena, &sorted.entries, pairs.as.list->n * sizeof *sorted.entries));
    for (sorted.n = 0; sorted.n < pairs.as.list->n; sorted.n++) {
        struct jinja_entry *e = &sorted.entries[sorted.n];
        e->value = pairs.as.list->items[sorted.n];
        TRY(sort_key(j, &e->value.as.list->items[by_value ? 1 : 0], NULL, flag_arg(args, 0, false),
                     &e->key));
    }
    TRY(sort_entries(j, &sorted, flag_arg(args, 2, false)));
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    for (size_t i = 0; i < sorted.n; i++)
        TRY(jinja_list_add(&j->arena, out->as.list, sorted.entries[i].value));
    return err_ok();
}

const struct jinja_builtin jinja_order_filters[] = {
    {"unique", filter_unique, 0, {"case_sensitive", "attribute"}},
    {"sort", filter_sort, 0, {"reverse", "case_sensitive", "attribute"}},
    {"min", filter_min, 0, {"case_sensitive", "attribute"}},
    {"max", filter_max, 0, {"case_sensitive", "attribute"}},
    {"dictsort", filter_dictsort, 0, {"case_sensitive", "by", "reverse"}},
    {NULL, NULL, 0, {NULL}},
};
