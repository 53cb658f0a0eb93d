/*
 * What follows an operand: attributes, subscripts, calls, filters and tests. Names of filters,
 * tests and methods are resolved here, so an unknown one is refused when the template is loaded.
 */
#include "engine/jinja_parser.h"

static void append(struct jinja_node ***tail, struct jinja_node *node)
{
    **tail = node;
    *tail = &node->next;
}

/* (a, b, name=c), from the bracket on. */
static struct err parse_arguments(struct jinja_parser *p, struct jinja_node **args)
{
    struct jinja_node **tail = args;
    bool named = false;
    TRY(expect_operator(p, "("));
    while (!at_operator(p, ")")) {
        struct jinja_node *arg = NULL;
        if (at_operator(p, "*") || at_operator(p, "**"))
            return unsupported(p, "argument", p->at->text);
        if (p->at->kind == TOKEN_NAME && p->at[1].kind == TOKEN_OPERATOR &&
            bytes_equal(p->at[1].text, bytes_of_str("="))) {
            named = true;
            TRY(parser_node(p, &arg, NODE_KEYWORD));
            arg->name = p->at->text;
            p->at += 2;
            TRY(parse_expression(p, &arg->a));
        } else if (named) {
            return unexpected(p, "an argument by name");
        } else {
            TRY(parse_expression(p, &arg));
        }
        append(&tail, arg);
        if (!skip_operator(p, ","))
            break;
    }
    return expect_operator(p, ")");
}

/* Only methods that exist can be called; loop.cycle and loop.changed are not there. */
static struct err check_attribute(const struct jinja_parser *p, const struct jinja_node *of,
                                  struct bytes name)
{
    bool loop = of->kind == NODE_NAME && bytes_equal(of->name, bytes_of_str("loop"));
    if (loop &&
        (bytes_equal(name, bytes_of_str("cycle")) || bytes_equal(name, bytes_of_str("changed"))))
        return unsupported(p, "attribute of loop", name);
    bool called = p->at[1].kind == TOKEN_OPERATOR && bytes_equal(p->at[1].text, bytes_of_str("("));
    if (called && jinja_find_method(JINJA_STRING, name) == NULL &&
        jinja_find_method(JINJA_DICT, name) == NULL && jinja_find_method(JINJA_LIST, name) == NULL)
        return unsupported(p, "method", name);
    return err_ok();
}

static struct err parse_subscript(struct jinja_parser *p, struct jinja_node *node)
{
    p->at++;
    node->kind = NODE_ITEM;
    if (!at_operator(p, ":"))
        TRY(parse_expression(p, &node->b));
    if (at_operator(p, ",") || (at_operator(p, "]") && node->b == NULL))
        return unsupported(p, "subscript", p->at->text);
    if (skip_operator(p, ":")) {
        node->kind = NODE_SLICE;
        if (!at_operator(p, ":") && !at_operator(p, "]"))
            TRY(parse_expression(p, &node->c));
        if (skip_operator(p, ":") && !at_operator(p, "]"))
            TRY(parse_expression(p, &node->d));
    }
    return expect_operator(p, "]");
}

static struct err parse_dot(struct jinja_parser *p, struct jinja_node *node)
{
    p->at++;
    if (p->at->kind == TOKEN_INTEGER) {
        node->kind = NODE_ITEM;
        return parse_literal(p, &node->b);
    }
    if (p->at->kind != TOKEN_NAME)
        return unexpected(p, "a name behind the dot");
    TRY(check_attribute(p, node->a, p->at->text));
    return expect_any_name(p, &node->name);
}

static struct err count_link(const struct jinja_parser *p, unsigned *n)
{
    return ++*n > JINJA_CHAIN_MAX ? unexpected(p, "a shorter chain of subscripts and filters")
                                  : err_ok();
}

struct err parse_postfix(struct jinja_parser *p, struct jinja_node **node)
{
    unsigned n_links = 0;
    while (at_operator(p, ".") || at_operator(p, "[") || at_operator(p, "(")) {
        struct jinja_node *outer = NULL;
        TRY(count_link(p, &n_links));
        TRY(parser_node(p, &outer, at_operator(p, "(") ? NODE_CALL : NODE_ATTRIBUTE));
        outer->a = *node;
        if (at_operator(p, "."))
            TRY(parse_dot(p, outer));
        else if (at_operator(p, "["))
            TRY(parse_subscript(p, outer));
        else
            TRY(parse_arguments(p, &outer->args));
        *node = outer;
    }
    return err_ok();
}

struct err parse_filter(struct jinja_parser *p, struct jinja_node **node)
{
    struct jinja_node *filter = NULL;
    TRY(parser_node(p, &filter, NODE_FILTER));
    filter->builtin = jinja_find_filter(p->at->text);
    if (p->at->kind == TOKEN_NAME && filter->builtin == NULL)
        return unsupported(p, "filter", p->at->text);
    TRY(expect_any_name(p, &filter->name));
    filter->a = *node;
    if (at_operator(p, "("))
        TRY(parse_arguments(p, &filter->args));
    *node = filter;
    return err_ok();
}

static bool at_test_argument(const struct jinja_parser *p)
{
    if (p->at->kind == TOKEN_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and");
    return p->at->kind == TOKEN_STRING || p->at->kind == TOKEN_INTEGER ||
           p->at->kind == TOKEN_FLOAT || at_operator(p, "[") || at_operator(p, "{");
}

/* Behind "is". */
static struct err parse_test(struct jinja_parser *p, struct jinja_node **node)
{
    struct jinja_node *test = NULL;
    TRY(parser_node(p, &test, NODE_TEST));
    test->negated = skip_name(p, "not");
    test->builtin = jinja_find_test(p->at->text);
    if (p->at->kind == TOKEN_NAME && test->builtin == NULL)
        return unsupported(p, "test", p->at->text);
    TRY(expect_any_name(p, &test->name));
    test->a = *node;
    if (at_operator(p, "(")) {
        TRY(parse_arguments(p, &test->args));
    } else if (at_test_argument(p)) {
        if (at_name(p, "is"))
            return unexpected(p, "no second \"is\"");
        TRY(parse_primary(p, &test->args));
        TRY(parse_postfix(p, &test->args));
    }
    *node = test;
    return err_ok();
}

struct err parse_filters(struct jinja_parser *p, struct jinja_node **node)
{
    unsigned n_links = 0;
    for (;;) {
        TRY(count_link(p, &n_links));
        if (skip_operator(p, "|"))
            TRY(parse_filter(p, node));
        else if (skip_name(p, "is"))
            TRY(parse_test(p, node));
        else if (at_operator(p, "("))
            TRY(parse_postfix(p, node));
        else
            return err_ok();
    }
}
