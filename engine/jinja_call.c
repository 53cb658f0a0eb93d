/*
 * Calls: arguments bound to the parameters of built-ins and macros.
 */
#include "engine/jinja_eval.h"

#include <string.h>

struct err jinja_eval_args(struct jinja *j, const struct jinja_node *list, struct jinja_args *out)
{
    struct jinja_value positional, named;
    TRY(jinja_list_new(&j->arena, &positional, JINJA_LIST));
    TRY(jinja_dict_new(&j->arena, &named, JINJA_DICT));
    for (const struct jinja_node *n = list; n != NULL; n = n->next) {
        struct jinja_value key, value;
        TRY(jinja_eval(j, n->kind == NODE_KEYWORD ? n->a : n, &value));
        if (n->kind != NODE_KEYWORD) {
            TRY(jinja_list_add(&j->arena, positional.as.list, value));
            continue;
        }
        TRY(jinja_string_of(&j->arena, &key, n->name, true));
        TRY(jinja_dict_put(&j->arena, named.as.dict, key, value));
    }
    out->positional = positional.as.list->items;
    out->n_positional = positional.as.list->n;
    out->named = named.as.dict->entries;
    out->n_named = named.as.dict->n;
    return err_ok();
}

static size_t n_params(const struct jinja_builtin *b)
{
    size_t n = 0;
    while (n < JINJA_PARAMS_MAX && b->params[n] != NULL)
        n++;
    return n;
}

static struct err bind_args(const struct jinja_builtin *b, struct jinja_args *args)
{
    size_t n = n_params(b);
    if (args->n_positional > n)
        return err_set(ERR_USAGE, "%s takes at most %zu arguments and got %zu", b->name, n,
                       args->n_positional);
    for (size_t i = 0; i < args->n_positional; i++)
        args->arg[i] = &args->positional[i];
    for (size_t k = 0; k < args->n_named; k++) {
        size_t i = 0;
        while (i < n && !jinja_string_is(&args->named[k].key, b->params[i]))
            i++;
        if (i == n || args->arg[i] != NULL)
            return err_set(ERR_USAGE, "%s got an argument by name that it does not take", b->name);
        args->arg[i] = &args->named[k].value;
    }
    for (size_t i = 0; i < b->n_required; i++)
        if (args->arg[i] == NULL)
            return err_set(ERR_USAGE, "%s needs the argument %s", b->name, b->params[i]);
    return err_ok();
}

struct err jinja_call_builtin(struct jinja *j, const struct jinja_builtin *b,
                              const struct jinja_value *self, struct jinja_args *args,
                              struct jinja_value *out)
{
    bool any = b->params[0] != NULL && strcmp(b->params[0], "*") == 0;
    if (!any)
        TRY(bind_args(b, args));
    else if (args->n_positional < b->n_required)
        return err_set(ERR_USAGE, "%s needs more arguments", b->name);
    struct jinja_value result = JINJA_NOTHING;
    TRY(b->call(j, self, args, &result));
    *out = result;
    return err_ok();
}

static const struct jinja_value *named_arg(const struct jinja_args *args, struct bytes name)
{
    for (size_t i = 0; i < args->n_named; i++)
        if (bytes_equal(jinja_bytes(&args->named[i].key), name))
            return &args->named[i].value;
    return NULL;
}

/* Binds parameters in order; a default may use the parameters before it. */
static struct err bind_parameters(struct jinja *j, const struct jinja_node *macro,
                                  const struct jinja_args *args)
{
    size_t n = 0, n_by_name = 0;
    for (const struct jinja_node *p = macro->args; p != NULL; p = p->next, n++) {
        const struct jinja_value *given = named_arg(args, p->name);
        struct jinja_value value = JINJA_NOTHING;
        n_by_name += given != NULL;
        if (n < args->n_positional && given != NULL)
            return err_set(ERR_USAGE, "a macro got the same argument twice");
        if (n < args->n_positional)
            value = args->positional[n];
        else if (given != NULL)
            value = *given;
        else if (p->a != NULL)
            TRY(jinja_eval(j, p->a, &value));
        TRY(jinja_bind(j, p->name, value));
    }
    if (args->n_positional > n || args->n_named > n_by_name)
        return err_set(ERR_USAGE, "a macro got an argument that it does not take");
    return err_ok();
}

static struct err call_macro(struct jinja *j, const struct jinja_callable *callee,
                             const struct jinja_args *args, struct jinja_value *out)
{
    JINJA_TEXT text = {0};
    struct jinja_text *outer_text = j->out;
    struct jinja_frame *outer_frame = j->frame;
    if (j->macro_depth == JINJA_MACRO_DEPTH_MAX)
        return err_set(ERR_LIMIT, "macros within macros more than %d deep", JINJA_MACRO_DEPTH_MAX);
    j->macro_depth++;
    j->frame = callee->frame;
    TRY(jinja_frame_push(j));
    TRY(bind_parameters(j, callee->macro, args));
    j->out = &text;
    TRY(jinja_exec(j, callee->macro->body));
    j->out = outer_text;
    j->frame = outer_frame;
    j->macro_depth--;
    return jinja_text_take(&text, &j->arena, out);
}

struct err jinja_call(struct jinja *j, const struct jinja_value *callee, struct jinja_args *args,
                      struct jinja_value *out)
{
    if (callee->kind != JINJA_CALLABLE)
        return err_set(ERR_USAGE, "a %s cannot be called", jinja_type_name(callee));
    const struct jinja_callable *c = callee->as.callable;
    if (c->builtin != NULL)
        return jinja_call_builtin(j, c->builtin, &c->self, args, out);
    return call_macro(j, c, args, out);
}
