#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/api_chat_request.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define SALT ",\"cache_salt\":\"0123456789abcdef\""

static const struct engine_params defaults = {
    .temperature = 0.6f, .top_p = 0.9f, .top_k = 40, .repetition_penalty = 1.0f};

static struct err parse(struct chat_request *r, const char **param, const char *body)
{
    return chat_request_parse(r, param, bytes_of_str(body), &defaults);
}

static void assert_refused(const char *body, const char *param)
{
    struct chat_request r;
    const char *at;
    struct err e = parse(&r, &at, body);
    assert_true(is_err(e));
    assert_null(r.root);
    if (param == NULL)
        assert_null(at);
    else
        assert_string_equal(at, param);
}

static void takes_the_models_defaults(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    assert_false(is_err(parse(&r, &param, "{" MESSAGES "}")));
    assert_true(r.params.temperature == 0.6f && r.params.top_p == 0.9f && r.params.top_k == 40);
    assert_int_equal(r.n_choices, 1);
    assert_int_equal(r.params.max_tokens, 0);
    assert_false(r.stream || r.include_usage || r.params.logprobs || r.params.has_seed);
    assert_null(r.service_tier);
    assert_int_equal(r.params.n_stop, 0);
    assert_null(r.model);
    assert_int_equal(json_array_size(r.messages), 1);
    chat_request_cleanup(&r);
}

static void takes_every_field(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    const char *body =
        "{" MESSAGES ",\"model\":\"m\",\"temperature\":0,\"top_p\":0.5,\"top_k\":3,\"min_p\":0.1,"
        "\"presence_penalty\":-2,\"frequency_penalty\":2,\"repetition_penalty\":1.5,\"seed\":-7,"
        "\"max_tokens\":5,\"max_completion_tokens\":6,\"n\":2,\"logprobs\":true,"
        "\"top_logprobs\":20,\"stop\":[\"a\",\"bc\"],\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true},\"ignore_eos\":true,\"user\":\"u\","
        "\"stop_token_ids\":[7,0],\"min_tokens\":6,\"logit_bias\":{\"12\":-100,\"9\":0.5}}";
    assert_false(is_err(parse(&r, &param, body)));
    assert_string_equal(r.model, "m");
    assert_true(r.params.temperature == 0 && r.params.top_p == 0.5f && r.params.min_p == 0.1f);
    assert_int_equal(r.params.top_k, 3);
    assert_true(r.params.presence_penalty == -2 && r.params.frequency_penalty == 2 &&
                r.params.repetition_penalty == 1.5f);
    assert_true(r.params.has_seed && r.params.seed == (uint64_t)-7);
    assert_int_equal(r.params.max_tokens, 6);
    assert_int_equal(r.n_choices, 2);
    assert_int_equal(r.params.n_logprobs, 20);
    assert_true(r.params.logprobs && r.stream && r.include_usage && r.params.ignore_eos);
    assert_int_equal(r.params.n_stop, 2);
    assert_ptr_equal(r.params.stop, r.stops);
    assert_string_equal(r.params.stop[1], "bc");
    assert_int_equal(r.params.n_stop_ids, 2);
    assert_true(r.params.stop_ids[0] == 7 && r.params.stop_ids[1] == 0);
    assert_int_equal(r.params.min_tokens, 6);
    assert_int_equal(r.params.n_logit_bias, 2);
    for (size_t i = 0; i < 2; i++) /* in whatever order */
        assert_true(r.params.logit_bias[i].bias == (r.params.logit_bias[i].id == 12 ? -100 : 0.5f));
    chat_request_cleanup(&r);
}

static void takes_a_tier_as_a_priority(void **state)
{
    (void)state;
    static const char *const names[] = {"auto", "default", "flex"};
    for (size_t i = 0; i < 3; i++) {
        struct chat_request r;
        const char *param;
        char body[200];
        snprintf(body, sizeof body, "{" MESSAGES ",\"service_tier\":\"%s\"}", names[i]);
        assert_false(is_err(parse(&r, &param, body)));
        assert_int_equal(r.params.priority, i == 2 ? ENGINE_BATCH : ENGINE_INTERACTIVE);
        assert_string_equal(r.service_tier, i == 2 ? "flex" : "default");
        chat_request_cleanup(&r);
    }
    assert_refused("{" MESSAGES ",\"service_tier\":\"priority\"}", "service_tier");
    assert_refused("{" MESSAGES ",\"service_tier\":1}", "service_tier");
}

