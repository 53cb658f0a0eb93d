#include "engine/jinja_value.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

struct jinja_block {
    struct jinja_block *next;
    size_t used, size;
    _Alignas(16) uint8_t data[];
};

enum { BLOCK_SIZE = 64 << 10, JSON_DEPTH_MAX = 100 };

void jinja_arena_cleanup(struct jinja_arena *a)
{
    while (a->blocks != NULL) {
        struct jinja_block *next = a->blocks->next;
        explicit_bzero(a->blocks->data, a->blocks->used);
        free(a->blocks);
        a->blocks = next;
    }
    a->total = 0;
}

static struct err arena_grow(struct jinja_arena *a, size_t size)
{
    size_t block_size = size > BLOCK_SIZE ? size : BLOCK_SIZE;
    if (size > a->max || a->total > a->max - size)
        return err_set(ERR_LIMIT, "the template needs more than %zu bytes of memory", a->max);
    struct jinja_block *b = calloc(1, sizeof *b + block_size);
    if (b == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu bytes of a template's values", block_size);
    b->size = block_size;
    b->next = a->blocks;
    a->blocks = b;
    a->total += block_size;
    return err_ok();
}

struct err jinja_alloc(struct jinja_arena *a, void *out, size_t size)
{
    if (size > SIZE_MAX / 4)
        return err_set(ERR_LIMIT, "the template asks for %zu bytes at once", size);
    size = (size + 15) & ~(size_t)15;
    if (a->blocks == NULL || a->blocks->size - a->blocks->used < size)
        TRY(arena_grow(a, size));
    void *p = a->blocks->data + a->blocks->used;
    a->blocks->used += size;
    memcpy(out, &p, sizeof p);
    return err_ok();
}

struct err jinja_string_of(struct jinja_arena *a, struct jinja_value *out, struct bytes data,
                           bool trusted)
{
    struct jinja_string *s = NULL;
    TRY(jinja_alloc(a, &s, sizeof *s));
    s->data = data.len > 0 ? (const char *)data.data : "";
    s->len = data.len;
    s->trusted = trusted;
    *out = (struct jinja_value){.kind = JINJA_STRING, .as.string = s};
    return err_ok();
}

struct bytes jinja_bytes(const struct jinja_value *string)
{
    return bytes_of(string->as.string->data, string->as.string->len);
}

bool jinja_string_is(const struct jinja_value *v, const char *text)
{
    return v->kind == JINJA_STRING && bytes_equal(jinja_bytes(v), bytes_of_str(text));
}

static bool string_trusted(const struct jinja_string *s)
{
    if (s->runs == NULL)
        return s->trusted || s->len == 0;
    for (size_t i = 0; i < s->n_runs; i++)
        if (!s->runs[i].trusted)
            return false;
    return true;
}

bool jinja_trusted(const struct jinja_value *v)
{
    if (v->kind == JINJA_STRING)
        return string_trusted(v->as.string);
    if (v->kind == JINJA_LIST || v->kind == JINJA_TUPLE || v->kind == JINJA_GENERATOR) {
        for (size_t i = 0; i < v->as.list->n; i++)
            if (!jinja_trusted(&v->as.list->items[i]))
                return false;
        return true;
    }
    if (v->kind == JINJA_DICT) {
        for (size_t i = 0; i < v->as.dict->n; i++)
            if (!jinja_trusted(&v->as.dict->entries[i].key) ||
                !jinja_trusted(&v->as.dict->entries[i].value))
                return false;
        return true;
    }
    return !v->untrusted;
}

struct err jinja_substring(struct jinja_arena *a, struct jinja_value *out,
                           const struct jinja_value *string, size_t from, size_t len)
{
    const struct jinja_string *s = string->as.string;
    struct jinja_value part;
    TRY(jinja_string_of(a, &part, bytes_of(s->data + from, len), s->trusted));
    if (s->runs != NULL && len > 0) {
        struct jinja_string *cut = (struct jinja_string *)(uintptr_t)part.as.string;
        size_t first = 0, at = 0;
        while (at + s->runs[first].len <= from)
            at += s->runs[first++].len;
        size_t last = first, end = at;
        while (end + s->runs[last].len < from + len)
            end += s->runs[last++].len;
        struct jinja_run *runs = NULL;
        cut->n_runs = last - first + 1;
        TRY(jinja_alloc(a, &runs, cut->n_runs * sizeof *runs));
        memcpy(runs, s->runs + first, cut->n_runs * sizeof *runs);
        runs[cut->n_runs - 1].len = from + len - end;
        runs[0].len -= from - at;
        cut->runs = runs;
    }
    *out = part;
    return err_ok();
}

struct err jinja_list_new(struct jinja_arena *a, struct jinja_value *out, enum jinja_kind kind)
{
    struct jinja_list *l = NULL;
    TRY(jinja_alloc(a, &l, sizeof *l));
    *out = (struct jinja_value){.kind = kind, .as.list = l};
    return err_ok();
}

struct err jinja_list_add(struct jinja_arena *a, struct jinja_list *l, struct jinja_value item)
{
    if (l->n == l->capacity) {
        size_t capacity = l->capacity == 0 ? 4 : l->capacity * 2;
        struct jinja_value *items = NULL;
        TRY(jinja_alloc(a, &items, capacity * sizeof *items));
        if (l->n > 0)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->n++] = item;
    return err_ok();
}

struct err jinja_dict_new(struct jinja_arena *a, struct jinja_value *out, enum jinja_kind kind)
{
    struct jinja_dict *d = NULL;
    TRY(jinja_alloc(a, &d, sizeof *d));
    *out = (struct jinja_value){.kind = kind, .as.dict = d};
    return err_ok();
}

static struct err dict_append(struct jinja_arena *a, struct jinja_dict *d, struct jinja_value key,
                              struct jinja_value value)
{
    if (d->n == d->capacity) {
        size_t capacity = d->capacity == 0 ? 4 : d->capacity * 2;
        struct jinja_entry *entries = NULL;
        TRY(jinja_alloc(a, &entries, capacity * sizeof *entries));
        if (d->n > 0)
            memcpy(entries, d->entries, d->n * sizeof *entries);
        d->entries = entries;
        d->capacity = capacity;
    }
    d->entries[d->n++] = (struct jinja_entry){key, value};
    return err_ok();
}

const struct jinja_value *jinja_dict_get(const struct jinja_dict *d, const struct jinja_value *key)
{
    for (size_t i = 0; i < d->n; i++)
        if (jinja_equal(&d->entries[i].key, key))
            return &d->entries[i].value;
    return NULL;
}

const struct jinja_value *jinja_dict_get_bytes(const struct jinja_dict *d, struct bytes key)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->entries[i].key.kind == JINJA_STRING &&
            bytes_equal(jinja_bytes(&d->entries[i].key), key))
            return &d->entries[i].value;
    return NULL;
}

