/*
 * Values of the template interpreter: what Jinja sees of Python's objects. Values live in an arena
 * that is wiped and freed as a whole when a render ends; strings from the caller's JSON are
 * borrowed.
 *
 * Trust: a string knows for each of its runs of bytes whether the template (or the server) wrote it
 * or a message did. Slicing, joining and replacing keep the runs; every other operation gives a
 * string that is trusted only if all of its inputs are. Numbers from messages carry the mark too.
 */
#ifndef ENGINE_JINJA_VALUE_H
#define ENGINE_JINJA_VALUE_H

#include <jansson.h>

#include "common/buf.h"

/* --- arena --- */

struct jinja_arena {
    struct jinja_block *blocks;
    size_t total, max; /* bytes */
};
void jinja_arena_cleanup(struct jinja_arena *a); /* wipes */
/* Sets *(void **)out to `size` zeroed bytes. ERR_LIMIT over a->max, ERR_MEMORY. */
struct err jinja_alloc(struct jinja_arena *a, void *out, size_t size) MUST_USE;

/* --- values --- */

enum jinja_kind {
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_GENERATOR, /* a list that is empty once it was iterated over; always true */
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_LOOP,
    JINJA_CALLABLE,
};

struct jinja_value {
    enum jinja_kind kind;
    bool untrusted; /* of bool, int and float; strings have runs */
    bool safe;      /* of a string: it went through the filter of that name, so + escapes what it
                       joins to it */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct jinja_string *string;
        struct jinja_list *list; /* list, tuple, generator */
        struct jinja_dict *dict; /* dict, namespace */
        const struct jinja_loop *loop;
        const struct jinja_callable *callable;
        const char *what; /* of undefined, for messages; may be NULL */
    } as;
};

struct jinja_run {
    size_t len;
    bool trusted;
};

struct jinja_string {
    const char *data; /* UTF-8, not NUL-terminated */
    size_t len;
    bool trusted;                 /* where runs is NULL; else unused */
    const struct jinja_run *runs; /* covering the string; NULL: one run */
    size_t n_runs;
};

struct jinja_list {
    struct jinja_value *items;
    size_t n, capacity;
};

struct jinja_entry {
    struct jinja_value key, value;
};

struct jinja_dict { /* in order of insertion */
    struct jinja_entry *entries;
    size_t n, capacity;
};

struct jinja_loop {
    const struct jinja_list *items;
    size_t index;
};

#define JINJA_NOTHING ((struct jinja_value){.kind = JINJA_UNDEFINED})

static inline struct jinja_value jinja_bool(bool v)
{
    return (struct jinja_value){.kind = JINJA_BOOL, .as.boolean = v};
}

static inline struct jinja_value jinja_int(int64_t v)
{
    return (struct jinja_value){.kind = JINJA_INT, .as.integer = v};
}

static inline struct jinja_value jinja_float(double v)
{
    return (struct jinja_value){.kind = JINJA_FLOAT, .as.real = v};
}

static inline struct jinja_value jinja_undefined(const char *what)
{
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .as.what = what};
}

/* A string value over borrowed bytes. */
struct err jinja_string_of(struct jinja_arena *a, struct jinja_value *out, struct bytes data,
                           bool trusted) MUST_USE;
struct bytes jinja_bytes(const struct jinja_value *string);
bool jinja_string_is(const struct jinja_value *v, const char *text);
/* Every part of the value was written by the template. */
bool jinja_trusted(const struct jinja_value *v);
/* Bytes [from, from + len) of a string, with their runs. */
struct err jinja_substring(struct jinja_arena *a, struct jinja_value *out,
                           const struct jinja_value *string, size_t from, size_t len) MUST_USE;

struct err jinja_list_new(struct jinja_arena *a, struct jinja_value *out,
                          enum jinja_kind kind) MUST_USE;
struct err jinja_list_add(struct jinja_arena *a, struct jinja_list *l,
                          struct jinja_value item) MUST_USE;
struct err jinja_dict_new(struct jinja_arena *a, struct jinja_value *out,
                          enum jinja_kind kind) MUST_USE;
