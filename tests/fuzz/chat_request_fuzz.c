/*
 * The body of a chat request: any bytes end in a request within its limits, or in an error. Bytes
 * alone are hardly ever JSON, so the first one may also choose a field that the rest is the value
 * of.
 */
#include <stdlib.h>

#include "server/api_chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const fields[] = {
    "messages",
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "max_tokens",
    "n",
    "logprobs",
    "top_logprobs",
    "stop",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "logit_bias",
    "repetition_penalty",
    "max_completion_tokens",
    "response_format",
    "ignore_eos",
    "service_tier",
    "cache_salt",
    "stop_token_ids",
    "min_tokens",
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static void make_body(struct buf *out, const uint8_t *data, size_t len)
{
    if (len == 0 || data[0] >= 2 * N_FIELDS) {
        buf_append(out, data, len);
        return;
    }
    const char *field = fields[data[0] % N_FIELDS];
    /* `messages` itself is chosen as often as any other field. */
    buf_append_str(out, data[0] % N_FIELDS == 0 ? "{" : "{\"messages\":[{}],");
    if (data[0] >= N_FIELDS)
        buf_append_str(out, "\"stream\":true,\"logprobs\":true,");
    buf_printf(out, "\"%s\":", field);
    buf_append(out, data + 1, len - 1);
    buf_append_str(out, "}");
}

static void check(const struct chat_request *r)
{
    const struct engine_params *p = &r->params;
    if (!json_is_array(r->messages) || r->n_choices < 1 || r->n_choices > CHAT_CHOICES_MAX ||
        p->n_stop > CHAT_STOPS_MAX || p->n_logprobs > 20 || !(p->temperature >= 0) ||
        !(p->top_p > 0 && p->top_p <= 1) || !(p->repetition_penalty > 0))
        abort();
    if (p->n_stop_ids > ENGINE_STOP_IDS_MAX || p->n_logit_bias > ENGINE_BIAS_MAX ||
        (p->max_tokens > 0 && p->min_tokens > p->max_tokens))
        abort();
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        if (!(p->logit_bias[i].bias >= -100 && p->logit_bias[i].bias <= 100))
            abort();
    }
    for (size_t i = 0; i < p->n_stop; i++) {
        if (p->stop[i][0] == '\0')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct engine_params defaults = {
        .temperature = 1, .top_p = 1, .repetition_penalty = 1};
    BUF_AUTO body = BUF_INIT;
    make_body(&body, data, len);
    struct chat_request r;
    const char *param;
    if (is_err(chat_request_parse(&r, &param, buf_bytes(&body), &defaults)))
        return 0;
    check(&r);
    if (!is_err(chat_request_check_tokens(&r, &param, 1000)) && r.params.n_stop_ids > 0 &&
        r.params.stop_ids[0] >= 1000)
        abort();
    chat_request_cleanup(&r);
    return 0;
}
