/*
 * Statements: text, {{ }}, and the block tags. Unknown tags are refused with their line.
 */
#include "engine/jinja_parser.h"

#include <string.h>

#include "common/text.h"

struct err parser_node(struct jinja_parser *p, struct jinja_node **out, enum jinja_node_kind kind)
{
    struct jinja_node *node = NULL;
    TRY(jinja_alloc(p->arena, &node, sizeof *node));
    node->kind = kind;
    node->line = p->at->line;
    *out = node;
    return err_ok();
}

static bool at_token(const struct jinja_parser *p, enum jinja_token_kind kind, const char *text)
{
    return p->at->kind == kind && bytes_equal(p->at->text, bytes_of_str(text));
}

bool at_operator(const struct jinja_parser *p, const char *text)
{
    return at_token(p, TOKEN_OPERATOR, text);
}

bool at_name(const struct jinja_parser *p, const char *text)
{
    return at_token(p, TOKEN_NAME, text);
}

bool skip_operator(struct jinja_parser *p, const char *text)
{
    bool here = at_operator(p, text);
    p->at += here;
    return here;
}

bool skip_name(struct jinja_parser *p, const char *text)
{
    bool here = at_name(p, text);
    p->at += here;
    return here;
}

struct err unexpected(const struct jinja_parser *p, const char *wanted)
{
    char shown[84];
    bool end = p->at->kind == TOKEN_END;
    bool tag_end = p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END;
    const char *found = end       ? "the end of the template"
                        : tag_end ? "the end of the tag"
                                  : printable(shown, p->at->text);
    return err_set(ERR_MALFORMED, "chat template, line %u: expected %s and found %s", p->at->line,
                   wanted, found);
}

struct err unsupported(const struct jinja_parser *p, const char *what, struct bytes name)
{
    char shown[84];
    return err_set(ERR_UNSUPPORTED, "chat template, line %u: the %s \"%s\" is not supported",
                   p->at->line, what, printable(shown, name));
}

struct err parser_enter(struct jinja_parser *p)
{
    if (p->depth >= 4 * JINJA_NESTING_MAX)
        return err_set(ERR_LIMIT, "chat template, line %u: nested too deeply", p->at->line);
    p->depth++;
    return err_ok();
}

struct err expect_operator(struct jinja_parser *p, const char *text)
{
    return skip_operator(p, text) ? err_ok() : unexpected(p, text);
}

struct err expect_any_name(struct jinja_parser *p, struct bytes *name)
{
    if (p->at->kind != TOKEN_NAME)
        return unexpected(p, "a name");
    *name = p->at->text;
    p->at++;
    return err_ok();
}

static struct err expect_block_end(struct jinja_parser *p)
{
    if (p->at->kind != TOKEN_BLOCK_END)
        return unexpected(p, "the end of the tag");
    p->at++;
    return err_ok();
}

/* Statements up to a tag whose name is one of `ends` (three, unused ones NULL), which is left with
 * p->at at its name; with no ends, up to the end of the template. */
static struct err parse_statements(struct jinja_parser *p, struct jinja_node **out,
                                   const char *const ends[3]);

/* A variable to set: a name, or with `dotted` name.attribute too. */
static struct err parse_one_target(struct jinja_parser *p, struct jinja_node **out, bool dotted)
{
    struct jinja_node *name = NULL, *attribute = NULL;
    if (at_operator(p, "("))
        return unsupported(p, "target", bytes_of_str("tuple in a tuple"));
    TRY(parser_node(p, &name, NODE_NAME));
    TRY(expect_any_name(p, &name->name));
    *out = name;
    if (!dotted || !skip_operator(p, "."))
        return err_ok();
    TRY(parser_node(p, &attribute, NODE_ATTRIBUTE));
    TRY(expect_any_name(p, &attribute->name));
    attribute->a = name;
    *out = attribute;
    return err_ok();
}

