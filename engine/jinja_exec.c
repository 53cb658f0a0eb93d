/*
 * Running statements: output, conditions, loops, assignments.
 */
#include "engine/jinja_eval.h"

struct err jinja_charge(struct jinja *j, size_t n_bytes)
{
    uint64_t n = 1 + n_bytes / 64;
    if (n > JINJA_STEPS_MAX || j->steps > JINJA_STEPS_MAX - n)
        return err_set(ERR_LIMIT, "the template takes more than %d steps", JINJA_STEPS_MAX);
    j->steps += n;
    return err_ok();
}

struct err jinja_charge_text(struct jinja *j, struct jinja_text *t, size_t before)
{
    uint64_t n_values = t->n_values;
    t->n_values = 0;
    return jinja_charge(j, t->bytes.len - before + 64 * n_values);
}

struct err jinja_enter(struct jinja *j)
{
    if (j->depth >= JINJA_DEPTH_MAX)
        return err_set(ERR_LIMIT, "the template nests more than %d deep", JINJA_DEPTH_MAX);
    j->depth++;
    return err_ok();
}

struct err jinja_frame_push(struct jinja *j)
{
    struct jinja_frame *frame = NULL;
    TRY(jinja_alloc(&j->arena, &frame, sizeof *frame));
    frame->outer = j->frame;
    j->frame = frame;
    return err_ok();
}

struct err jinja_bind(struct jinja *j, struct bytes name, struct jinja_value value)
{
    for (struct jinja_binding *b = j->frame->bindings; b != NULL; b = b->next)
        if (bytes_equal(b->name, name)) {
            b->value = value;
            return err_ok();
        }
    struct jinja_binding *b = NULL;
    TRY(jinja_alloc(&j->arena, &b, sizeof *b));
    *b = (struct jinja_binding){j->frame->bindings, name, value};
    j->frame->bindings = b;
    return err_ok();
}

/* ns.name = value. */
static struct err assign_attribute(struct jinja *j, const struct jinja_node *target,
                                   const struct jinja_value *value)
{
    struct jinja_value object, key;
    TRY(jinja_eval(j, target->a, &object));
    if (object.kind != JINJA_NAMESPACE)
        return err_set(ERR_USAGE, "cannot assign an attribute of a %s, only of a namespace",
                       jinja_type_name(&object));
    TRY(jinja_charge(j, object.as.dict->n));
    TRY(jinja_string_of(&j->arena, &key, target->name, true));
    return jinja_dict_put(&j->arena, object.as.dict, key, *value);
}

static struct err assign(struct jinja *j, const struct jinja_node *target,
                         const struct jinja_value *value)
{
    if (target->kind == NODE_NAME)
        return jinja_bind(j, target->name, *value);
    if (target->kind == NODE_ATTRIBUTE)
        return assign_attribute(j, target, value);
    struct jinja_list *items = NULL;
    if (value->kind == JINJA_UNDEFINED)
        return jinja_undefined_error(value);
    TRY(jinja_iterate(j, value, &items));
    size_t i = 0;
    for (const struct jinja_node *t = target->args; t != NULL; t = t->next, i++) {
        if (i == items->n)
            return err_set(ERR_USAGE, "not enough values to unpack (there are %zu)", items->n);
        TRY(assign(j, t, &items->items[i]));
    }
    return i == items->n ? err_ok()
                         : err_set(ERR_USAGE, "too many values to unpack (%zu wanted)", i);
}

/* for ... if: the items for which the condition holds. */
static struct err keep_items(struct jinja *j, const struct jinja_node *n, struct jinja_list **items)
{
    struct jinja_value kept;
    TRY(jinja_list_new(&j->arena, &kept, JINJA_LIST));
    for (size_t i = 0; i < (*items)->n; i++) {
        struct jinja_value holds;
        TRY(jinja_frame_push(j));
        TRY(assign(j, n->target, &(*items)->items[i]));
        TRY(jinja_eval(j, n->b, &holds));
        j->frame = j->frame->outer;
        if (jinja_truth(&holds))
            TRY(jinja_list_add(&j->arena, kept.as.list, (*items)->items[i]));
    }
    *items = kept.as.list;
    return err_ok();
}

static struct err exec_scope(struct jinja *j, const struct jinja_node *body)
{
    TRY(jinja_frame_push(j));
    TRY(jinja_exec(j, body));
    j->frame = j->frame->outer;
    return err_ok();
}

