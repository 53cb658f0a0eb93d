/* Runs blindllama-generate on a tiny model, for the tests of the program. */
#ifndef TESTS_UNIT_GENERATE_RUN_H
#define TESTS_UNIT_GENERATE_RUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/unit/tiny_model.h"

static inline int setup(void **state)
{
    static struct tiny_model m;
    tiny_write(&m, &tiny_default);
    *state = &m;
    return 0;
}

static inline int teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

/* Runs the program on the model with these arguments; returns its exit code. */
static inline int run(const struct tiny_model *m, const char *arguments, struct buf *out)
{
    BUF_AUTO command = BUF_INIT;
    char chunk[4096];
    buf_printf(&command, "'" BL_GENERATE "' --model %s %s 2>&1", m->dir, arguments);
    FILE *f = popen(buf_str(&command), "r");
    assert_non_null(f);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_append(out, chunk, n);
    return WEXITSTATUS(pclose(f));
}

static inline void assert_refuses(const struct tiny_model *m, const char *arguments,
                                  const char *reason)
{
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(run(m, arguments, &out), 2);
    if (strstr(buf_str(&out), reason) == NULL)
        fail_msg("%s: %s", arguments, buf_str(&out));
}

static inline json_t *run_json(const struct tiny_model *m, const char *arguments)
{
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(run(m, arguments, &out), 0);
    json_t *root = json_loads(buf_str(&out), JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    return root;
}

static inline json_t *run_jsonf(const struct tiny_model *m, const char *format,
                                const char *argument)
{
    BUF_AUTO arguments = BUF_INIT;
    buf_printf(&arguments, "%s --json ", format);
    if (argument != NULL)
        buf_append_str(&arguments, argument);
    return run_json(m, buf_str(&arguments));
}

static inline void assert_same(const json_t *a, const json_t *b, const char *key)
{
    assert_non_null(json_object_get(a, key));
    assert_true(json_equal(json_object_get(a, key), json_object_get(b, key)));
}

static inline json_int_t id_at(const json_t *answer, size_t i)
{
    return json_integer_value(json_array_get(json_object_get(answer, "ids"), i));
}

static inline size_t n_ids(const json_t *answer)
{
    return json_array_size(json_object_get(answer, "ids"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
