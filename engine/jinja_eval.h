/*
 * One render: its memory, its bounds, its output and its scopes.
 */
#ifndef ENGINE_JINJA_EVAL_H
#define ENGINE_JINJA_EVAL_H

#include "engine/jinja_ast.h"

struct jinja_binding {
    struct jinja_binding *next;
    struct bytes name;
    struct jinja_value value;
};

/* A scope. Lookups go outwards; assignments stay in the innermost. */
struct jinja_frame {
    struct jinja_frame *outer;
    struct jinja_binding *bindings;
};

enum jinja_jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

struct jinja {
    struct jinja_arena arena;
    struct jinja_text *out; /* of the template, or of the macro or set block being run */
    struct jinja_frame *frame;
    enum jinja_jump jump;
    uint64_t steps;
    unsigned depth, macro_depth;
    unsigned line; /* of the node evaluated last */
    bool raised;   /* by raise_exception: its text is the whole message */
    struct jinja_value captured;
    int64_t now; /* seconds since 1970, for strftime_now */
};

/* Counts work against JINJA_STEPS_MAX: one step and one for every 64 bytes. */
struct err jinja_charge(struct jinja *j, size_t n_bytes) MUST_USE;
/* Counts what was written to `t` behind its first `before` bytes: every 64 bytes, and every value.
 */
struct err jinja_charge_text(struct jinja *j, struct jinja_text *t, size_t before) MUST_USE;
struct err jinja_enter(struct jinja *j) MUST_USE; /* undone by j->depth-- */

/* Runs a list of statements (jinja_exec.c). */
struct err jinja_exec(struct jinja *j, const struct jinja_node *list) MUST_USE;
struct err jinja_frame_push(struct jinja *j) MUST_USE; /* undone by j->frame = j->frame->outer */
struct err jinja_bind(struct jinja *j, struct bytes name, struct jinja_value value) MUST_USE;

/* (jinja_eval.c) */
struct err jinja_eval(struct jinja *j, const struct jinja_node *n,
                      struct jinja_value *out) MUST_USE;
/* (jinja_call.c) */
struct err jinja_eval_args(struct jinja *j, const struct jinja_node *list,
                           struct jinja_args *out) MUST_USE;
struct err jinja_call_builtin(struct jinja *j, const struct jinja_builtin *b,
                              const struct jinja_value *self, struct jinja_args *args,
                              struct jinja_value *out) MUST_USE;
struct err jinja_call(struct jinja *j, const struct jinja_value *callee, struct jinja_args *args,
                      struct jinja_value *out) MUST_USE;
/* (jinja_access.c) object.name, object[key], object[start:stop:step]. */
struct err jinja_attribute(struct jinja *j, const struct jinja_value *object, struct bytes name,
                           struct jinja_value *out) MUST_USE;
struct err jinja_item(struct jinja *j, const struct jinja_value *object,
                      const struct jinja_value *key, struct jinja_value *out) MUST_USE;
struct err jinja_slice(struct jinja *j, const struct jinja_value *object,
                       const struct jinja_value bounds[3], struct jinja_value *out) MUST_USE;
/* (jinja_operators.c) */
struct err jinja_operate(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                         const struct jinja_value *b, struct jinja_value *out) MUST_USE;
struct err jinja_relate(struct jinja *j, enum jinja_operator op, const struct jinja_value *a,
                        const struct jinja_value *b, bool *out) MUST_USE;

/* What a loop, a filter or an unpacking goes over, as a list: items of lists, keys of dicts,
 * characters of strings; nothing of undefined. A generator is empty afterwards. */
struct err jinja_iterate(struct jinja *j, const struct jinja_value *v,
                         struct jinja_list **out) MUST_USE;
/* str(v) as a value. */
struct err jinja_to_string(struct jinja *j, const struct jinja_value *v,
                           struct jinja_value *out) MUST_USE;
/* "'x' is undefined", ERR_USAGE. */
struct err jinja_undefined_error(const struct jinja_value *v) MUST_USE;
/* An int (or bool) argument. ERR_USAGE names `what`. */
struct err jinja_to_int(const struct jinja_value *v, const char *what, int64_t *out) MUST_USE;

#endif