struct err jinja_dict_put(struct jinja_arena *a, struct jinja_dict *d, struct jinja_value key,
                          struct jinja_value value)
{
    for (size_t i = 0; i < d->n; i++)
        if (jinja_equal(&d->entries[i].key, &key)) {
            d->entries[i].value = value;
            return err_ok();
        }
    return dict_append(a, d, key, value);
}

static struct err from_json(struct jinja_arena *a, struct jinja_value *out, const json_t *json,
                            bool trusted, unsigned depth);

static struct err from_json_list(struct jinja_arena *a, struct jinja_value *out, const json_t *json,
                                 bool trusted, unsigned depth)
{
    struct jinja_value list;
    TRY(jinja_list_new(a, &list, JINJA_LIST));
    for (size_t i = 0; i < json_array_size(json); i++) {
        struct jinja_value item;
        TRY(from_json(a, &item, json_array_get(json, i), trusted, depth + 1));
        TRY(jinja_list_add(a, list.as.list, item));
    }
    *out = list;
    return err_ok();
}

/* Jansson keeps the order of insertion. Its keys are unique already. */
static struct err from_json_object(struct jinja_arena *a, struct jinja_value *out,
                                   const json_t *json, bool trusted, unsigned depth)
{
    struct jinja_value dict;
    json_t *object = (json_t *)(uintptr_t)json;
    TRY(jinja_dict_new(a, &dict, JINJA_DICT));
    for (void *i = json_object_iter(object); i != NULL; i = json_object_iter_next(object, i)) {
        struct jinja_value key, value;
        struct bytes name = bytes_of(json_object_iter_key(i), json_object_iter_key_len(i));
        TRY(jinja_string_of(a, &key, name, trusted));
        TRY(from_json(a, &value, json_object_iter_value(i), trusted, depth + 1));
        TRY(dict_append(a, dict.as.dict, key, value));
    }
    *out = dict;
    return err_ok();
}

static struct err from_json(struct jinja_arena *a, struct jinja_value *out, const json_t *json,
                            bool trusted, unsigned depth)
{
    if (depth > JSON_DEPTH_MAX)
        return err_set(ERR_LIMIT, "a template's variables are more than %d levels deep",
                       JSON_DEPTH_MAX);
    struct bytes text;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return from_json_object(a, out, json, trusted, depth);
    case JSON_ARRAY:
        return from_json_list(a, out, json, trusted, depth);
    case JSON_STRING:
        text = bytes_of(json_string_value(json), json_string_length(json));
        return jinja_string_of(a, out, text, trusted);
    case JSON_INTEGER:
        *out = jinja_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = jinja_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = jinja_bool(json_is_true(json));
        break;
    default:
        *out = (struct jinja_value){.kind = JINJA_NONE};
        break;
    }
    out->untrusted = !trusted && out->kind != JINJA_NONE;
    return err_ok();
}

struct err jinja_from_json(struct jinja_arena *a, struct jinja_value *out, const json_t *json,
                           bool trusted)
{
    return from_json(a, out, json, trusted, 0);
}
