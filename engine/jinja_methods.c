/*
 * Methods of strings and dicts, as Python has them. Those that would change an object are not
 * there.
 */
#include "engine/jinja_builtins.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

METHOD(method_strip)
{
    return string_strip(j, self, args->arg[0], true, true, out);
}

METHOD(method_lstrip)
{
    return string_strip(j, self, args->arg[0], true, false, out);
}

METHOD(method_rstrip)
{
    return string_strip(j, self, args->arg[0], false, true, out);
}

METHOD(method_upper)
{
    (void)args;
    return string_recase(j, self, CASE_UPPER, out);
}

METHOD(method_lower)
{
    (void)args;
    return string_recase(j, self, CASE_LOWER, out);
}

METHOD(method_title)
{
    (void)args;
    return string_recase(j, self, CASE_TITLE_LETTERS, out);
}

METHOD(method_capitalize)
{
    (void)args;
    return string_recase(j, self, CASE_CAPITALIZE, out);
}

METHOD(method_replace)
{
    int64_t max = -1;
    TRY(need_string(args->arg[0], "replace's first argument"));
    TRY(need_string(args->arg[1], "replace's second argument"));
    if (args->arg[2] != NULL)
        TRY(jinja_to_int(args->arg[2], "replace's count", &max));
    return string_replace(j, self, args->arg[0], args->arg[1], max, out);
}

static struct err add_part(struct jinja *j, struct jinja_list *parts,
                           const struct jinja_value *string, size_t from, size_t to)
{
    struct jinja_value part;
    TRY(jinja_charge(j, to - from));
    TRY(jinja_substring(&j->arena, &part, string, from, to - from));
    return jinja_list_add(&j->arena, parts, part);
}

/* str.split() without separator: runs of white space, none at the ends. */
static struct err split_words(struct jinja *j, const struct jinja_value *self, int64_t max,
                              struct jinja_list *parts)
{
    struct bytes s = jinja_bytes(self);
    size_t at = 0, len = 0;
    for (;;) {
        while (at < s.len && jinja_is_space(jinja_char(s, at, &len)))
            at += len;
        if (at == s.len)
            return err_ok();
        size_t end = at;
        if (max-- == 0) {
            struct jinja_value rest;
            TRY(jinja_substring(&j->arena, &rest, self, at, s.len - at));
            TRY(string_strip(j, &rest, NULL, false, true, &rest));
            return jinja_list_add(&j->arena, parts, rest);
        }
        while (end < s.len && !jinja_is_space(jinja_char(s, end, &len)))
            end += len;
        TRY(add_part(j, parts, self, at, end));
        at = end;
    }
}

METHOD(method_split)
{
    int64_t max = -1;
    const struct jinja_value *separator = args->arg[0];
    struct bytes s = jinja_bytes(self);
    if (args->arg[1] != NULL)
        TRY(jinja_to_int(args->arg[1], "split's maximum", &max));
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    if (separator == NULL || separator->kind == JINJA_NONE)
        return split_words(j, self, max, out->as.list);
    TRY(need_string(separator, "split's separator"));
    size_t at = 0, sep_len = separator->as.string->len;
    if (sep_len == 0)
        return err_set(ERR_USAGE, "split's separator is empty");
    for (; max != 0; max -= max > 0) {
        const uint8_t *found = memmem(s.data + at, s.len - at, separator->as.string->data, sep_len);
        if (found == NULL)
            break;
        TRY(add_part(j, out->as.list, self, at, (size_t)(found - s.data)));
        at = (size_t)(found - s.data) + sep_len;
    }
    return add_part(j, out->as.list, self, at, s.len);
}

/* str.splitlines() for \n, \r and \r\n. */
METHOD(method_splitlines)
{
    struct bytes s = jinja_bytes(self);
    bool keep = flag_arg(args, 0, false);
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    for (size_t at = 0; at < s.len;) {
        size_t end = at, next = 0;
        while (end < s.len && s.data[end] != '\n' && s.data[end] != '\r')
            end++;
        next = end < s.len ? end + 1 : end;
        if (next < s.len && s.data[end] == '\r' && s.data[next] == '\n')
            next++;
        TRY(add_part(j, out->as.list, self, at, keep ? next : end));
        at = next;
    }
    return err_ok();
}

static bool has_affix(struct bytes s, struct bytes affix, bool at_end)
{
    return affix.len <= s.len &&
           (affix.len == 0 ||
            memcmp(s.data + (at_end ? s.len - affix.len : 0), affix.data, affix.len) == 0);
}

