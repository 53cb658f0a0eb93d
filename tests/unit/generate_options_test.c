/* blindllama-generate: each option does what it says, and what is refused is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/generate_run.h"

static void a_biased_token_is_chosen_and_a_stop_token_ends(void **state)
{
    const char *greedy = "--prompt-ids 1,2,3 --max-tokens 9 --temperature 0";
    json_t *a = run_jsonf(*state, greedy, "--logit-bias 65:100");
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(id_at(a, i), 65);
    json_decref(a);
    a = run_jsonf(*state, greedy, "--logit-bias 65:100 --stop-id 7 --stop-id 65");
    assert_int_equal(n_ids(a), 1);
    assert_string_equal(json_string_value(json_object_get(a, "finish")), "stop");
    assert_string_equal(json_string_value(json_object_get(a, "text")), "");
    json_decref(a);
    a = run_jsonf(*state, greedy, "--logit-bias 65:100 --stop-id 65 --min-tokens 4");
    assert_int_equal(n_ids(a), 5); /* four others, then the stop token */
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(id_at(a, i) == 65, i == 4);
    json_decref(a);
}

static void a_stop_string_is_looked_for_behind_min_tokens(void **state)
{
    const char *greedy =
        "--prompt-ids 1,2,3 --max-tokens 9 --temperature 0 --logit-bias 65:100 --ignore-eos";
    json_t *a = run_jsonf(*state, greedy, NULL);
    const char *text = json_string_value(json_object_get(a, "text"));
    BUF_AUTO stop = BUF_INIT;
    buf_printf(&stop, "--stop %.2s", text); /* two tokens' text */
    json_t *b = run_jsonf(*state, greedy, buf_str(&stop));
    assert_int_equal(n_ids(b), 2);
    buf_append_str(&stop, " --min-tokens 3");
    json_t *c = run_jsonf(*state, greedy, buf_str(&stop));
    assert_int_equal(n_ids(c), 5); /* three that are not looked at, then two */
    assert_int_equal(json_string_length(json_object_get(c, "text")), 3);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void every_sampling_option_reaches_the_sampler(void **state)
{
    const char *base = "--prompt-ids 1,2,3 --max-tokens 30 --seed 3 --temperature 3 --ignore-eos";
    static const char *const options[] = {
        "--top-k 2",
        "--top-p 0.1",
        "--min-p 0.9",
        "--temperature 0.1",
        "--seed 4",
        "--repetition-penalty 5",
        "--presence-penalty 9",
        "--frequency-penalty 9",
        "--logit-bias 1:-100 --logit-bias 9:50",
    };
    json_t *a = run_jsonf(*state, base, NULL);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        json_t *b = run_jsonf(*state, base, options[i]);
        if (json_equal(json_object_get(a, "ids"), json_object_get(b, "ids")))
            fail_msg("%s changes nothing", options[i]);
        json_decref(b);
    }
    json_decref(a);
}

static void reports_logprobs_and_their_alternatives(void **state)
{
    json_t *a = run_jsonf(*state, "--prompt-ids 1,2 --max-tokens 3 --temperature 0 --ignore-eos",
                          "--logprobs 4");
    const json_t *list = json_object_get(a, "logprobs"), *one;
    size_t i;
    assert_int_equal(json_array_size(list), 3);
    json_array_foreach(list, i, one)
    {
        const json_t *top = json_object_get(one, "top");
        assert_int_equal(json_array_size(top), 4);
        assert_int_equal(json_integer_value(json_object_get(one, "id")), id_at(a, i));
        assert_same(one, json_array_get(top, 0), "id"); /* greedy: the best */
        assert_same(one, json_array_get(top, 0), "logprob");
    }
    json_decref(a);
}

static void the_context_and_its_memory_can_be_chosen(void **state)
{
    json_t *a = run_jsonf(*state, "--prompt-ids 1,2,3 --max-tokens 5 --ignore-eos",
                          "--context 8 --kv-mib 1");
    assert_int_equal(n_ids(a), 5);
    json_decref(a);
    assert_refuses(*state, "--prompt-ids 1,2,3 --max-tokens 6 --context 8", "the context holds 8");
    assert_refuses(*state, "--prompt-ids 1 --max-tokens 1 --kv-bytes 10", "10 bytes");
    assert_refuses(*state, "--prompt-ids 1 --kv-bytes 10 --kv-mib 1", "not both");
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
    assert_refuses(m, "--prompt a --top-p nan", "--top-p is \"nan\"");
    assert_refuses(m, "--prompt a --min-p 2", "min_p is 2");
    assert_refuses(m, "--prompt a --top-k -1", "--top-k");
    assert_refuses(m, "--prompt a --logit-bias 5", "a colon and a number");
    assert_refuses(m, "--prompt a --logit-bias 5:x", "--logit-bias");
    assert_refuses(m, "--prompt a --logit-bias 5:101", "logit_bias is 101");
    assert_refuses(m, "--prompt a --logit-bias 264:1", "logit_bias has token 264");
    assert_refuses(m, "--prompt a --logit-bias 5:1 --logit-bias 5:2", "token 5 twice");
    assert_refuses(m, "--prompt a --stop-id 264", "a stop token is 264");
    assert_refuses(m, "--prompt a --stop-id -1", "--stop-id");
    assert_refuses(m, "--prompt a --stop ''", "a stop string has 0 bytes");
    assert_refuses(m, "--prompt a --max-tokens 3 --min-tokens 4", "min_tokens is 4");
    assert_refuses(m, "--prompt a --logprobs 2", "--logprobs needs --json");
    assert_refuses(m, "--prompt a --json --logprobs 21", "--logprobs");
    assert_refuses(m, "--prompt a --context 321", "at most 320");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_biased_token_is_chosen_and_a_stop_token_ends),
        CASE(a_stop_string_is_looked_for_behind_min_tokens),
        CASE(every_sampling_option_reaches_the_sampler),
        CASE(reports_logprobs_and_their_alternatives),
        CASE(the_context_and_its_memory_can_be_chosen),
        CASE(refuses_bad_usage_with_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