/* Replaces the value of a key that is there. */
struct err jinja_dict_put(struct jinja_arena *a, struct jinja_dict *d, struct jinja_value key,
                          struct jinja_value value) MUST_USE;
const struct jinja_value *jinja_dict_get(const struct jinja_dict *d, const struct jinja_value *key);
const struct jinja_value *jinja_dict_get_bytes(const struct jinja_dict *d, struct bytes key);

/* A copy of a JSON value (strings stay borrowed), its strings and numbers marked as given. At most
 * 100 levels deep (ERR_LIMIT). */
struct err jinja_from_json(struct jinja_arena *a, struct jinja_value *out, const json_t *json,
                           bool trusted) MUST_USE;

/* "str", "dict", ...: Python's names, for messages. */
const char *jinja_type_name(const struct jinja_value *v);
bool jinja_truth(const struct jinja_value *v);
bool jinja_is_number(const struct jinja_value *v); /* bool, int, float */
double jinja_number(const struct jinja_value *v);
/* Python's ==; never fails. */
bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b);
/* Python's ordering: *order is negative, 0 or positive. ERR_USAGE for types that have none. */
struct err jinja_compare(int *order, const struct jinja_value *a,
                         const struct jinja_value *b) MUST_USE;

/* --- text being written --- */

struct jinja_text {
    struct buf bytes;
    struct buf runs;   /* struct jinja_run, neighbours differing in trust */
    uint64_t n_values; /* that were written and not yet charged: a list's items are, too */
};
void jinja_text_cleanup(struct jinja_text *t); /* wipes */
#define JINJA_TEXT __attribute__((cleanup(jinja_text_cleanup))) struct jinja_text

/* ERR_LIMIT when the text would grow over JINJA_OUTPUT_MAX bytes. */
struct err jinja_text_add(struct jinja_text *t, struct bytes data, bool trusted) MUST_USE;
struct err jinja_text_add_string(struct jinja_text *t, const struct jinja_value *string) MUST_USE;
/* The same with &, <, >, ' and " as HTML has them. */
struct err jinja_text_add_escaped(struct jinja_text *t, const struct jinja_value *string) MUST_USE;
/* str(v), as {{ v }} prints it. */
struct err jinja_text_add_value(struct jinja_text *t, const struct jinja_value *v) MUST_USE;
/* The text as a string in the arena. */
struct err jinja_text_take(struct jinja_text *t, struct jinja_arena *a,
                           struct jinja_value *out) MUST_USE;

/* json.dumps. */
struct jinja_json_style {
    int indent; /* -1: one line */
    bool ascii, sort_keys;
    struct bytes item_separator, key_separator;
};
struct err jinja_text_add_json(struct jinja_text *t, const struct jinja_value *v,
                               const struct jinja_json_style *style) MUST_USE;
/* repr(v) of a float, as Python writes it. */
void jinja_float_repr(char out[40], double v);

/* --- characters --- */

/* The character at data[at], its length in *len; U+FFFD and 1 where it is not UTF-8. */
int32_t jinja_char(struct bytes s, size_t at, size_t *len);
size_t jinja_count_chars(struct bytes s);
/* str.isspace of one character. */
bool jinja_is_space(int32_t c);
/* The byte place of character number `n`, at most s.len. */
size_t jinja_char_place(struct bytes s, size_t n);

enum {
    JINJA_SOURCE_MAX = 256 << 10, /* bytes of a template */
    JINJA_OUTPUT_MAX = 16 << 20,  /* bytes of output, and of any string on the way */
    JINJA_MEMORY_MAX = 128 << 20, /* bytes of values in one render */
    JINJA_STEPS_MAX = 1000000,    /* nodes evaluated, plus one for every 64 bytes handled */
    JINJA_DEPTH_MAX = 600,        /* nodes within nodes while evaluating */
    JINJA_MACRO_DEPTH_MAX = 64,   /* macros within macros */
    JINJA_NESTING_MAX = 64,       /* brackets and blocks within each other, at load */
    JINJA_CHAIN_MAX = 64,         /* filters, subscripts and calls behind one another, at load */
    JINJA_RANGE_MAX = 100000,     /* items of one range() */
};

#endif