static void a_cache_salt_is_hashed_whole_and_absent_by_default(void **state)
{
    (void)state;
    struct chat_request a, b, none;
    const char *param;
    assert_false(is_err(parse(&none, &param, "{" MESSAGES "}")));
    assert_false(none.params.has_cache_salt);
    assert_false(is_err(parse(&a, &param, "{" MESSAGES ",\"cache_salt\":\"0123456789abcdef\"}")));
    assert_false(is_err(parse(&b, &param, "{" MESSAGES ",\"cache_salt\":\"0123456789abcdef0\"}")));
    assert_true(a.params.has_cache_salt && b.params.has_cache_salt);
    assert_memory_not_equal(a.params.cache_salt, b.params.cache_salt, SHA256_LEN);
    chat_request_cleanup(&a);
    chat_request_cleanup(&b);
    chat_request_cleanup(&none);
    assert_refused("{" MESSAGES ",\"cache_salt\":\"too short\"}", "cache_salt");
    assert_refused("{" MESSAGES ",\"cache_salt\":[]}", "cache_salt");
}

static void no_salt_is_left_of_a_request(void **state)
{
    (void)state;
    static const uint8_t zero[SHA256_LEN];
    struct chat_request r;
    const char *param;
    assert_false(is_err(parse(&r, &param, "{" MESSAGES SALT "}")));
    assert_memory_not_equal(r.params.cache_salt, zero, SHA256_LEN);
    chat_request_cleanup(&r);
    assert_memory_equal(r.params.cache_salt, zero, SHA256_LEN);
    assert_int_equal(parse(&r, &param, "{" MESSAGES SALT ",\"tools\":[1]}").code, ERR_UNSUPPORTED);
    assert_memory_equal(r.params.cache_salt, zero, SHA256_LEN);
}

/* generation_config.json may say what a request may not. */
static void a_default_is_not_refused_as_if_it_were_asked_for(void **state)
{
    (void)state;
    const struct engine_params likeliest = {.top_p = 0, .repetition_penalty = 1.0f};
    struct chat_request r;
    const char *param;
    if (is_err(chat_request_parse(&r, &param, bytes_of_str("{" MESSAGES "}"), &likeliest)))
        fail_msg("%s", err_message());
    assert_true(r.params.top_p == 0);
    chat_request_cleanup(&r);
}

static void takes_null_as_absent(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    assert_false(
        is_err(parse(&r, &param,
                     "{" MESSAGES ",\"model\":null,\"temperature\":null,\"stop\":null,"
                     "\"stream_options\":null,\"seed\":null,\"tools\":null,\"top_k\":-1}")));
    assert_true(r.params.temperature == 0.6f);
    assert_int_equal(r.params.top_k, 0);
    chat_request_cleanup(&r);
}

static void takes_one_stop_text(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    assert_false(is_err(parse(&r, &param, "{" MESSAGES ",\"stop\":\"end\"}")));
    assert_int_equal(r.params.n_stop, 1);
    assert_string_equal(r.params.stop[0], "end");
    chat_request_cleanup(&r);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         " ",
                                         "{",
                                         "x",
                                         "{\"a\":1}}",
                                         "{\"a\":1,\"a\":1}",
                                         "{\"a\":\"\\u0000\"}",
                                         "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct chat_request r;
        const char *param;
        assert_int_equal(parse(&r, &param, bodies[i]).code, ERR_MALFORMED);
        assert_null(param);
    }
}

