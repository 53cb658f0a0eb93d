/*
 * Attributes, items and slices. Nothing of an object can be reached but its items and the methods
 * listed in jinja_methods.c.
 */
#include "engine/jinja_eval.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

/* "'dict' has no 'name', which" for the message of a later use. */
static struct err missing(struct jinja *j, const struct jinja_value *object, struct bytes name,
                          struct jinja_value *out)
{
    char shown[84], text[160], *what = NULL;
    int n = snprintf(text, sizeof text, "'%s' (of a %s)", printable(shown, name),
                     jinja_type_name(object));
    TRY(jinja_alloc(&j->arena, &what, (size_t)n + 1));
    memcpy(what, text, (size_t)n + 1);
    *out = jinja_undefined(what);
    return err_ok();
}

static struct err method_of(struct jinja *j, const struct jinja_value *object,
                            const struct jinja_builtin *method, struct jinja_value *out)
{
    struct jinja_callable *callable = NULL;
    TRY(jinja_alloc(&j->arena, &callable, sizeof *callable));
    callable->builtin = method;
    callable->self = *object;
    *out = (struct jinja_value){.kind = JINJA_CALLABLE, .as.callable = callable};
    return err_ok();
}

static bool loop_attribute(const struct jinja_loop *l, struct bytes name, struct jinja_value *out)
{
    int64_t index = (int64_t)l->index, n = (int64_t)l->items->n;
    const struct {
        const char *name;
        struct jinja_value value;
    } known[] = {
        {"index", jinja_int(index + 1)},
        {"index0", jinja_int(index)},
        {"first", jinja_bool(index == 0)},
        {"last", jinja_bool(index == n - 1)},
        {"length", jinja_int(n)},
        {"revindex", jinja_int(n - index)},
        {"revindex0", jinja_int(n - index - 1)},
        {"depth", jinja_int(1)}, /* of recursive loops, which are not supported */
        {"depth0", jinja_int(0)},
        {"previtem", index > 0 ? l->items->items[index - 1] : jinja_undefined("loop.previtem")},
        {"nextitem", index + 1 < n ? l->items->items[index + 1] : jinja_undefined("loop.nextitem")},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (bytes_equal(name, bytes_of_str(known[i].name))) {
            *out = known[i].value;
            return true;
        }
    return false;
}

/* An entry by its name, in a dict or namespace; false for other objects. */
static struct err entry_of(struct jinja *j, const struct jinja_value *object, struct bytes name,
                           const struct jinja_value **entry)
{
    *entry = NULL;
    if (object->kind != JINJA_DICT && object->kind != JINJA_NAMESPACE)
        return err_ok();
    TRY(jinja_charge(j, object->as.dict->n));
    *entry = jinja_dict_get_bytes(object->as.dict, name);
    return err_ok();
}

/* Methods before items, as Jinja does for a dot. */
struct err jinja_attribute(struct jinja *j, const struct jinja_value *object, struct bytes name,
                           struct jinja_value *out)
{
    const struct jinja_value *entry = NULL;
    if (object->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(object);
    const struct jinja_builtin *method = jinja_find_method(object->kind, name);
    if (method != NULL)
        return method_of(j, object, method, out);
    if (object->kind == JINJA_LOOP && loop_attribute(object->as.loop, name, out))
        return err_ok();
    TRY(entry_of(j, object, name, &entry));
    if (entry == NULL)
        return missing(j, object, name, out);
    *out = *entry;
    return err_ok();
}

static struct err index_of(struct jinja *j, const struct jinja_value *object, int64_t index,
                           struct jinja_value *out)
{
    char number[32];
    bool string = object->kind == JINJA_STRING;
    struct bytes s = string ? jinja_bytes(object) : (struct bytes){NULL, 0};
    int64_t n = (int64_t)(string ? jinja_count_chars(s) : object->as.list->n);
    int64_t at = index < 0 ? index + n : index;
    if (at < 0 || at >= n) {
        snprintf(number, sizeof number, "%lld", (long long)index);
        return missing(j, object, bytes_of_str(number), out);
    }
    if (!string) {
        *out = object->as.list->items[at];
        return err_ok();
    }
    size_t len = 0, place = jinja_char_place(s, (size_t)at);
    (void)jinja_char(s, place, &len);
    TRY(jinja_charge(j, s.len));
    return jinja_substring(&j->arena, out, object, place, len);
}

/* Items before methods, as Jinja does for brackets. */
struct err jinja_item(struct jinja *j, const struct jinja_value *object,
                      const struct jinja_value *key, struct jinja_value *out)
{
    if (object->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(object);
    if (object->kind == JINJA_DICT) {
        TRY(jinja_charge(j, object->as.dict->n));
        const struct jinja_value *entry = jinja_dict_get(object->as.dict, key);
        if (entry != NULL) {
            *out = *entry;
            return err_ok();
        }
    }
    bool indexed =
        object->kind == JINJA_LIST || object->kind == JINJA_TUPLE || object->kind == JINJA_STRING;
    if (indexed && (key->kind == JINJA_INT || key->kind == JINJA_BOOL))
        return index_of(j, object, key->kind == JINJA_INT ? key->as.integer : key->as.boolean, out);
    if (key->kind == JINJA_STRING)
        return jinja_attribute(j, object, jinja_bytes(key), out);
    return missing(j, object, bytes_of_str(jinja_type_name(key)), out);
}

/* Python's slice.indices: bounds for `n` items; *count is how many the slice has. */
static struct err slice_bounds(const struct jinja_value bounds[3], int64_t n, int64_t *start,
                               int64_t *step, int64_t *count)
{
    int64_t stop = 0;
    *step = 1;
    if (bounds[2].kind != JINJA_NONE)
        TRY(jinja_to_int(&bounds[2], "a slice's step", step));
    if (*step == 0)
        return err_set(ERR_USAGE, "a slice's step is 0");
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    int64_t *const ends[2] = {start, &stop};
    for (size_t i = 0; i < 2; i++) {
        if (bounds[i].kind == JINJA_NONE) {
            *ends[i] = (i == 0) == (*step > 0) ? low : high;
            continue;
        }
        TRY(jinja_to_int(&bounds[i], "a slice's bound", ends[i]));
        if (*ends[i] < 0)
            *ends[i] = *ends[i] < -n ? low : *ends[i] + n;
        *ends[i] = *ends[i] < low ? low : *ends[i] > high ? high : *ends[i];
    }
    int64_t distance = *step > 0 ? stop - *start : *start - stop;
    uint64_t stride = *step > 0 ? (uint64_t)*step : 0 - (uint64_t)*step;
    *count = distance > 0 ? (int64_t)(((uint64_t)distance - 1) / stride) + 1 : 0;
    return err_ok();
}

/* The byte places of the characters of a string, and its end. */
static struct err char_places(struct jinja *j, struct bytes s, size_t n, size_t **out)
{
    size_t *places = NULL, at = 0;
    TRY(jinja_alloc(&j->arena, &places, (n + 1) * sizeof *places));
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] & 0xc0) != 0x80)
            places[at++] = i;
    places[n] = s.len;
    *out = places;
    return err_ok();
}

