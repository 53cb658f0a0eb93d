/*
 * What the statement parser and the expression parser share.
 */
#ifndef ENGINE_JINJA_PARSER_H
#define ENGINE_JINJA_PARSER_H

#include "engine/jinja_ast.h"
#include "engine/jinja_lex.h"

struct jinja_parser {
    struct jinja_arena *arena;
    const struct jinja_token *at;
    unsigned depth, loops;
    bool in_macro;
};

struct err parser_node(struct jinja_parser *p, struct jinja_node **out,
                       enum jinja_node_kind kind) MUST_USE;
bool at_operator(const struct jinja_parser *p, const char *text);
bool at_name(const struct jinja_parser *p, const char *text);
bool skip_operator(struct jinja_parser *p, const char *text);
bool skip_name(struct jinja_parser *p, const char *text);
struct err expect_operator(struct jinja_parser *p, const char *text) MUST_USE;
struct err expect_any_name(struct jinja_parser *p, struct bytes *name) MUST_USE;
struct err unexpected(const struct jinja_parser *p, const char *wanted) MUST_USE;
struct err unsupported(const struct jinja_parser *p, const char *what, struct bytes name) MUST_USE;
/* One level deeper into brackets, operators or blocks; undone by p->depth--. */
struct err parser_enter(struct jinja_parser *p) MUST_USE;

/* (jinja_expr.c) */
struct err parse_expression(struct jinja_parser *p, struct jinja_node **out) MUST_USE;
/* Without "a if b else c": what follows `in` of a loop. */
struct err parse_or(struct jinja_parser *p, struct jinja_node **out) MUST_USE;
/* a, or a tuple a, b, c without brackets. */
struct err parse_tuple(struct jinja_parser *p, struct jinja_node **out, bool conditions) MUST_USE;
struct err parse_primary(struct jinja_parser *p, struct jinja_node **out) MUST_USE;
/* (jinja_postfix.c) .name [item] (arguments) behind `node`. */
struct err parse_postfix(struct jinja_parser *p, struct jinja_node **node) MUST_USE;
/* One filter without its |, applied to `node`. */
struct err parse_filter(struct jinja_parser *p, struct jinja_node **node) MUST_USE;
/* | filter | filter ... behind `node`. */
struct err parse_filters(struct jinja_parser *p, struct jinja_node **node) MUST_USE;
/* (jinja_literal.c) Strings with escapes, numbers. */
struct err parse_literal(struct jinja_parser *p, struct jinja_node **out) MUST_USE;

#endif