static void tells_why_a_body_cannot_be_read(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{", "is not JSON"},
        {"{\"a\":1}}", "is not JSON"},
        {"{\"a\":\"\\u0000\"}", "U+0000"},
        {"{\"a\\u0000\":1}", "U+0000"},
        {"{\"a\":1,\"a\":1}", "same key twice"},
        {"{\"max_tokens\":9223372036854775808}", "too large"},
        {"{\"seed\":18446744073709551616}", "too large"},
        {"{\"top_p\":1e400}", "too large"},
        {"{\"a\":\"\xff\"}", "is not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_refused(cases[i][0], NULL);
        if (strstr(err_message(), cases[i][1]) == NULL)
            fail_msg("%s: %s", cases[i][0], err_message());
    }
}

static void does_not_repeat_the_body_in_its_message(void **state)
{
    (void)state;
    assert_refused("{\"messages\": secret }", NULL);
    assert_null(strstr(err_message(), "secret"));
}

static void refuses_deep_nesting(void **state)
{
    (void)state;
    char body[8192];
    memset(body, '[', sizeof body);
    struct chat_request r;
    const char *param;
    assert_int_equal(chat_request_parse(&r, &param, bytes_of(body, sizeof body), &defaults).code,
                     ERR_MALFORMED);
}

/* A parser would take a hundred times its bytes of memory for it. */
static void does_not_parse_a_body_of_many_small_values(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    BUF_AUTO body = BUF_INIT;
    buf_append_str(&body, "{\"messages\":[");
    for (size_t i = 0; i < CHAT_VALUES_MAX; i++)
        buf_append_str(&body, "0,");
    buf_append_str(&body, "0]}");
    assert_int_equal(chat_request_parse(&r, &param, buf_bytes(&body), &defaults).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "65536 values"));
}

static void names_the_field_at_fault(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"temperature", "\"x\""},
        {"temperature", "2.1"},
        {"temperature", "-0.1"},
        {"temperature", "true"},
        {"top_p", "0"},
        {"top_p", "1.01"},
        {"top_p", "1e-60"},
        {"top_k", "1.5"},
        {"top_k", "-2"},
        {"min_p", "1.1"},
        {"max_tokens", "0"},
        {"max_tokens", "4294967296"},
        {"max_completion_tokens", "-1"},
        {"n", "0"},
        {"n", "17"},
        {"seed", "1.5"},
        {"stream", "1"},
        {"stop", "1"},
        {"stop", "[\"\"]"},
        {"stop", "[null]"},
        {"presence_penalty", "2.5"},
        {"frequency_penalty", "\"1\""},
        {"repetition_penalty", "0"},
        {"repetition_penalty", "0.009"}, /* the engine takes no less than 0.01 */
        {"logprobs", "5"},
        {"top_logprobs", "1"},
        {"top_logprobs", "21"},
        {"stream_options", "{}"},
        {"model", "1"},
        {"tools", "[{}]"},
        {"functions", "[{}]"},
        {"logit_bias", "{\"1\":100.5}"},
        {"logit_bias", "{\"1\":\"1\"}"},
        {"logit_bias", "{\"1\":null}"},
        {"logit_bias", "{\"x\":1}"},
        {"logit_bias", "{\"-1\":1}"},
        {"logit_bias", "{\"01\":1}"}, /* else one token could be there twice */
        {"logit_bias", "{\"4294967296\":1}"},
        {"logit_bias", "[1]"},
        {"stop_token_ids", "7"},
        {"stop_token_ids", "[-1]"},
        {"stop_token_ids", "[1.0]"},
        {"stop_token_ids", "[4294967296]"},
        {"min_tokens", "-1"},
        {"min_tokens", "1.5"},
        {"min_tokens", "4294967296"},
        {"response_format", "{\"type\":\"json_object\"}"},
        {"response_format", "\"text\""},
        {"ignore_eos", "1"},
        {"audio", "{\"voice\":\"x\"}"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char body[256];
        snprintf(body, sizeof body, "{" MESSAGES ",\"%s\":%s}", wrong[i][0], wrong[i][1]);
        assert_refused(body, wrong[i][0]);
    }
    assert_refused("{\"messages\":[]}", "messages");
    assert_refused("{\"messages\":\"x\"}", "messages");
    assert_refused("{}", "messages");
    assert_refused("[]", NULL);
    assert_refused("{" MESSAGES ",\"stream\":true,\"stream_options\":{\"include_usage\":1}}",
                   "include_usage");
}

static void refuses_more_min_tokens_than_max_tokens(void **state)
{
    (void)state;
    struct chat_request r;
    const char *param;
    assert_refused("{" MESSAGES ",\"min_tokens\":3,\"max_tokens\":2}", "min_tokens");
    assert_refused("{" MESSAGES ",\"min_tokens\":3,\"max_completion_tokens\":2}", "min_tokens");
    assert_false(is_err(parse(&r, &param, "{" MESSAGES ",\"min_tokens\":3}")));
    chat_request_cleanup(&r);
}

