/*
 * The syntax tree of a template, and the built-in names that it may refer to. A tree is immutable
 * once parsed, so one template can be rendered by several threads.
 */
#ifndef ENGINE_JINJA_AST_H
#define ENGINE_JINJA_AST_H

#include "engine/jinja_value.h"

enum jinja_node_kind {
    /* statements */
    NODE_TEXT,      /* value */
    NODE_PRINT,     /* a */
    NODE_IF,        /* a: test, body; other: a NODE_IF or NODE_BODY, or NULL */
    NODE_FOR,       /* target, a: what to iterate over, b: condition or NULL, body, other */
    NODE_SET,       /* target, a */
    NODE_SET_BLOCK, /* target, or NULL to print it; body; a: a filter chain around the text */
    NODE_MACRO,     /* name, args: parameters (NODE_KEYWORD, a: default or NULL), body */
    NODE_BODY,      /* body */
    NODE_SCOPE,     /* body, in a scope of its own */
    NODE_BREAK,
    NODE_CONTINUE,
    /* expressions */
    NODE_CONSTANT,  /* value */
    NODE_CAPTURED,  /* the text of the set block around it */
    NODE_NAME,      /* name */
    NODE_LIST,      /* args */
    NODE_TUPLE,     /* args; also as a target */
    NODE_DICT,      /* args: key, value, key, value, ... */
    NODE_AND,       /* args, two or more */
    NODE_OR,        /* args */
    NODE_NOT,       /* a */
    NODE_NEGATE,    /* a */
    NODE_PLUS,      /* a */
    NODE_CHAIN,     /* a, then args each with the operator that joins it: + - * / // % ** */
    NODE_CONCAT,    /* args: a ~ b ~ c */
    NODE_COMPARE,   /* a, then args each with its operator */
    NODE_CONDITION, /* a: test, b: then, c: else or NULL */
    NODE_ATTRIBUTE, /* a, name; also as a target */
    NODE_ITEM,      /* a, b */
    NODE_SLICE,     /* a, then b, c, d: start, stop, step or NULL */
    NODE_CALL,      /* a, args */
    NODE_FILTER,    /* a, builtin, args */
    NODE_TEST,      /* a, builtin, args, negated */
    NODE_KEYWORD,   /* name, a: an argument by name */
};

enum jinja_operator {
    OP_NONE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
};

struct jinja_node {
    enum jinja_node_kind kind;
    enum jinja_operator op; /* that joins this node to the one before, in chains */
    unsigned line;
    bool negated;
    struct jinja_node *next; /* in the list that it is in */
    struct jinja_node *a, *b, *c, *d;
    struct jinja_node *target, *args, *body, *other;
    struct bytes name;
    struct jinja_value value;
    const struct jinja_builtin *builtin;
};

struct jinja; /* one render */

enum { JINJA_PARAMS_MAX = 5 };

/* The arguments of a call: bound to a built-in's parameters, and as they were given. */
struct jinja_args {
    struct jinja_value *positional;
    size_t n_positional;
    struct jinja_entry *named; /* keys are strings */
    size_t n_named;
    const struct jinja_value *arg[JINJA_PARAMS_MAX]; /* NULL where not given */
};

typedef struct err jinja_function(struct jinja *j, const struct jinja_value *self,
                                  const struct jinja_args *args, struct jinja_value *out);

/* A filter, test, method or function. A test gives a bool. */
struct jinja_builtin {
    const char *name;
    jinja_function *call;
    unsigned n_required;
    const char *params[JINJA_PARAMS_MAX]; /* "*": any arguments, unbound */
};

struct jinja_callable {
    const struct jinja_builtin *builtin; /* or NULL: a macro */
    struct jinja_value self;
    const struct jinja_node *macro;
    struct jinja_frame *frame; /* where the macro was defined */
};

/* NULL where there is none of that name. */
const struct jinja_builtin *jinja_find_filter(struct bytes name);
const struct jinja_builtin *jinja_find_test(struct bytes name);
const struct jinja_builtin *jinja_find_function(struct bytes name);
/* A method of values of this kind. */
const struct jinja_builtin *jinja_find_method(enum jinja_kind kind, struct bytes name);
const struct jinja_builtin *jinja_find_in(const struct jinja_builtin *table, struct bytes name);

/* Parses a source with normalized newlines, which must outlive the tree, into `a`. ERR_MALFORMED or
 * ERR_UNSUPPORTED with the line. */
struct err jinja_parse(struct jinja_arena *a, struct jinja_node **out,
                       struct bytes source) MUST_USE;

#endif