static struct err test_affix(struct jinja *j, const struct jinja_value *self,
                             const struct jinja_value *affix, bool at_end, struct jinja_value *out)
{
    TRY(jinja_charge(j, 0));
    if (affix->kind != JINJA_TUPLE) {
        TRY(need_string(affix, at_end ? "endswith's argument" : "startswith's argument"));
        *out = jinja_bool(has_affix(jinja_bytes(self), jinja_bytes(affix), at_end));
        return err_ok();
    }
    *out = jinja_bool(false);
    for (size_t i = 0; i < affix->as.list->n && !out->as.boolean; i++) {
        TRY(need_string(&affix->as.list->items[i], "an item of the tuple"));
        *out = jinja_bool(
            has_affix(jinja_bytes(self), jinja_bytes(&affix->as.list->items[i]), at_end));
    }
    return err_ok();
}

METHOD(method_startswith)
{
    return test_affix(j, self, args->arg[0], false, out);
}

METHOD(method_endswith)
{
    return test_affix(j, self, args->arg[0], true, out);
}

static struct err remove_affix(struct jinja *j, const struct jinja_value *self,
                               const struct jinja_value *affix, bool at_end,
                               struct jinja_value *out)
{
    TRY(need_string(affix, "the text to remove"));
    size_t len = affix->as.string->len, all = self->as.string->len;
    if (!has_affix(jinja_bytes(self), jinja_bytes(affix), at_end))
        len = 0;
    return jinja_substring(&j->arena, out, self, at_end ? 0 : len, all - len);
}

METHOD(method_removeprefix)
{
    return remove_affix(j, self, args->arg[0], false, out);
}

METHOD(method_removesuffix)
{
    return remove_affix(j, self, args->arg[0], true, out);
}

/* The place in characters, or -1. */
METHOD(method_find)
{
    struct bytes s = jinja_bytes(self);
    TRY(need_string(args->arg[0], "find's argument"));
    TRY(jinja_charge(j, s.len));
    struct bytes sub = jinja_bytes(args->arg[0]);
    const uint8_t *found = sub.len > 0 ? memmem(s.data, s.len, sub.data, sub.len) : s.data;
    *out = jinja_int(-1);
    if (found != NULL)
        *out = jinja_int((int64_t)jinja_count_chars(bytes_of(s.data, (size_t)(found - s.data))));
    return err_ok();
}

METHOD(method_items)
{
    struct jinja_value generator;
    TRY(jinja_find_filter(bytes_of_str("items"))->call(j, self, args, &generator));
    generator.kind = JINJA_LIST;
    *out = generator;
    return err_ok();
}

static struct err keys_or_values(struct jinja *j, const struct jinja_value *self, bool keys,
                                 struct jinja_value *out)
{
    const struct jinja_dict *d = self->as.dict;
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    TRY(jinja_charge(j, d->n * sizeof *out));
    for (size_t i = 0; i < d->n; i++)
        TRY(jinja_list_add(&j->arena, out->as.list,
                           keys ? d->entries[i].key : d->entries[i].value));
    return err_ok();
}

METHOD(method_keys)
{
    (void)args;
    return keys_or_values(j, self, true, out);
}

METHOD(method_values)
{
    (void)args;
    return keys_or_values(j, self, false, out);
}

METHOD(method_get)
{
    TRY(jinja_charge(j, self->as.dict->n));
    const struct jinja_value *found = jinja_dict_get(self->as.dict, args->arg[0]);
    *out = (struct jinja_value){.kind = JINJA_NONE};
    if (found != NULL)
        *out = *found;
    else if (args->arg[1] != NULL)
        *out = *args->arg[1];
    return err_ok();
}

static const struct jinja_builtin string_methods[] = {
    {"strip", method_strip, 0, {"chars"}},
    {"lstrip", method_lstrip, 0, {"chars"}},
    {"rstrip", method_rstrip, 0, {"chars"}},
    {"upper", method_upper, 0, {NULL}},
    {"lower", method_lower, 0, {NULL}},
    {"title", method_title, 0, {NULL}},
    {"capitalize", method_capitalize, 0, {NULL}},
    {"replace", method_replace, 2, {"old", "new", "count"}},
    {"split", method_split, 0, {"sep", "maxsplit"}},
    {"splitlines", method_splitlines, 0, {"keepends"}},
    {"startswith", method_startswith, 1, {"prefix"}},
    {"endswith", method_endswith, 1, {"suffix"}},
    {"removeprefix", method_removeprefix, 1, {"prefix"}},
    {"removesuffix", method_removesuffix, 1, {"suffix"}},
    {"find", method_find, 1, {"sub"}},
    {NULL, NULL, 0, {NULL}},
};

static const struct jinja_builtin dict_methods[] = {
    {"items", method_items, 0, {NULL}},
    {"keys", method_keys, 0, {NULL}},
    {"values", method_values, 0, {NULL}},
    {"get", method_get, 1, {"key", "default"}},
    {NULL, NULL, 0, {NULL}},
};

const struct jinja_builtin *jinja_find_method(enum jinja_kind kind, struct bytes name)
{
    if (kind == JINJA_STRING)
        return jinja_find_in(string_methods, name);
    return kind == JINJA_DICT ? jinja_find_in(dict_methods, name) : NULL;
}
