/*
 * Evaluating expressions.
 */
#include "engine/jinja_eval.h"

#include <string.h>

struct err jinja_undefined_error(const struct jinja_value *v)
{
    return err_set(ERR_USAGE, "%s is undefined", v->as.what != NULL ? v->as.what : "a value");
}

struct err jinja_to_int(const struct jinja_value *v, const char *what, int64_t *out)
{
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return err_set(ERR_USAGE, "%s is a %s and must be an int", what, jinja_type_name(v));
    *out = v->kind == JINJA_INT ? v->as.integer : v->as.boolean;
    return err_ok();
}

struct err jinja_to_string(struct jinja *j, const struct jinja_value *v, struct jinja_value *out)
{
    if (v->kind == JINJA_STRING) {
        *out = *v;
        return err_ok();
    }
    JINJA_TEXT text = {0};
    TRY(jinja_text_add_value(&text, v));
    TRY(jinja_charge_text(j, &text, 0));
    return jinja_text_take(&text, &j->arena, out);
}

static struct err iterate_chars(struct jinja *j, const struct jinja_value *v,
                                struct jinja_list *list)
{
    struct bytes s = jinja_bytes(v);
    for (size_t i = 0, len = 0; i < s.len; i += len) {
        struct jinja_value c;
        (void)jinja_char(s, i, &len);
        TRY(jinja_charge(j, 0));
        TRY(jinja_substring(&j->arena, &c, v, i, len));
        TRY(jinja_list_add(&j->arena, list, c));
    }
    return err_ok();
}

struct err jinja_iterate(struct jinja *j, const struct jinja_value *v, struct jinja_list **out)
{
    struct jinja_value list;
    if (v->kind == JINJA_LIST || v->kind == JINJA_TUPLE) {
        *out = v->as.list;
        return err_ok();
    }
    TRY(jinja_list_new(&j->arena, &list, JINJA_LIST));
    switch (v->kind) {
    case JINJA_GENERATOR:
        *list.as.list = *v->as.list;
        *v->as.list = (struct jinja_list){0};
        break;
    case JINJA_STRING:
        TRY(iterate_chars(j, v, list.as.list));
        break;
    case JINJA_DICT:
        TRY(jinja_charge(j, v->as.dict->n));
        for (size_t i = 0; i < v->as.dict->n; i++)
            TRY(jinja_list_add(&j->arena, list.as.list, v->as.dict->entries[i].key));
        break;
    case JINJA_UNDEFINED:
        break;
    default:
        return err_set(ERR_USAGE, "a %s cannot be iterated over", jinja_type_name(v));
    }
    *out = list.as.list;
    return err_ok();
}

static struct err quoted_name(struct jinja *j, struct bytes name, struct jinja_value *out)
{
    char *what = NULL;
    TRY(jinja_alloc(&j->arena, &what, name.len + 3));
    what[0] = what[name.len + 1] = '\'';
    memcpy(what + 1, name.data, name.len);
    *out = jinja_undefined(what);
    return err_ok();
}

static struct err eval_name(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    for (const struct jinja_frame *f = j->frame; f != NULL; f = f->outer)
        for (const struct jinja_binding *b = f->bindings; b != NULL; b = b->next)
            if (bytes_equal(b->name, n->name)) {
                *out = b->value;
                return err_ok();
            }
    const struct jinja_builtin *function = jinja_find_function(n->name);
    if (function == NULL)
        return quoted_name(j, n->name, out);
    struct jinja_callable *callable = NULL;
    TRY(jinja_alloc(&j->arena, &callable, sizeof *callable));
    callable->builtin = function;
    *out = (struct jinja_value){.kind = JINJA_CALLABLE, .as.callable = callable};
    return err_ok();
}

static struct err eval_list(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value list;
    TRY(jinja_list_new(&j->arena, &list, n->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE));
    for (const struct jinja_node *arg = n->args; arg != NULL; arg = arg->next) {
        struct jinja_value item;
        TRY(jinja_eval(j, arg, &item));
        TRY(jinja_list_add(&j->arena, list.as.list, item));
    }
    *out = list;
    return err_ok();
}

static struct err eval_dict(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value dict;
    TRY(jinja_dict_new(&j->arena, &dict, JINJA_DICT));
    for (const struct jinja_node *arg = n->args; arg != NULL; arg = arg->next->next) {
        struct jinja_value key, value;
        TRY(jinja_eval(j, arg, &key));
        TRY(jinja_eval(j, arg->next, &value));
        if (key.kind == JINJA_LIST || key.kind == JINJA_DICT)
            return err_set(ERR_USAGE, "a %s cannot be a key", jinja_type_name(&key));
        TRY(jinja_charge(j, dict.as.dict->n));
        TRY(jinja_dict_put(&j->arena, dict.as.dict, key, value));
    }
    *out = dict;
    return err_ok();
}

/* and, or: the operand that decides, as it is. */
static struct err eval_logic(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    for (const struct jinja_node *arg = n->args; arg != NULL; arg = arg->next) {
        TRY(jinja_eval(j, arg, out));
        if (jinja_truth(out) == (n->kind == NODE_OR))
            break;
    }
    return err_ok();
}