static struct err exec_for(struct jinja *j, const struct jinja_node *n)
{
    struct jinja_value over;
    struct jinja_list *items = NULL;
    struct jinja_loop *loop = NULL;
    TRY(jinja_eval(j, n->a, &over));
    TRY(jinja_iterate(j, &over, &items));
    if (n->b != NULL)
        TRY(keep_items(j, n, &items));
    TRY(jinja_alloc(&j->arena, &loop, sizeof *loop));
    loop->items = items;
    struct jinja_value loop_value = {.kind = JINJA_LOOP, .as.loop = loop};
    bool completed = false;
    for (size_t i = 0; i < items->n && j->jump != JUMP_BREAK; i++) {
        loop->index = i;
        j->jump = JUMP_NONE;
        TRY(jinja_frame_push(j));
        TRY(jinja_bind(j, bytes_of_str("loop"), loop_value));
        TRY(assign(j, n->target, &items->items[i]));
        TRY(jinja_exec(j, n->body));
        j->frame = j->frame->outer;
        completed = completed || j->jump == JUMP_NONE;
    }
    j->jump = JUMP_NONE;
    /* As Jinja's: else also runs when every turn ended in break or continue. */
    return completed ? err_ok() : exec_scope(j, n->other);
}

/* {% set x %}text{% endset %}, and {% filter f %}text{% endfilter %}, which has no target. */
static struct err exec_set_block(struct jinja *j, const struct jinja_node *n)
{
    JINJA_TEXT text = {0};
    struct jinja_text *outer = j->out;
    struct jinja_value value, before = j->captured;
    j->out = &text;
    TRY(exec_scope(j, n->body));
    j->out = outer;
    if (j->jump != JUMP_NONE)
        return err_ok(); /* out of the loop around it, and of the text so far */
    TRY(jinja_text_take(&text, &j->arena, &j->captured));
    TRY(jinja_eval(j, n->a, &value));
    j->captured = before;
    return n->target != NULL ? assign(j, n->target, &value) : jinja_text_add_value(j->out, &value);
}

static struct err exec_macro(struct jinja *j, const struct jinja_node *n)
{
    struct jinja_callable *macro = NULL;
    TRY(jinja_alloc(&j->arena, &macro, sizeof *macro));
    macro->macro = n;
    macro->frame = j->frame;
    struct jinja_value v = {.kind = JINJA_CALLABLE, .as.callable = macro};
    return jinja_bind(j, n->name, v);
}

static struct err exec_if(struct jinja *j, const struct jinja_node *n)
{
    while (n != NULL && n->kind == NODE_IF) {
        struct jinja_value test;
        TRY(jinja_eval(j, n->a, &test));
        if (jinja_truth(&test))
            break;
        n = n->other;
    }
    return n != NULL ? jinja_exec(j, n->body) : err_ok();
}

static struct err exec_print(struct jinja *j, const struct jinja_node *n)
{
    struct jinja_value v;
    TRY(jinja_eval(j, n->a, &v));
    size_t before = j->out->bytes.len;
    TRY(jinja_text_add_value(j->out, &v));
    return jinja_charge_text(j, j->out, before);
}

static struct err exec_set(struct jinja *j, const struct jinja_node *n)
{
    struct jinja_value v;
    TRY(jinja_eval(j, n->a, &v));
    return assign(j, n->target, &v);
}

static struct err exec_one(struct jinja *j, const struct jinja_node *n)
{
    j->line = n->line;
    switch (n->kind) {
    case NODE_TEXT:
        TRY(jinja_charge(j, n->value.as.string->len));
        return jinja_text_add_string(j->out, &n->value);
    case NODE_PRINT:
        return exec_print(j, n);
    case NODE_IF:
        return exec_if(j, n);
    case NODE_FOR:
        return exec_for(j, n);
    case NODE_SET:
        return exec_set(j, n);
    case NODE_SET_BLOCK:
        return exec_set_block(j, n);
    case NODE_MACRO:
        return exec_macro(j, n);
    case NODE_SCOPE:
        return exec_scope(j, n->body);
    default:
        j->jump = n->kind == NODE_BREAK ? JUMP_BREAK : JUMP_CONTINUE;
        return err_ok();
    }
}

struct err jinja_exec(struct jinja *j, const struct jinja_node *list)
{
    TRY(jinja_enter(j));
    for (const struct jinja_node *n = list; n != NULL && j->jump == JUMP_NONE; n = n->next) {
        TRY(jinja_charge(j, 0));
        TRY(exec_one(j, n));
    }
    j->depth--;
    return err_ok();
}
