/* blindllama-generate: what it prints, what it refuses, and its exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/tiny_model.h"

static int setup(void **state)
{
    static struct tiny_model m;
    tiny_write(&m, &tiny_default);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    tiny_remove(*state);
    return 0;
}

/* Runs the program on the model with these arguments; returns its exit code. */
static int run(const struct tiny_model *m, const char *arguments, struct buf *out)
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

static void assert_refuses(const struct tiny_model *m, const char *arguments, const char *reason)
{
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(run(m, arguments, &out), 2);
    if (strstr(buf_str(&out), reason) == NULL)
        fail_msg("%s: %s", arguments, buf_str(&out));
}

static json_t *run_json(const struct tiny_model *m, const char *arguments)
{
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(run(m, arguments, &out), 0);
    json_t *root = json_loads(buf_str(&out), JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    return root;
}

static void a_seed_gives_the_same_answer_again(void **state)
{
    const char *arguments = "--prompt-ids 1,2,3 --max-tokens 20 --seed 7 --temperature 1 --json";
    json_t *a = run_json(*state, arguments), *b = run_json(*state, arguments);
    assert_true(json_equal(a, b));
    assert_int_equal(json_array_size(json_object_get(a, "prompt_ids")), 3);
    assert_string_equal(json_string_value(json_object_get(a, "seed")), "7");
    json_decref(a);
    json_decref(b);
}

static void chats_and_texts_become_tokens(void **state)
{
    const struct tiny_model *m = *state;
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "hi");
    tiny_write_json(m, "chat.json", messages);
    json_decref(messages);
    BUF_AUTO arguments = BUF_INIT;
    buf_printf(&arguments, "--chat %s/chat.json --max-tokens 1 --json", m->dir);
    json_t *chat = run_json(m, buf_str(&arguments));
    json_t *text = run_json(m, "--prompt hi --max-tokens 1 --json");
    assert_int_equal(json_array_size(json_object_get(chat, "prompt_ids")),
                     1 + strlen("[user]hi") + 1 + strlen("[assistant]"));
    assert_int_equal(json_array_size(json_object_get(text, "prompt_ids")), 2);
    json_decref(chat);
    json_decref(text);
}

static void writes_one_row_of_logits_for_each_token(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO arguments = BUF_INIT, out = BUF_INIT, path = BUF_INIT;
    buf_printf(&arguments, "--prompt-ids 1,2,3 --max-tokens 1 --logits-out %s/logits", m->dir);
    buf_printf(&path, "%s/logits", m->dir);
    assert_int_equal(run(m, buf_str(&arguments), &out), 0);
    FILE *f = fopen(buf_str(&path), "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    assert_int_equal(ftell(f), 3 * tiny_default.vocab_size * sizeof(float));
    fclose(f);
}

static void takes_a_backend_by_name(void **state)
{
    const char *arguments = "--prompt-ids 1,2,3 --max-tokens 5 --temperature 0 --json";
    BUF_AUTO named = BUF_INIT;
    buf_printf(&named, "%s --backend ref", arguments);
    json_t *a = run_json(*state, arguments), *b = run_json(*state, buf_str(&named));
    assert_true(json_equal(json_object_get(a, "ids"), json_object_get(b, "ids")));
    json_decref(a);
    json_decref(b);
}

static void refuses_bad_usage_with_2(void **state)
{
    const struct tiny_model *m = *state;
    assert_refuses(m, "", "one of --prompt");
    assert_refuses(m, "--prompt a --prompt-ids 1", "one of --prompt");
    assert_refuses(m, "--prompt a --max-tokens -3", "--max-tokens");
    assert_refuses(m, "--prompt a --seed x", "--seed");
    assert_refuses(m, "--prompt a --temperature hot", "--temperature");
    assert_refuses(m, "--prompt a --temperature -1", "temperature is -1");
    assert_refuses(m, "--prompt-ids 1,,2", "--prompt-ids");
    assert_refuses(m, "--prompt-ids 264", "vocabulary ends at 263");
    assert_refuses(m, "--prompt a --max-tokens 9999", "the context holds 320");
    assert_refuses(m, "--chat /no/such/file", "/no/such/file");
    assert_refuses(m, "--chat /dev/null", "/dev/null is empty, so not JSON");
    assert_refuses(m, "--prompt a --max-tokens 0", "--max-tokens is 0");
    assert_refuses(m, "--prompt a --model /no/such/folder", "/no/such/folder");
    assert_refuses(m, "--prompt a --backend abacus", "abacus");
    assert_refuses(m, "--nonsense", "unrecognized option");
}

static void an_answer_that_cannot_be_written_is_no_success(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO command = BUF_INIT;
    static const char *const forms[] = {"", "--json"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        buf_clear(&command);
        buf_printf(&command,
                   "'" BL_GENERATE "' --model %s --prompt a --max-tokens 2 %s "
                   ">/dev/full 2>/dev/null",
                   m->dir, forms[i]);
        assert_int_equal(WEXITSTATUS(system(buf_str(&command))), 2);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_seed_gives_the_same_answer_again),
        CASE(chats_and_texts_become_tokens),
        CASE(writes_one_row_of_logits_for_each_token),
        CASE(takes_a_backend_by_name),
        CASE(refuses_bad_usage_with_2),
        CASE(an_answer_that_cannot_be_written_is_no_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