static void takes_as_many_tokens_as_the_engine_and_no_more(void **state)
{
    (void)state;
    for (int more = 0; more <= 1; more++) {
        struct chat_request r;
        const char *param;
        BUF_AUTO biases = BUF_INIT, ids = BUF_INIT;
        buf_append_str(&biases, "{" MESSAGES ",\"logit_bias\":{");
        for (int i = 0; i < ENGINE_BIAS_MAX + more; i++)
            buf_printf(&biases, "%s\"%d\":1", i > 0 ? "," : "", i);
        buf_append_str(&biases, "}}");
        buf_append_str(&ids, "{" MESSAGES ",\"stop_token_ids\":[");
        for (int i = 0; i < ENGINE_STOP_IDS_MAX + more; i++)
            buf_printf(&ids, "%s%d", i > 0 ? "," : "", i);
        buf_append_str(&ids, "]}");
        if (more) {
            assert_refused(buf_str(&biases), "logit_bias");
            assert_refused(buf_str(&ids), "stop_token_ids");
            continue;
        }
        assert_false(is_err(parse(&r, &param, buf_str(&biases))));
        assert_int_equal(r.params.n_logit_bias, ENGINE_BIAS_MAX);
        chat_request_cleanup(&r);
        assert_false(is_err(parse(&r, &param, buf_str(&ids))));
        assert_int_equal(r.params.n_stop_ids, ENGINE_STOP_IDS_MAX);
        chat_request_cleanup(&r);
    }
}

static void names_the_field_with_a_token_that_is_none(void **state)
{
    (void)state;
    static const char *const fields[] = {"\"logit_bias\":{\"1\":1,\"99\":1}",
                                         "\"stop_token_ids\":[1,99]"};
    static const char *const names[] = {"logit_bias", "stop_token_ids"};
    for (size_t i = 0; i < 2; i++) {
        struct chat_request r;
        const char *param;
        char body[256];
        snprintf(body, sizeof body, "{" MESSAGES ",%s}", fields[i]);
        assert_false(is_err(parse(&r, &param, body)));
        assert_false(is_err(chat_request_check_tokens(&r, &param, 100)));
        assert_null(param);
        assert_int_equal(chat_request_check_tokens(&r, &param, 99).code, ERR_USAGE);
        assert_string_equal(param, names[i]);
        chat_request_cleanup(&r);
    }
}

static void refuses_too_many_or_too_long_stops(void **state)
{
    (void)state;
    char body[512] = "{" MESSAGES ",\"stop\":[";
    for (int i = 0; i < CHAT_STOPS_MAX; i++)
        strcat(body, "\"a\",");
    strcat(body, "\"a\"]}");
    assert_refused(body, "stop");
    snprintf(body, sizeof body, "{" MESSAGES ",\"stop\":\"%0*d\"}", CHAT_STOP_LEN_MAX + 1, 0);
    assert_refused(body, "stop");
    struct chat_request r;
    const char *param;
    snprintf(body, sizeof body, "{" MESSAGES ",\"stop\":\"%0*d\"}", CHAT_STOP_LEN_MAX, 0);
    assert_false(is_err(parse(&r, &param, body)));
    chat_request_cleanup(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_models_defaults),
        cmocka_unit_test(takes_every_field),
        cmocka_unit_test(takes_a_tier_as_a_priority),
        cmocka_unit_test(a_cache_salt_is_hashed_whole_and_absent_by_default),
        cmocka_unit_test(no_salt_is_left_of_a_request),
        cmocka_unit_test(a_default_is_not_refused_as_if_it_were_asked_for),
        cmocka_unit_test(takes_null_as_absent),
        cmocka_unit_test(takes_one_stop_text),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(tells_why_a_body_cannot_be_read),
        cmocka_unit_test(does_not_repeat_the_body_in_its_message),
        cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(does_not_parse_a_body_of_many_small_values),
        cmocka_unit_test(names_the_field_at_fault),
        cmocka_unit_test(refuses_more_min_tokens_than_max_tokens),
        cmocka_unit_test(takes_as_many_tokens_as_the_engine_and_no_more),
        cmocka_unit_test(names_the_field_with_a_token_that_is_none),
        cmocka_unit_test(refuses_too_many_or_too_long_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