/* a, or a, b with or without brackets around. */
static struct err parse_target(struct jinja_parser *p, struct jinja_node **out, bool dotted)
{
    struct jinja_node *first = NULL, *tuple = NULL;
    bool brackets = skip_operator(p, "(");
    TRY(parse_one_target(p, &first, dotted));
    struct jinja_node **tail = &first->next;
    while (skip_operator(p, ",")) {
        if (tuple == NULL) {
            TRY(parser_node(p, &tuple, NODE_TUPLE));
            tuple->args = first;
        }
        if (p->at->kind != TOKEN_NAME)
            break;
        TRY(parse_one_target(p, tail, dotted));
        tail = &(*tail)->next;
    }
    *out = tuple != NULL ? tuple : first;
    return brackets ? expect_operator(p, ")") : err_ok();
}

static struct err parse_if(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"elif", "else", "endif"};
    static const char *const last[3] = {"endif"};
    struct jinja_node *first = NULL, **place = &first;
    do {
        struct jinja_node *node = NULL;
        p->at++; /* if, elif */
        TRY(parser_node(p, &node, NODE_IF));
        TRY(parse_tuple(p, &node->a, false));
        TRY(expect_block_end(p));
        TRY(parse_statements(p, &node->body, ends));
        *place = node;
        place = &node->other;
    } while (at_name(p, "elif"));
    if (skip_name(p, "else")) {
        TRY(expect_block_end(p));
        TRY(parser_node(p, place, NODE_BODY));
        TRY(parse_statements(p, &(*place)->body, last));
    }
    p->at++; /* endif */
    *out = first;
    return expect_block_end(p);
}

static struct err parse_for(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"else", "endfor"};
    static const char *const last[3] = {"endfor"};
    struct jinja_node *node = NULL;
    p->at++;
    TRY(parser_node(p, &node, NODE_FOR));
    TRY(parse_target(p, &node->target, false));
    if (!skip_name(p, "in"))
        return unexpected(p, "\"in\"");
    TRY(parse_tuple(p, &node->a, false));
    if (skip_name(p, "if"))
        TRY(parse_expression(p, &node->b));
    if (at_name(p, "recursive"))
        return unsupported(p, "loop", p->at->text);
    TRY(expect_block_end(p));
    p->loops++;
    TRY(parse_statements(p, &node->body, ends));
    p->loops--;
    if (skip_name(p, "else")) {
        TRY(expect_block_end(p));
        TRY(parse_statements(p, &node->other, last));
    }
    p->at++;
    *out = node;
    return expect_block_end(p);
}

static struct err parse_set(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"endset"};
    struct jinja_node *node = NULL;
    p->at++;
    TRY(parser_node(p, &node, NODE_SET));
    TRY(parse_target(p, &node->target, true));
    *out = node;
    if (skip_operator(p, "=")) {
        TRY(parse_tuple(p, &node->a, true));
        return expect_block_end(p);
    }
    node->kind = NODE_SET_BLOCK;
    TRY(parser_node(p, &node->a, NODE_CAPTURED));
    TRY(parse_filters(p, &node->a));
    TRY(expect_block_end(p));
    TRY(parse_statements(p, &node->body, ends));
    p->at++;
    return expect_block_end(p);
}

/* {% filter a | b(1) %}text{% endfilter %} */
static struct err parse_filter_block(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"endfilter"};
    p->at++;
    TRY(parser_node(p, out, NODE_SET_BLOCK));
    TRY(parser_node(p, &(*out)->a, NODE_CAPTURED));
    TRY(parse_filter(p, &(*out)->a));
    TRY(parse_filters(p, &(*out)->a));
    TRY(expect_block_end(p));
    TRY(parse_statements(p, &(*out)->body, ends));
    p->at++;
    return expect_block_end(p);
}

static struct err parse_parameters(struct jinja_parser *p, struct jinja_node **args)
{
    struct jinja_node **tail = args;
    TRY(expect_operator(p, "("));
    while (!at_operator(p, ")")) {
        struct jinja_node *parameter = NULL;
        TRY(parser_node(p, &parameter, NODE_KEYWORD));
        TRY(expect_any_name(p, &parameter->name));
        if (skip_operator(p, "="))
            TRY(parse_expression(p, &parameter->a));
        *tail = parameter;
        tail = &parameter->next;
        if (!skip_operator(p, ","))
            break;
    }
    return expect_operator(p, ")");
}

