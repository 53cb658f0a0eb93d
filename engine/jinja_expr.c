/*
 * Expressions, in the order of Jinja's own grammar: each function is one level of precedence.
 */
#include "engine/jinja_parser.h"

struct operator_name {
    const char *text;
    enum jinja_operator op;
};

static enum jinja_operator operator_at(const struct jinja_parser *p,
                                       const struct operator_name *table)
{
    for (; table->text != NULL; table++)
        if (at_operator(p, table->text))
            return table->op;
    return OP_NONE;
}

static void append(struct jinja_node ***tail, struct jinja_node *node)
{
    **tail = node;
    *tail = &node->next;
}

static struct err parse_unary(struct jinja_parser *p, struct jinja_node **out, bool filters);

/* a op b op c with the operators of `table`, left to right, as one node. */
static struct err parse_chain(struct jinja_parser *p, struct jinja_node **out,
                              const struct operator_name *table,
                              struct err (*parse)(struct jinja_parser *, struct jinja_node **))
{
    struct jinja_node *first = NULL, *chain = NULL, **tail = NULL;
    TRY(parse(p, &first));
    for (enum jinja_operator op; (op = operator_at(p, table)) != OP_NONE;) {
        p->at++;
        struct jinja_node *operand = NULL;
        TRY(parse(p, &operand));
        if (chain == NULL) {
            TRY(parser_node(p, &chain, NODE_CHAIN));
            chain->a = first;
            tail = &chain->args;
        }
        operand->op = op;
        append(&tail, operand);
    }
    *out = chain != NULL ? chain : first;
    return err_ok();
}

static struct err parse_operand(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_unary(p, out, true);
}

static struct err parse_power(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_name table[] = {{"**", OP_POW}, {NULL, OP_NONE}};
    return parse_chain(p, out, table, parse_operand);
}