static struct err eval_chain(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value left, right;
    TRY(jinja_eval(j, n->a, &left));
    for (const struct jinja_node *arg = n->args; arg != NULL; arg = arg->next) {
        TRY(jinja_eval(j, arg, &right));
        TRY(jinja_operate(j, arg->op, &left, &right, &left));
    }
    *out = left;
    return err_ok();
}

static struct err eval_concat(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    JINJA_TEXT text = {0};
    for (const struct jinja_node *arg = n->args; arg != NULL; arg = arg->next) {
        struct jinja_value v;
        TRY(jinja_eval(j, arg, &v));
        TRY(jinja_text_add_value(&text, &v));
    }
    TRY(jinja_charge_text(j, &text, 0));
    return jinja_text_take(&text, &j->arena, out);
}

/* a < b < c: each neighbouring pair, until one fails. */
static struct err eval_compare(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value left, right;
    bool holds = true;
    TRY(jinja_eval(j, n->a, &left));
    for (const struct jinja_node *arg = n->args; arg != NULL && holds; arg = arg->next) {
        TRY(jinja_eval(j, arg, &right));
        TRY(jinja_relate(j, arg->op, &left, &right, &holds));
        left = right;
    }
    *out = jinja_bool(holds);
    return err_ok();
}

static struct err eval_condition(struct jinja *j, const struct jinja_node *n,
                                 struct jinja_value *out)
{
    struct jinja_value test;
    TRY(jinja_eval(j, n->a, &test));
    if (jinja_truth(&test))
        return jinja_eval(j, n->b, out);
    if (n->c != NULL)
        return jinja_eval(j, n->c, out);
    *out = jinja_undefined("the inline if-expression without else");
    return err_ok();
}

static struct err eval_unary(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value v, zero = jinja_int(0);
    TRY(jinja_eval(j, n->a, &v));
    if (n->kind == NODE_NOT) {
        *out = jinja_bool(!jinja_truth(&v));
        return err_ok();
    }
    if (v.kind == JINJA_FLOAT) {
        *out = jinja_float(n->kind == NODE_NEGATE ? -v.as.real : v.as.real);
        out->untrusted = v.untrusted;
        return err_ok();
    }
    if (v.kind != JINJA_UNDEFINED && !jinja_is_number(&v))
        return err_set(ERR_USAGE, "a %s has no sign", jinja_type_name(&v));
    return jinja_operate(j, n->kind == NODE_NEGATE ? OP_SUB : OP_ADD, &zero, &v, out);
}

static struct err eval_access(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value object, key, bounds[3] = {{0}, {0}, {0}};
    const struct jinja_node *const parts[3] = {n->b, n->c, n->d};
    TRY(jinja_eval(j, n->a, &object));
    if (n->kind == NODE_ATTRIBUTE)
        return jinja_attribute(j, &object, n->name, out);
    if (n->kind == NODE_ITEM) {
        TRY(jinja_eval(j, n->b, &key));
        return jinja_item(j, &object, &key, out);
    }
    for (size_t i = 0; i < 3; i++) {
        bounds[i].kind = JINJA_NONE;
        if (parts[i] != NULL)
            TRY(jinja_eval(j, parts[i], &bounds[i]));
    }
    return jinja_slice(j, &object, bounds, out);
}

static struct err eval_call(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value callee;
    struct jinja_args args = {0};
    TRY(jinja_eval(j, n->a, &callee));
    if (callee.kind == JINJA_UNDEFINED)
        return jinja_undefined_error(&callee);
    TRY(jinja_eval_args(j, n->args, &args));
    return jinja_call(j, &callee, &args, out);
}

static struct err eval_builtin(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    struct jinja_value self;
    struct jinja_args args = {0};
    TRY(jinja_eval(j, n->a, &self));
    TRY(jinja_eval_args(j, n->args, &args));
    TRY(jinja_call_builtin(j, n->builtin, &self, &args, out));
    if (n->negated)
        *out = jinja_bool(!jinja_truth(out));
    return err_ok();
}

static struct err eval_one(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    switch (n->kind) {
    case NODE_CONSTANT:
        *out = n->value;
        return err_ok();
    case NODE_CAPTURED:
        *out = j->captured;
        return err_ok();
    case NODE_NAME:
        return eval_name(j, n, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(j, n, out);
    case NODE_DICT:
        return eval_dict(j, n, out);
    case NODE_AND:
    case NODE_OR:
        return eval_logic(j, n, out);
    case NODE_CHAIN:
        return eval_chain(j, n, out);
    case NODE_CONCAT:
        return eval_concat(j, n, out);
    case NODE_COMPARE:
        return eval_compare(j, n, out);
    case NODE_CONDITION:
        return eval_condition(j, n, out);
    case NODE_CALL:
        return eval_call(j, n, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_builtin(j, n, out);
    case NODE_NOT:
    case NODE_NEGATE:
    case NODE_PLUS:
        return eval_unary(j, n, out);
    default:
        return eval_access(j, n, out);
    }
}

struct err jinja_eval(struct jinja *j, const struct jinja_node *n, struct jinja_value *out)
{
    TRY(jinja_enter(j));
    TRY(jinja_charge(j, 0));
    j->line = n->line;
    TRY(eval_one(j, n, out));
    j->depth--;
    return err_ok();
}