static struct err slice_string(struct jinja *j, const struct jinja_value *object, int64_t start,
                               int64_t step, int64_t count, struct jinja_value *out)
{
    struct bytes s = jinja_bytes(object);
    TRY(jinja_charge(j, s.len));
    if (step == 1 || count <= 1) {
        size_t from = jinja_char_place(s, (size_t)start);
        struct bytes rest = bytes_of(s.data + from, s.len - from);
        return jinja_substring(&j->arena, out, object, from, jinja_char_place(rest, (size_t)count));
    }
    size_t *places = NULL;
    JINJA_TEXT text = {0};
    TRY(char_places(j, s, jinja_count_chars(s), &places));
    for (int64_t i = 0; i < count; i++) {
        struct jinja_value c;
        size_t at = (size_t)(start + i * step);
        TRY(jinja_charge(j, 0));
        TRY(jinja_substring(&j->arena, &c, object, places[at], places[at + 1] - places[at]));
        TRY(jinja_text_add_string(&text, &c));
    }
    return jinja_text_take(&text, &j->arena, out);
}

struct err jinja_slice(struct jinja *j, const struct jinja_value *object,
                       const struct jinja_value bounds[3], struct jinja_value *out)
{
    int64_t start = 0, step = 1, count = 0;
    if (object->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(object);
    if (object->kind == JINJA_STRING) {
        int64_t n = (int64_t)jinja_count_chars(jinja_bytes(object));
        TRY(slice_bounds(bounds, n, &start, &step, &count));
        return slice_string(j, object, count > 0 ? start : 0, step, count, out);
    }
    if (object->kind != JINJA_LIST && object->kind != JINJA_TUPLE)
        return err_set(ERR_USAGE, "a %s cannot be sliced", jinja_type_name(object));
    struct jinja_value part;
    TRY(slice_bounds(bounds, (int64_t)object->as.list->n, &start, &step, &count));
    TRY(jinja_charge(j, (size_t)count * sizeof part));
    TRY(jinja_list_new(&j->arena, &part, object->kind));
    for (int64_t i = 0; i < count; i++)
        TRY(jinja_list_add(&j->arena, part.as.list, object->as.list->items[start + i * step]));
    *out = part;
    return err_ok();
}