static struct err parse_product(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_name table[] = {
        {"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}, {NULL, OP_NONE}};
    return parse_chain(p, out, table, parse_power);
}

/* Operands of one kind of node joined by one word or sign. */
static struct err parse_joined(struct jinja_parser *p, struct jinja_node **out, const char *joint,
                               enum jinja_node_kind kind,
                               struct err (*parse)(struct jinja_parser *, struct jinja_node **))
{
    struct jinja_node *first = NULL, *joined = NULL, **tail = NULL;
    TRY(parse(p, &first));
    while (skip_operator(p, joint) || skip_name(p, joint)) {
        struct jinja_node *operand = NULL;
        TRY(parse(p, &operand));
        if (joined == NULL) {
            TRY(parser_node(p, &joined, kind));
            tail = &joined->args;
            append(&tail, first);
        }
        append(&tail, operand);
    }
    *out = joined != NULL ? joined : first;
    return err_ok();
}

static struct err parse_concat(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_joined(p, out, "~", NODE_CONCAT, parse_product);
}

static struct err parse_sum(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct operator_name table[] = {{"+", OP_ADD}, {"-", OP_SUB}, {NULL, OP_NONE}};
    return parse_chain(p, out, table, parse_concat);
}

static enum jinja_operator skip_comparison(struct jinja_parser *p)
{
    static const struct operator_name table[] = {{"==", OP_EQ},  {"!=", OP_NE}, {"<=", OP_LE},
                                                 {">=", OP_GE},  {"<", OP_LT},  {">", OP_GT},
                                                 {NULL, OP_NONE}};
    enum jinja_operator op = operator_at(p, table);
    if (op != OP_NONE) {
        p->at++;
        return op;
    }
    if (skip_name(p, "in"))
        return OP_IN;
    if (at_name(p, "not") && p->at[1].kind == TOKEN_NAME &&
        bytes_equal(p->at[1].text, bytes_of_str("in"))) {
        p->at += 2;
        return OP_NOT_IN;
    }
    return OP_NONE;
}

static struct err parse_compare(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *first = NULL, *compare = NULL, **tail = NULL;
    TRY(parse_sum(p, &first));
    for (enum jinja_operator op; (op = skip_comparison(p)) != OP_NONE;) {
        struct jinja_node *operand = NULL;
        TRY(parse_sum(p, &operand));
        if (compare == NULL) {
            TRY(parser_node(p, &compare, NODE_COMPARE));
            compare->a = first;
            tail = &compare->args;
        }
        operand->op = op;
        append(&tail, operand);
    }
    *out = compare != NULL ? compare : first;
    return err_ok();
}

static struct err parse_not(struct jinja_parser *p, struct jinja_node **out)
{
    if (!skip_name(p, "not"))
        return parse_compare(p, out);
    struct jinja_node *node = NULL;
    TRY(parser_enter(p));
    TRY(parser_node(p, &node, NODE_NOT));
    TRY(parse_not(p, &node->a));
    p->depth--;
    *out = node;
    return err_ok();
}

static struct err parse_and(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_joined(p, out, "and", NODE_AND, parse_not);
}

struct err parse_or(struct jinja_parser *p, struct jinja_node **out)
{
    return parse_joined(p, out, "or", NODE_OR, parse_and);
}

struct err parse_expression(struct jinja_parser *p, struct jinja_node **out)
{
    TRY(parser_enter(p));
    struct jinja_node *node = NULL;
    TRY(parse_or(p, &node));
    for (unsigned n = 0; skip_name(p, "if"); n++) {
        struct jinja_node *condition = NULL;
        if (n == JINJA_CHAIN_MAX)
            return unexpected(p, "fewer conditions behind one another");
        TRY(parser_node(p, &condition, NODE_CONDITION));
        condition->b = node;
        TRY(parse_or(p, &condition->a));
        if (skip_name(p, "else"))
            TRY(parse_expression(p, &condition->c));
        node = condition;
    }
    p->depth--;
    *out = node;
    return err_ok();
}

static bool at_tuple_end(const struct jinja_parser *p)
{
    return p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END ||
           at_operator(p, ")") || at_operator(p, "]") || at_name(p, "in") || at_operator(p, "=");
}

struct err parse_tuple(struct jinja_parser *p, struct jinja_node **out, bool conditions)
{
    struct jinja_node *first = NULL, *tuple = NULL, **tail = NULL;
    TRY(conditions ? parse_expression(p, &first) : parse_or(p, &first));
    while (skip_operator(p, ",")) {
        if (tuple == NULL) {
            TRY(parser_node(p, &tuple, NODE_TUPLE));
            tail = &tuple->args;
            append(&tail, first);
        }
        if (at_tuple_end(p))
            break;
        struct jinja_node *item = NULL;
        TRY(conditions ? parse_expression(p, &item) : parse_or(p, &item));
        append(&tail, item);
    }
    *out = tuple != NULL ? tuple : first;
    return err_ok();
}

static struct err parse_brackets(struct jinja_parser *p, struct jinja_node **out)
{
    p->at++;
    if (at_operator(p, ")"))
        TRY(parser_node(p, out, NODE_TUPLE));
    else
        TRY(parse_tuple(p, out, true));
    return expect_operator(p, ")");
}

static struct err parse_list(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *list = NULL;
    TRY(parser_node(p, &list, NODE_LIST));
    struct jinja_node **tail = &list->args;
    for (p->at++; !at_operator(p, "]");) {
        struct jinja_node *item = NULL;
        TRY(parse_expression(p, &item));
        append(&tail, item);
        if (!skip_operator(p, ","))
            break;
    }
    *out = list;
    return expect_operator(p, "]");
}

static struct err parse_dict(struct jinja_parser *p, struct jinja_node **out)
{
    struct jinja_node *dict = NULL;
    TRY(parser_node(p, &dict, NODE_DICT));
    struct jinja_node **tail = &dict->args;
    for (p->at++; !at_operator(p, "}");) {
        struct jinja_node *key = NULL, *value = NULL;
        TRY(parse_expression(p, &key));
        TRY(expect_operator(p, ":"));
        TRY(parse_expression(p, &value));
        append(&tail, key);
        append(&tail, value);
        if (!skip_operator(p, ","))
            break;
    }
    *out = dict;
    return expect_operator(p, "}");
}

/* Names that Jinja gives a meaning which we don't. */
static struct err check_name(const struct jinja_parser *p, struct bytes name)
{
    static const char *const refused[] = {"cycler", "joiner", "lipsum", "super", "self"};
    static const char *const in_macro[] = {"caller", "varargs", "kwargs"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (bytes_equal(name, bytes_of_str(refused[i])) && p->at[1].kind == TOKEN_OPERATOR &&
            bytes_equal(p->at[1].text, bytes_of_str("(")))
            return unsupported(p, "function", name);
    for (size_t i = 0; i < sizeof in_macro / sizeof in_macro[0]; i++)
        if (p->in_macro && bytes_equal(name, bytes_of_str(in_macro[i])))
            return unsupported(p, "name in a macro", name);
    return err_ok();
}

static struct err parse_name(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct {
        const char *name;
        enum jinja_kind kind;
        bool value;
    } constants[] = {{"true", JINJA_BOOL, true},   {"True", JINJA_BOOL, true},
                     {"false", JINJA_BOOL, false}, {"False", JINJA_BOOL, false},
                     {"none", JINJA_NONE, false},  {"None", JINJA_NONE, false}};
    struct jinja_node *node = NULL;
    TRY(parser_node(p, &node, NODE_NAME));
    node->name = p->at->text;
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (at_name(p, constants[i].name)) {
            node->kind = NODE_CONSTANT;
            node->value.kind = constants[i].kind;
            node->value.as.boolean = constants[i].value;
        }
    TRY(check_name(p, node->name));
    p->at++;
    *out = node;
    return err_ok();
}

struct err parse_primary(struct jinja_parser *p, struct jinja_node **out)
{
    if (p->at->kind == TOKEN_NAME)
        return parse_name(p, out);
    if (p->at->kind == TOKEN_STRING || p->at->kind == TOKEN_INTEGER || p->at->kind == TOKEN_FLOAT)
        return parse_literal(p, out);
    if (at_operator(p, "("))
        return parse_brackets(p, out);
    if (at_operator(p, "["))
        return parse_list(p, out);
    if (at_operator(p, "{"))
        return parse_dict(p, out);
    return unexpected(p, "an expression");
}

static struct err parse_unary(struct jinja_parser *p, struct jinja_node **out, bool filters)
{
    struct jinja_node *node = NULL;
    TRY(parser_enter(p));
    if (at_operator(p, "-") || at_operator(p, "+")) {
        TRY(parser_node(p, &node, at_operator(p, "-") ? NODE_NEGATE : NODE_PLUS));
        p->at++;
        TRY(parse_unary(p, &node->a, false));
    } else {
        TRY(parse_primary(p, &node));
    }
    TRY(parse_postfix(p, &node));
    if (filters)
        TRY(parse_filters(p, &node));
    p->depth--;
    *out = node;
    return err_ok();
}
