#include "client/chat.h"

#include <stdlib.h>
#include <string.h>

#include "client/api.h"
#include "client/sse.h"
#include "client/terminal.h"
#include "common/text.h"

enum { STREAM_MAX = 256 * 1024 * 1024 };

struct reception {
    FILE *out;
    bool finished; /* [DONE] came */
    uint8_t last;  /* byte written, or 0 */
    struct chat_outcome outcome;
};

static void add_message(json_t *messages, const char *role, struct bytes content)
{
    json_t *message = json_object();
    json_object_set_new(message, "role", json_string(role));
    json_object_set_new(message, "content", json_stringn((const char *)content.data, content.len));
    json_array_append_new(messages, message);
}

static struct err format_question(struct buf *out, const struct chat_question *q)
{
    JSON_AUTO *root = json_object();
    json_t *messages = json_array();
    if (q->model != NULL)
        json_object_set_new(root, "model", json_string(q->model));
    if (q->system != NULL)
        add_message(messages, "system", bytes_of_str(q->system));
    add_message(messages, "user", q->prompt);
    json_object_set_new(root, "messages", messages);
    json_object_set_new(root, "stream", json_true());
    if (q->max_tokens > 0)
        json_object_set_new(root, "max_tokens", json_integer((json_int_t)q->max_tokens));
    if (q->temperature >= 0)
        json_object_set_new(root, "temperature", json_real(q->temperature));
    if (q->has_seed)
        json_object_set_new(root, "seed", json_integer((json_int_t)q->seed));
    char *text = json_dumps(root, JSON_COMPACT);
    if (text == NULL)
        return err_set(ERR_USAGE, "the question cannot be written as JSON: is it UTF-8?");
    buf_append_str(out, text);
    explicit_bzero(text, strlen(text));
    free(text);
    return err_ok();
}

static struct err print_text(struct reception *r, const json_t *content)
{
    __attribute__((cleanup(buf_cleanup_secret))) struct buf clean = BUF_INIT;
    terminal_clean(&clean, bytes_of(json_string_value(content), json_string_length(content)));
    if (clean.len == 0)
        return err_ok();
    if (fwrite(clean.data, 1, clean.len, r->out) != clean.len || fflush(r->out) != 0)
        return err_errno("cannot write the answer");
    r->last = clean.data[clean.len - 1];
    return err_ok();
}

/* One piece: {"choices": [{"delta": {"content": ...}, "finish_reason": ...}]}, or an error object.
 */
static struct err take_piece(struct reception *r, struct bytes data)
{
    JSON_AUTO *root = NULL;
    BUF_AUTO message = BUF_INIT;
    TRY(err_context(api_parse(&root, data), "the stream"));
    if (api_error_message(&message, root) != NULL)
        return err_set(ERR_IO, "the host broke off: %.500s", buf_str(&message));
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, "delta"), "content");
    const json_t *reason = json_object_get(choice, "finish_reason");
    char shown[84];
    if (json_is_string(reason))
        snprintf(r->outcome.finish_reason, sizeof r->outcome.finish_reason, "%.31s",
                 printable(shown, bytes_of_str(json_string_value(reason))));
    return json_is_string(content) ? print_text(r, content) : err_ok();
}

static struct err on_event(void *context, struct bytes data)
{
    struct reception *r = context;
    if (r->finished)
        return err_ok();
    if (bytes_equal(data, bytes_of_str("[DONE]"))) {
        r->finished = true;
        return err_ok();
    }
    return take_piece(r, data);
}

static struct err on_data(void *context, struct bytes data)
{
    return sse_take(context, data);
}

struct err chat_ask(struct chat_outcome *outcome, struct connection *c, FILE *out,
                    const struct chat_question *question)
{
    __attribute__((cleanup(buf_cleanup_secret))) struct buf body = BUF_INIT;
    TRY(format_question(&body, question));
    struct reception r = {.out = out};
    __attribute__((cleanup(sse_cleanup))) struct sse stream = SSE_INIT(on_event, &r);
    ANSWER_AUTO answer = ANSWER_INIT;
    const struct request request = {.path = "/v1/chat/completions",
                                    .content_type = "application/json",
                                    .body = buf_bytes(&body),
                                    .max = STREAM_MAX};
    struct err e = connection_stream(c, &answer, &request, on_data, &stream);
    if (r.last != 0 && r.last != '\n')
        fputs("\n", out); /* also where it broke off */
    TRY(e);
    e = api_status(&answer, "chat");
    if (e.code == ERR_UNTRUE) /* a request that the host refuses: nothing is false */
        e.code = ERR_IO;
    TRY(e);
    if (!r.finished)
        return err_set(ERR_IO, "the answer broke off before its end");
    *outcome = r.outcome;
    return err_ok();
}
