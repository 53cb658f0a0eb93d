/* blindllama-generate: what it takes as a prompt, what it prints and writes, and how it ends. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "tests/unit/generate_run.h"

static void a_seed_gives_the_same_answer_again(void **state)
{
    const char *arguments = "--prompt-ids 1,2,3 --max-tokens 20 --seed 7 --temperature 1 --json";
    json_t *a = run_json(*state, arguments), *b = run_json(*state, arguments);
    assert_same(a, b, "ids");
    assert_same(a, b, "text");
    assert_same(a, b, "finish");
    assert_int_equal(json_array_size(json_object_get(a, "prompt_ids")), 3);
    assert_string_equal(json_string_value(json_object_get(a, "seed")), "7");
    json_decref(a);
    json_decref(b);
}

/* 5 tokens: 4 steps after the first, which see 4, 5, 6 and 7 positions. */
static void bytes_per_token_are_weights_once_and_the_positions_seen(void **state)
{
    const struct tiny_spec *o = &tiny_default;
    json_t *a = run_jsonf(*state, "--prompt-ids 1,2,3 --max-tokens 5 --ignore-eos", NULL);
    double q = o->n_heads * o->head_dim, kv = o->n_kv_heads * o->head_dim;
    double weights = o->n_layers * (2.0 * o->hidden * (q + kv) + 3.0 * o->hidden * o->inner);
    weights += (double)(o->vocab_size + 1) * o->hidden; /* the output, one row of embed */
    double positions = o->n_layers * 2 * kv * sizeof(float) * (4 + 5 + 6 + 7) / 4;
    double bytes = json_real_value(json_object_get(a, "bytes_per_token"));
    assert_true(bytes == weights * 2 + positions); /* BF16 */
    double speed = json_real_value(json_object_get(a, "decode_tokens_per_second"));
    double rate = json_real_value(json_object_get(a, "gigabytes_per_second"));
    assert_true(speed > 0 && rate > 0.999 * bytes * speed / 1e9 &&
                rate < 1.001 * bytes * speed / 1e9);
    assert_true(json_real_value(json_object_get(a, "prompt_tokens_per_second")) > 0);
    json_decref(a);
    a = run_jsonf(*state, "--prompt-ids 1 --max-tokens 1", NULL);
    assert_true(json_is_null(json_object_get(a, "decode_tokens_per_second")));
    assert_true(json_is_null(json_object_get(a, "gigabytes_per_second")));
    json_decref(a);
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

static void tools_and_documents_reach_the_template(void **state)
{
    const struct tiny_model *m = *state;
    json_t *settings = json_pack("{s:s}", "chat_template",
                                 "{{ tools[0].name }}{{ documents|length }}"
                                 "{% if add_generation_prompt %}!{% endif %}");
    tiny_write_json(m, "tokenizer_config.json", settings);
    json_decref(settings);
    json_t *chat = json_pack("{s:[{s:s,s:s}],s:[{s:s}],s:[{},{}]}", "messages", "role", "user",
                             "content", "hi", "tools", "name", "clock", "documents");
    tiny_write_json(m, "chat.json", chat);
    BUF_AUTO arguments = BUF_INIT;
    buf_printf(&arguments, "--chat %s/chat.json --max-tokens 1 --json", m->dir);
    json_t *with = run_json(m, buf_str(&arguments));
    assert_int_equal(json_array_size(json_object_get(with, "prompt_ids")), strlen("clock2!"));
    json_object_set_new(chat, "add_generation_prompt", json_false());
    json_object_set_new(chat, "documents", json_null());
    tiny_write_json(m, "chat.json", chat);
    json_t *without = run_json(m, buf_str(&arguments));
    assert_int_equal(json_array_size(json_object_get(without, "prompt_ids")), strlen("clock0"));
    json_object_set_new(chat, "tools", json_integer(1));
    tiny_write_json(m, "chat.json", chat);
    assert_refuses(m, buf_str(&arguments), "tools is not an array");
    json_object_del(chat, "tools");
    json_object_set_new(chat, "tolls", json_array());
    tiny_write_json(m, "chat.json", chat);
    assert_refuses(m, buf_str(&arguments), "\"tolls\" is no part of a chat");
    json_decref(chat);
    json_decref(with);
    json_decref(without);
}

/* The row before a greedy token has its largest logit there. */
static void writes_the_logits_of_prompt_and_answer_in_order(void **state)
{
    enum { PROMPT = 3, ANSWER = 6, ROWS = PROMPT + ANSWER };
    const struct tiny_model *m = *state;
    size_t n_vocab = tiny_default.vocab_size;
    BUF_AUTO arguments = BUF_INIT, file = BUF_INIT, path = BUF_INIT;
    buf_printf(&path, "%s/logits", m->dir);
    FILE *old = fopen(buf_str(&path), "wb"); /* longer than what comes, to be replaced */
    for (size_t i = 0; i < 2 * ROWS * n_vocab; i++)
        assert_int_equal(fwrite("old!", 1, 4, old), 4);
    assert_int_equal(fclose(old), 0);
    buf_printf(&arguments,
               "--prompt-ids 1,2,3 --max-tokens %d --temperature 0 --ignore-eos --json "
               "--logits-out %s",
               ANSWER, buf_str(&path));
    json_t *answer = run_json(m, buf_str(&arguments));
    assert_false(is_err(file_read(&file, buf_str(&path), 1 << 24)));
    assert_int_equal(file.len, ROWS * n_vocab * sizeof(float));
    const float *logits = (const float *)(const void *)file.data;
    for (size_t i = 0; i < ANSWER; i++) {
        const float *row = logits + (PROMPT - 1 + i) * n_vocab;
        for (size_t j = 0; j < n_vocab; j++)
            assert_true(row[j] <= row[id_at(answer, i)]);
    }
    json_decref(answer);
}

static void logits_that_cannot_be_written_are_no_success(void **state)
{
    const char *arguments = "--prompt-ids 1,2,3 --max-tokens 2 --logits-out";
    BUF_AUTO full = BUF_INIT, nowhere = BUF_INIT;
    buf_printf(&full, "%s /dev/full", arguments);
    buf_printf(&nowhere, "%s /no/such/folder/file", arguments);
    assert_refuses(*state, buf_str(&full), "the logits in /dev/full are not complete");
    assert_refuses(*state, buf_str(&nowhere), "cannot write logits to /no/such/folder/file");
}

/* The program is known to have its handlers when it opens the pipe to read its chat from. */
static void an_interrupt_ends_the_answer_with_1(void **state)
{
    const struct tiny_model *m = *state;
    BUF_AUTO chat = BUF_INIT, printed = BUF_INIT, report = BUF_INIT;
    buf_printf(&chat, "%s/pipe", m->dir);
    buf_printf(&printed, "%s/printed", m->dir);
    assert_int_equal(mkfifo(buf_str(&chat), 0600), 0);
    (void)buf_str(&printed);
    pid_t child = fork();
    if (child == 0) {
        if (freopen((const char *)printed.data, "wb", stdout) == NULL)
            _exit(99);
        execl(BL_GENERATE, BL_GENERATE, "--model", m->dir, "--chat", (const char *)chat.data,
              "--json", NULL);
        _exit(98);
    }
    int status = 0;
    FILE *f = fopen(buf_str(&chat), "w");
    assert_non_null(f);
    assert_int_equal(kill(child, SIGINT), 0);
    fputs("[{\"role\":\"user\",\"content\":\"hi\"}]", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_false(is_err(file_read(&report, buf_str(&printed), 1 << 20)));
    json_t *root = json_loads(buf_str(&report), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(root, "finish")), "cancelled");
    assert_int_equal(n_ids(root), 0);
    json_decref(root);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_seed_gives_the_same_answer_again),
        CASE(bytes_per_token_are_weights_once_and_the_positions_seen),
        CASE(chats_and_texts_become_tokens),
        CASE(tools_and_documents_reach_the_template),
        CASE(writes_the_logits_of_prompt_and_answer_in_order),
        CASE(logits_that_cannot_be_written_are_no_success),
        CASE(an_interrupt_ends_the_answer_with_1),
        CASE(takes_a_backend_by_name),
        CASE(an_answer_that_cannot_be_written_is_no_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
