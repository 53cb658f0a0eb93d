/*
 * Tests: what may stand behind "is".
 */
#include "engine/jinja_builtins.h"

#define TEST(name)                                                                                 \
    static struct err name(struct jinja *j, const struct jinja_value *self,                        \
                           const struct jinja_args *args, struct jinja_value *out)

/* A test that looks at the kind alone. */
#define KIND_TEST(name, condition)                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        (void)j;                                                                                   \
        (void)args;                                                                                \
        enum jinja_kind kind = self->kind;                                                         \
        *out = jinja_bool(condition);                                                              \
        return err_ok();                                                                           \
    }

KIND_TEST(test_defined, kind != JINJA_UNDEFINED)
KIND_TEST(test_undefined, kind == JINJA_UNDEFINED)
KIND_TEST(test_none, kind == JINJA_NONE)
KIND_TEST(test_string, kind == JINJA_STRING)
KIND_TEST(test_number, kind == JINJA_BOOL || kind == JINJA_INT || kind == JINJA_FLOAT)
KIND_TEST(test_integer, kind == JINJA_INT)
KIND_TEST(test_float, kind == JINJA_FLOAT)
KIND_TEST(test_boolean, kind == JINJA_BOOL)
KIND_TEST(test_true, kind == JINJA_BOOL && self->as.boolean)
KIND_TEST(test_false, kind == JINJA_BOOL && !self->as.boolean)
KIND_TEST(test_mapping, kind == JINJA_DICT)
KIND_TEST(test_callable, kind == JINJA_CALLABLE || kind == JINJA_UNDEFINED)
KIND_TEST(test_iterable, kind == JINJA_UNDEFINED || kind == JINJA_STRING || kind == JINJA_LIST ||
                             kind == JINJA_TUPLE || kind == JINJA_GENERATOR || kind == JINJA_DICT ||
                             kind == JINJA_LOOP)
KIND_TEST(test_sequence, kind == JINJA_UNDEFINED || kind == JINJA_STRING || kind == JINJA_LIST ||
                             kind == JINJA_TUPLE || kind == JINJA_DICT)

static struct err relate(struct jinja *j, enum jinja_operator op, const struct jinja_value *self,
                         const struct jinja_args *args, struct jinja_value *out)
{
    bool holds = false;
    TRY(jinja_relate(j, op, self, args->arg[0], &holds));
    *out = jinja_bool(holds);
    return err_ok();
}

#define RELATION_TEST(name, op)                                                                    \
    TEST(name)                                                                                     \
    {                                                                                              \
        return relate(j, op, self, args, out);                                                     \
    }

RELATION_TEST(test_eq, OP_EQ)
RELATION_TEST(test_ne, OP_NE)
RELATION_TEST(test_lt, OP_LT)
RELATION_TEST(test_le, OP_LE)
RELATION_TEST(test_gt, OP_GT)
RELATION_TEST(test_ge, OP_GE)
RELATION_TEST(test_in, OP_IN)

/* self % divisor == remainder */
static struct err test_modulo(struct jinja *j, const struct jinja_value *self,
                              struct jinja_value divisor, int64_t remainder,
                              struct jinja_value *out)
{
    struct jinja_value modulo, wanted = jinja_int(remainder);
    if (self->kind == JINJA_STRING)
        return err_set(ERR_USAGE, "a str is neither odd nor even");
    TRY(jinja_operate(j, OP_MOD, self, &divisor, &modulo));
    *out = jinja_bool(jinja_equal(&modulo, &wanted));
    return err_ok();
}

TEST(test_odd)
{
    (void)args;
    return test_modulo(j, self, jinja_int(2), 1, out);
}

TEST(test_even)
{
    (void)args;
    return test_modulo(j, self, jinja_int(2), 0, out);
}

TEST(test_divisibleby)
{
    return test_modulo(j, self, *args->arg[0], 0, out);
}

/* str(self).islower() and isupper(): cased characters, all of the one case. */
static struct err test_case(struct jinja *j, const struct jinja_value *self, enum string_case to,
                            struct jinja_value *out)
{
    struct jinja_value s, same, other;
    TRY(jinja_to_string(j, self, &s));
    TRY(string_recase(j, &s, to, &same));
    TRY(string_recase(j, &s, to == CASE_LOWER ? CASE_UPPER : CASE_LOWER, &other));
    *out = jinja_bool(jinja_equal(&s, &same) && !jinja_equal(&s, &other));
    return err_ok();
}

TEST(test_lower)
{
    (void)args;
    return test_case(j, self, CASE_LOWER, out);
}

TEST(test_upper)
{
    (void)args;
    return test_case(j, self, CASE_UPPER, out);
}

static const struct jinja_builtin tests[] = {
    {"defined", test_defined, 0, {NULL}},
    {"undefined", test_undefined, 0, {NULL}},
    {"none", test_none, 0, {NULL}},
    {"string", test_string, 0, {NULL}},
    {"number", test_number, 0, {NULL}},
    {"integer", test_integer, 0, {NULL}},
    {"float", test_float, 0, {NULL}},
    {"boolean", test_boolean, 0, {NULL}},
    {"true", test_true, 0, {NULL}},
    {"false", test_false, 0, {NULL}},
    {"mapping", test_mapping, 0, {NULL}},
    {"iterable", test_iterable, 0, {NULL}},
    {"sequence", test_sequence, 0, {NULL}},
    {"callable", test_callable, 0, {NULL}},
    {"odd", test_odd, 0, {NULL}},
    {"even", test_even, 0, {NULL}},
    {"divisibleby", test_divisibleby, 1, {"num"}},
    {"lower", test_lower, 0, {NULL}},
    {"upper", test_upper, 0, {NULL}},
    {"eq", test_eq, 1, {"other"}},
    {"equalto", test_eq, 1, {"other"}},
    {"==", test_eq, 1, {"other"}},
    {"ne", test_ne, 1, {"other"}},
    {"!=", test_ne, 1, {"other"}},
    {"lt", test_lt, 1, {"other"}},
    {"lessthan", test_lt, 1, {"other"}},
    {"<", test_lt, 1, {"other"}},
    {"le", test_le, 1, {"other"}},
    {"<=", test_le, 1, {"other"}},
    {"gt", test_gt, 1, {"other"}},
    {"greaterthan", test_gt, 1, {"other"}},
    {">", test_gt, 1, {"other"}},
    {"ge", test_ge, 1, {"other"}},
    {">=", test_ge, 1, {"other"}},
    {"in", test_in, 1, {"seq"}},
    {NULL, NULL, 0, {NULL}},
};

const struct jinja_builtin *jinja_find_in(const struct jinja_builtin *table, struct bytes name)
{
    for (; table->name != NULL; table++)
        if (bytes_equal(name, bytes_of_str(table->name)))
            return table;
    return NULL;
}

const struct jinja_builtin *jinja_find_test(struct bytes name)
{
    return jinja_find_in(tests, name);
}

const struct jinja_builtin *jinja_find_filter(struct bytes name)
{
    const struct jinja_builtin *found = jinja_find_in(jinja_string_filters, name);
    if (found == NULL)
        found = jinja_find_in(jinja_sequence_filters, name);
    return found != NULL ? found : jinja_find_in(jinja_order_filters, name);
}
