/*
 * Functions that every template can call.
 */
#include "engine/jinja_builtins.h"

#include <string.h>
#include <time.h>

#define FUNCTION(name)                                                                             \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

FUNCTION(function_range)
{
    (void)self;
    int64_t v[3] = {0, 0, 1};
    if (args->n_positional > 3 || args->n_named > 0)
        return err_set(ERR_USAGE, "range takes one to three numbers");
    for (size_t i = 0; i < args->n_positional; i++)
        TRY(jinja_to_int(&args->positional[i], "range's argument", &v[i]));
    if (args->n_positional == 1) {
        v[1] = v[0];
        v[0] = 0;
    }
    if (v[2] == 0)
        return err_set(ERR_USAGE, "range's step is 0");
    TRY(jinja_list_new(&j->arena, out, JINJA_LIST));
    for (int64_t i = v[0]; v[2] > 0 ? i < v[1] : i > v[1];) {
        if (out->as.list->n == JINJA_RANGE_MAX)
            return err_set(ERR_LIMIT, "range has more than %d numbers", JINJA_RANGE_MAX);
        TRY(jinja_charge(j, 0));
        TRY(jinja_list_add(&j->arena, out->as.list, jinja_int(i)));
        if (__builtin_add_overflow(i, v[2], &i))
            break;
    }
    return err_ok();
}

/* dict(mapping, name=value, ...), and namespace alike. */
static struct err make_dict(struct jinja *j, const struct jinja_args *args, enum jinja_kind kind,
                            struct jinja_value *out)
{
    TRY(jinja_dict_new(&j->arena, out, kind));
    if (args->n_positional > 1 ||
        (args->n_positional == 1 && args->positional[0].kind != JINJA_DICT))
        return err_set(ERR_USAGE, "dict and namespace take one dict and arguments by name");
    const struct jinja_dict *from = args->n_positional == 1 ? args->positional[0].as.dict : NULL;
    for (size_t i = 0; from != NULL && i < from->n; i++) {
        TRY(jinja_charge(j, i * 8));
        TRY(jinja_dict_put(&j->arena, out->as.dict, from->entries[i].key, from->entries[i].value));
    }
    for (size_t i = 0; i < args->n_named; i++)
        TRY(jinja_dict_put(&j->arena, out->as.dict, args->named[i].key, args->named[i].value));
    return err_ok();
}

FUNCTION(function_dict)
{
    (void)self;
    return make_dict(j, args, JINJA_DICT, out);
}

FUNCTION(function_namespace)
{
    (void)self;
    return make_dict(j, args, JINJA_NAMESPACE, out);
}

FUNCTION(function_raise)
{
    (void)self;
    (void)out;
    struct jinja_value message;
    TRY(jinja_to_string(j, args->arg[0], &message));
    j->raised = true;
    return err_set(ERR_USAGE, "%.*s", (int)message.as.string->len, message.as.string->data);
}

/* datetime.strftime of the render's time, in UTC. */
FUNCTION(function_strftime_now)
{
    (void)self;
    char format[256], text[1024];
    TRY(need_string(args->arg[0], "strftime_now's format"));
    struct bytes given = jinja_bytes(args->arg[0]);
    if (given.len >= sizeof format || memchr(given.data, 0, given.len) != NULL)
        return err_set(ERR_LIMIT, "strftime_now's format has more than %zu bytes or a NUL",
                       sizeof format - 1);
    memcpy(format, given.data, given.len);
    format[given.len] = '\0';
    time_t now = (time_t)j->now;
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL)
        return err_set(ERR_USAGE, "strftime_now: the time is out of range");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, format, &utc);
#pragma GCC diagnostic pop
    char *kept = NULL;
    TRY(jinja_alloc(&j->arena, &kept, n));
    memcpy(kept, text, n);
    return jinja_string_of(&j->arena, out, bytes_of(kept, n), jinja_trusted(args->arg[0]));
}

static const struct jinja_builtin functions[] = {
    {"range", function_range, 1, {"*"}},
    {"dict", function_dict, 0, {"*"}},
    {"namespace", function_namespace, 0, {"*"}},
    {"raise_exception", function_raise, 1, {"message"}},
    {"strftime_now", function_strftime_now, 1, {"format"}},
    {NULL, NULL, 0, {NULL}},
};

const struct jinja_builtin *jinja_find_function(struct bytes name)
{
    return jinja_find_in(functions, name);
}