static struct err parse_macro(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"endmacro"};
    struct jinja_node *node = NULL;
    p->at++;
    TRY(parser_node(p, &node, NODE_MACRO));
    TRY(expect_any_name(p, &node->name));
    TRY(parse_parameters(p, &node->args));
    TRY(expect_block_end(p));
    unsigned loops = p->loops;
    bool in_macro = p->in_macro;
    p->loops = 0;
    p->in_macro = true;
    TRY(parse_statements(p, &node->body, ends));
    p->loops = loops;
    p->in_macro = in_macro;
    p->at++;
    *out = node;
    return expect_block_end(p);
}

/* transformers' {% generation %} marks the assistant's tokens; the text is written as it is. */
static struct err parse_generation(struct jinja_parser *p, struct jinja_node **out)
{
    static const char *const ends[3] = {"endgeneration"};
    unsigned loops = p->loops;
    p->at++;
    TRY(parser_node(p, out, NODE_SCOPE));
    TRY(expect_block_end(p));
    p->loops = 0;
    TRY(parse_statements(p, &(*out)->body, ends));
    p->loops = loops;
    p->at++;
    return expect_block_end(p);
}

static struct err parse_jump(struct jinja_parser *p, struct jinja_node **out)
{
    if (p->loops == 0)
        return unexpected(p, "break and continue only in loops");
    TRY(parser_node(p, out, at_name(p, "break") ? NODE_BREAK : NODE_CONTINUE));
    p->at++;
    return expect_block_end(p);
}

/* A tag, p->at at its name. */
static struct err parse_tag(struct jinja_parser *p, struct jinja_node **out)
{
    static const struct {
        const char *name;
        struct err (*parse)(struct jinja_parser *, struct jinja_node **);
    } tags[] = {{"if", parse_if},         {"for", parse_for},
                {"set", parse_set},       {"filter", parse_filter_block},
                {"macro", parse_macro},   {"break", parse_jump},
                {"continue", parse_jump}, {"generation", parse_generation}};
    if (p->at->kind != TOKEN_NAME)
        return unexpected(p, "a tag's name");
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (at_name(p, tags[i].name))
            return tags[i].parse(p, out);
    if (p->at->text.len > 3 && memcmp(p->at->text.data, "end", 3) == 0)
        return unexpected(p, "another tag");
    return unsupported(p, "tag", p->at->text);
}

static struct err parse_one(struct jinja_parser *p, struct jinja_node **out)
{
    if (p->at->kind == TOKEN_TEXT) {
        TRY(parser_node(p, out, NODE_TEXT));
        TRY(jinja_string_of(p->arena, &(*out)->value, p->at->text, true));
        p->at++;
        return err_ok();
    }
    if (p->at->kind == TOKEN_BLOCK_BEGIN) {
        p->at++;
        return parse_tag(p, out);
    }
    p->at++;
    TRY(parser_node(p, out, NODE_PRINT));
    TRY(parse_tuple(p, &(*out)->a, true));
    if (p->at->kind != TOKEN_PRINT_END)
        return unexpected(p, "}}");
    p->at++;
    return err_ok();
}

static bool at_one_of(struct jinja_parser *p, const char *const ends[3])
{
    if (p->at->kind != TOKEN_BLOCK_BEGIN || ends == NULL)
        return false;
    p->at++;
    for (size_t i = 0; i < 3 && ends[i] != NULL; i++)
        if (at_name(p, ends[i]))
            return true;
    p->at--;
    return false;
}

static struct err parse_statements(struct jinja_parser *p, struct jinja_node **out,
                                   const char *const ends[3])
{
    struct jinja_node **tail = out;
    TRY(parser_enter(p));
    while (!at_one_of(p, ends)) {
        if (p->at->kind == TOKEN_END && ends == NULL)
            break;
        if (p->at->kind == TOKEN_END)
            return unexpected(p, ends[0]);
        TRY(parse_one(p, tail));
        tail = &(*tail)->next;
    }
    p->depth--;
    return err_ok();
}

struct err jinja_parse(struct jinja_arena *a, struct jinja_node **out, struct bytes source)
{
    BUF_AUTO tokens = BUF_INIT;
    TRY(jinja_lex(&tokens, source));
    struct jinja_parser p = {.arena = a, .at = (const struct jinja_token *)(void *)tokens.data};
    return parse_statements(&p, out, NULL);
}
