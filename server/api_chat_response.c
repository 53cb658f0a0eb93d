#include "server/api_chat_response.h"

#include <math.h>
#include <stdlib.h>

#include "common/text.h"

static json_t *must(json_t *value)
{
    if (value == NULL)
        abort(); /* out of memory: the inputs are valid by construction */
    return value;
}

const char *chat_finish_name(enum engine_finish finish)
{
    return finish == ENGINE_STOP ? "stop" : finish == ENGINE_LENGTH ? "length" : NULL;
}

/* Longest valid start of `text`, at most 4 bytes, or 0. */
static size_t valid_character(struct bytes text)
{
    for (size_t len = 1; len <= 4 && len <= text.len; len++) {
        if (utf8_valid(bytes_of(text.data, len)))
            return len;
    }
    return 0;
}

static json_t *repaired_string(struct bytes text)
{
    BUF_AUTO repaired = BUF_INIT;
    while (text.len > 0) {
        size_t len = valid_character(text);
        if (len > 0)
            buf_append(&repaired, text.data, len);
        else
            buf_append_str(&repaired, "\xef\xbf\xbd");
        len += len == 0;
        text = bytes_of(text.data + len, text.len - len);
    }
    return json_stringn_nocheck(buf_str(&repaired), repaired.len);
}

static json_t *string_of(struct bytes text)
{
    if (text.len == 0)
        return must(json_string(""));
    if (!utf8_valid(text))
        return must(repaired_string(text));
    return must(json_stringn_nocheck((const char *)text.data, text.len));
}

json_t *chat_token_object(struct bytes token, float logprob)
{
    json_t *bytes = must(json_array());
    for (size_t i = 0; i < token.len; i++)
        json_array_append_new(bytes, json_integer(token.data[i]));
    /* JSON has no infinity; this is what OpenAI writes for "as good as impossible". */
    double finite = isfinite(logprob) ? (double)logprob : -9999.0;
    return must(
        json_pack("{s:o, s:f, s:o}", "token", string_of(token), "logprob", finite, "bytes", bytes));
}

json_t *chat_usage_object(const struct chat_usage *u)
{
    return must(json_pack("{s:i, s:i, s:i, s:{s:i}}", "prompt_tokens", (int)u->n_prompt,
                          "completion_tokens", (int)u->n_generated, "total_tokens",
                          (int)(u->n_prompt + u->n_generated), "prompt_tokens_details",
                          "cached_tokens", (int)u->n_cached));
}

static json_t *logprobs_object(json_t *tokens)
{
    return tokens == NULL ? must(json_null())
                          : must(json_pack("{s:o, s:n}", "content", tokens, "refusal"));
}

json_t *chat_choice_object(unsigned index, struct bytes text, enum engine_finish finish,
                           json_t *logprobs)
{
    return must(json_pack("{s:i, s:{s:s, s:o, s:n}, s:o, s:s?}", "index", (int)index, "message",
                          "role", "assistant", "content", string_of(text), "refusal", "logprobs",
                          logprobs_object(logprobs), "finish_reason", chat_finish_name(finish)));
}

static json_t *object_of(const struct chat_answer *a, const char *kind, json_t *choices)
{
    return must(json_pack("{s:s, s:s, s:I, s:s, s:s, s:s*, s:o}", "id", a->id, "object", kind,
                          "created", (json_int_t)a->created_s, "model", a->model,
                          "system_fingerprint", a->fingerprint, "service_tier", a->service_tier,
                          "choices", choices));
}

json_t *chat_completion_object(const struct chat_answer *a, json_t *choices, json_t *usage)
{
    json_t *object = object_of(a, "chat.completion", choices);
    json_object_set_new(object, "usage", usage);
    return object;
}

static json_t *chunk_of(const struct chat_answer *a, json_t *choices, json_t *usage)
{
    json_t *object = object_of(a, "chat.completion.chunk", choices);
    if (a->include_usage)
        json_object_set_new(object, "usage", usage != NULL ? usage : json_null());
    return object;
}

json_t *chat_chunk_object(const struct chat_answer *a, unsigned index, bool first,
                          struct bytes text, enum engine_finish finish, json_t *logprobs)
{
    json_t *delta = must(json_object());
    if (first)
        json_object_set_new(delta, "role", json_string("assistant"));
    if (first || text.len > 0)
        json_object_set_new(delta, "content", string_of(text));
    json_t *choice =
        must(json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)index, "delta", delta, "logprobs",
                       logprobs_object(logprobs), "finish_reason", chat_finish_name(finish)));
    return chunk_of(a, must(json_pack("[o]", choice)), NULL);
}

json_t *chat_usage_chunk_object(const struct chat_answer *a, const struct chat_usage *u)
{
    return chunk_of(a, must(json_array()), chat_usage_object(u));
}
