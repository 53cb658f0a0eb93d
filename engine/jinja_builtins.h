/*
 * What the files of built-ins share.
 */
#ifndef ENGINE_JINJA_BUILTINS_H
#define ENGINE_JINJA_BUILTINS_H

#include "engine/jinja_eval.h"

/* Tables end with an entry without name. */
extern const struct jinja_builtin jinja_string_filters[], jinja_sequence_filters[],
    jinja_order_filters[];

/* A string operation takes its subject as Jinja's filters do: str() of anything. Byte places are
 * within jinja_bytes(string). */
struct err string_strip(struct jinja *j, const struct jinja_value *string,
                        const struct jinja_value *chars, bool left, bool right,
                        struct jinja_value *out) MUST_USE;
struct err string_replace(struct jinja *j, const struct jinja_value *string,
                          const struct jinja_value *from, const struct jinja_value *to, int64_t max,
                          struct jinja_value *out) MUST_USE;
enum string_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE_WORDS, CASE_TITLE_LETTERS };
struct err string_recase(struct jinja *j, const struct jinja_value *string, enum string_case to,
                         struct jinja_value *out) MUST_USE;
/* ERR_USAGE unless the argument is a string. */
struct err need_string(const struct jinja_value *v, const char *what) MUST_USE;

/* a.b.0 of a value; undefined stays undefined. */
struct err attribute_path(struct jinja *j, const struct jinja_value *v,
                          const struct jinja_value *path, struct jinja_value *out) MUST_USE;
/* The pairs of a dict (jinja_sequences.c). */
struct err filter_items(struct jinja *j, const struct jinja_value *self,
                        const struct jinja_args *args, struct jinja_value *out) MUST_USE;
/* An argument as a bool: its truth, or `absent`. */
bool flag_arg(const struct jinja_args *args, size_t index, bool absent);

#endif
