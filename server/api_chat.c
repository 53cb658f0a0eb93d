/* POST /v1/chat/completions: from the request to the engine. */
#include "server/api_chat.h"

#include <stdlib.h>
#include <string.h>

#include "server/api_chat_request.h"

#define REQUEST_AUTO __attribute__((cleanup(chat_request_cleanup))) struct chat_request
#define BUF_SECRET __attribute__((cleanup(buf_cleanup_secret))) struct buf

static struct chat *chat_new(struct front *f, struct http_exchange *x,
                             const struct chat_request *request)
{
    struct chat *c = calloc(1, sizeof *c);
    struct chat_choice *choices = calloc(request->n_choices, sizeof *choices);
    if (c == NULL || choices == NULL)
        abort();
    *c = (struct chat){.item.deliver = chat_deliver,
                       .front = f,
                       .http = x,
                       .next = f->chats,
                       .previous = &f->chats,
                       .with_logprobs = request->params.logprobs,
                       .n_choices = request->n_choices,
                       .choices = choices};
    if (c->next != NULL)
        c->next->previous = &c->next;
    f->chats = c;
    for (unsigned i = 0; i < c->n_choices; i++)
        choices[i] = (struct chat_choice){
            .logprobs = c->with_logprobs && !request->stream ? json_array() : NULL};
    uint8_t id[12];
    random_bytes(id, sizeof id);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(id, sizeof id));
    c->answer = (struct chat_answer){.created_s = time(NULL),
                                     .model = f->model->model_id,
                                     .fingerprint = f->fingerprint,
                                     .service_tier = request->service_tier,
                                     .stream = request->stream,
                                     .include_usage = request->include_usage};
    snprintf(c->answer.id, sizeof c->answer.id, "chatcmpl-%s", buf_str(&text));
    return c;
}

static void refuse(struct http_exchange *x, struct err e, const char *param)
{
    switch (e.code) {
    case ERR_BUSY:
        http_reply_error(x, 429, NULL, "busy", "%s", err_message());
        return;
    case ERR_LIMIT:
        http_reply_error(x, 400, param, "context_length_exceeded", "%s", err_message());
        return;
    case ERR_USAGE:
    case ERR_MALFORMED:
        http_reply_error(x, 400, param, NULL, "%s", err_message());
        return;
    case ERR_UNSUPPORTED:
        http_reply_error(x, 400, param, "unsupported", "%s", err_message());
        return;
    default:
        http_reply_error(x, 500, NULL, NULL, "%s", err_message());
    }
}

static struct err submit(struct chat *c, struct chat_request *request, const struct buf *tokens)
{
    request->params.n_choices = c->n_choices;
    return engine_group_submit(c->front->engines, &c->place,
                               (const uint32_t *)(const void *)tokens->data,
                               tokens->len / sizeof(uint32_t), &request->params, chat_sink, c);
}

static void start(struct front *f, struct http_exchange *x, struct chat_request *request)
{
    BUF_SECRET tokens = BUF_INIT;
    struct err e = engine_chat_tokens(f->engine, request->messages, &tokens);
    if (is_err(e)) {
        refuse(x, e, "messages");
        return;
    }
    struct chat *c = chat_new(f, x, request);
    e = submit(c, request, &tokens);
    if (is_err(e)) {
        c->http = NULL;
        refuse(x, e, e.code == ERR_LIMIT ? "messages" : NULL);
        chat_free(c);
        return;
    }
    http_on_leave(x, chat_client_left, c);
    if (c->answer.stream)
        chat_stream_begin(c);
}

void api_chat(struct http_exchange *x, void *context)
{
    struct front *f = context;
    if (f->stopping) {
        http_reply_error(x, 503, NULL, "stopping", "This server is about to stop.");
        return;
    }
    BUF_SECRET body = BUF_INIT;
    http_body(x, &body);
    struct engine_params defaults;
    engine_params_default(f->engine, &defaults);
    REQUEST_AUTO request = {0};
    const char *param;
    struct err e = chat_request_parse(&request, &param, buf_bytes(&body), &defaults);
    if (!is_err(e))
        e = chat_request_check_tokens(&request, &param, f->model->vocab_size);
    if (is_err(e)) {
        refuse(x, e, param);
        return;
    }
    if (request.model != NULL && strcmp(request.model, f->model->model_id) != 0) {
        http_reply_error(x, 404, "model", "model_not_found",
                         "The model `%s` does not exist here; this server has `%s`.", request.model,
                         f->model->model_id);
        return;
    }
    start(f, x, &request);
}

void api_chat_cancel_all(struct front *f)
{
    for (struct chat *c = f->chats; c != NULL; c = c->next)
        chat_cancel(c);
}

void api_chat_free_all(struct front *f)
{
    while (f->chats != NULL)
        chat_free(f->chats);
}
