#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/api_chat_response.h"

static const struct chat_answer answer = {
    .id = "chatcmpl-1", .created_s = 7, .model = "m", .fingerprint = "fp_0"};

static void assert_json(json_t *takes, const char *expected)
{
    char *text = json_dumps(takes, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(takes);
}

static void formats_a_completion(void **state)
{
    (void)state;
    json_t *choices = json_array();
    const struct chat_usage usage = {.n_prompt = 3, .n_generated = 2, .n_cached = 1};
    json_array_append_new(choices, chat_choice_object(0, bytes_of_str("hello"), ENGINE_STOP, NULL));
    assert_json(
        chat_completion_object(&answer, choices, chat_usage_object(&usage)),
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\","
        "\"system_fingerprint\":\"fp_0\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
        "\"assistant\",\"content\":\"hello\",\"refusal\":null},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,"
        "\"total_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":1}}}");
}

static void formats_the_chunks_of_a_stream(void **state)
{
    (void)state;
#define HEAD                                                                                       \
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\","   \
    "\"system_fingerprint\":\"fp_0\",\"choices\":["
    assert_json(chat_chunk_object(&answer, 1, true, (struct bytes){0}, ENGINE_UNFINISHED, NULL),
                HEAD "{\"index\":1,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                     "\"logprobs\":null,\"finish_reason\":null}]}");
    assert_json(chat_chunk_object(&answer, 0, false, bytes_of_str("hi"), ENGINE_UNFINISHED, NULL),
                HEAD "{\"index\":0,\"delta\":{\"content\":\"hi\"},\"logprobs\":null,"
                     "\"finish_reason\":null}]}");
    assert_json(chat_chunk_object(&answer, 0, false, (struct bytes){0}, ENGINE_LENGTH, NULL),
                HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}]}");
    struct chat_answer with_usage = answer;
    const struct chat_usage usage = {.n_prompt = 1, .n_generated = 2};
    with_usage.include_usage = true;
    assert_json(chat_usage_chunk_object(&with_usage, &usage),
                HEAD "],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
                     "\"total_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":0}}}");
}

static void shows_the_tier_that_served_if_one_was_asked_for(void **state)
{
    (void)state;
    struct chat_answer flex = answer;
    flex.service_tier = "flex";
    json_t *chunk = chat_chunk_object(&flex, 0, true, (struct bytes){0}, ENGINE_UNFINISHED, NULL);
    assert_string_equal(json_string_value(json_object_get(chunk, "service_tier")), "flex");
    json_decref(chunk);
    chunk = chat_chunk_object(&answer, 0, true, (struct bytes){0}, ENGINE_UNFINISHED, NULL);
    assert_null(json_object_get(chunk, "service_tier"));
    json_decref(chunk);
}

static void names_only_real_finishes(void **state)
{
    (void)state;
    assert_string_equal(chat_finish_name(ENGINE_STOP), "stop");
    assert_string_equal(chat_finish_name(ENGINE_LENGTH), "length");
    assert_null(chat_finish_name(ENGINE_UNFINISHED));
    assert_null(chat_finish_name(ENGINE_CANCELLED));
    assert_null(chat_finish_name(ENGINE_FAILED));
}

static void shows_tokens_that_are_part_of_a_character(void **state)
{
    (void)state;
    json_t *token = chat_token_object(bytes_of("a\xe2\x82", 3), -0.5f);
    assert_string_equal(json_string_value(json_object_get(token, "token")),
                        "a\xef\xbf\xbd\xef\xbf\xbd");
    assert_int_equal(json_array_size(json_object_get(token, "bytes")), 3);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(token, "bytes"), 1)), 0xe2);
    assert_true(json_real_value(json_object_get(token, "logprob")) == -0.5);
    json_decref(token);
}

static void writes_no_infinite_numbers(void **state)
{
    (void)state;
    json_t *token = chat_token_object(bytes_of_str("x"), -INFINITY);
    assert_true(json_real_value(json_object_get(token, "logprob")) == -9999.0);
    json_decref(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_a_completion),
        cmocka_unit_test(formats_the_chunks_of_a_stream),
        cmocka_unit_test(shows_the_tier_that_served_if_one_was_asked_for),
        cmocka_unit_test(names_only_real_finishes),
        cmocka_unit_test(shows_tokens_that_are_part_of_a_character),
        cmocka_unit_test(writes_no_infinite_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
