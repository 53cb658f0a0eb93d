/* POST /v1/chat/completions: from the engine back to the client. */
#include "server/api_chat.h"

#include <stdlib.h>
#include <string.h>

#define BUF_SECRET __attribute__((cleanup(buf_cleanup_secret))) struct buf

/* On the engine's thread. A token's record: itself, the number of alternatives, the alternatives.
 */
static void append_token(struct buf *out, const struct engine_event *event)
{
    uint32_t n_top = (uint32_t)event->n_top;
    buf_append(out, &event->token, sizeof event->token);
    buf_append(out, &n_top, sizeof n_top);
    buf_append(out, event->top, n_top * sizeof *event->top);
}

void chat_sink(void *context, const struct engine_event *event)
{
    struct chat *c = context;
    struct chat_choice *choice = &c->choices[event->choice];
    handover_lock(c->front->handover);
    buf_append_bytes(&choice->text, event->text);
    if (event->has_token && c->with_logprobs)
        append_token(&choice->tokens, event);
    choice->n_prompt = event->n_prompt;
    choice->n_generated = event->n_generated;
    choice->n_cached = event->n_cached;
    choice->finish = event->finish;
    if (event->error != NULL)
        snprintf(choice->error, sizeof choice->error, "%s", event->error);
    handover_push(c->front->handover, &c->item);
    handover_unlock(c->front->handover);
}

static json_t *token_object(struct front *f, const struct engine_logprob *token)
{
    BUF_SECRET text = BUF_INIT;
    if (is_err(engine_token_bytes(f->engine, token->id, &text)))
        buf_clear(&text);
    return chat_token_object(buf_bytes(&text), token->logprob);
}

static void take_token(void *out, struct reader *r, size_t len)
{
    struct bytes record = read_bytes(r, len);
    if (record.len != len)
        abort(); /* append_token wrote it */
    memcpy(out, record.data, len);
}

static void append_logprobs(struct front *f, json_t *out, const struct buf *tokens)
{
    struct reader r = reader_of(buf_bytes(tokens));
    while (reader_left(&r) > 0) {
        struct engine_logprob token;
        uint32_t n_top;
        take_token(&token, &r, sizeof token);
        take_token(&n_top, &r, sizeof n_top);
        json_t *object = token_object(f, &token), *top = json_array();
        for (uint32_t i = 0; i < n_top; i++) {
            struct engine_logprob other;
            take_token(&other, &r, sizeof other);
            json_array_append_new(top, token_object(f, &other));
        }
        json_object_set_new(object, "top_logprobs", top);
        json_array_append_new(out, object);
    }
}

static int append_json(const char *data, size_t len, void *context)
{
    buf_append(context, data, len);
    return 0;
}

static void append_event(struct buf *out, json_t *takes)
{
    buf_append_str(out, "data: ");
    if (json_dump_callback(takes, append_json, out, JSON_COMPACT) != 0)
        abort();
    buf_append_str(out, "\n\n");
    json_decref(takes);
}

void chat_stream_begin(struct chat *c)
{
    BUF_AUTO out = BUF_INIT;
    http_stream_begin(c->http, "text/event-stream; charset=utf-8");
    for (unsigned i = 0; i < c->n_choices; i++)
        append_event(&out, chat_chunk_object(&c->answer, i, true, (struct bytes){0},
                                             ENGINE_UNFINISHED, NULL));
    http_stream_send(c->http, buf_bytes(&out));
}

/* What the sink left since the last time. */
struct news {
    struct buf text, tokens;
    enum engine_finish finish;
};

static void news_cleanup(struct news *n)
{
    buf_cleanup_secret(&n->text);
    buf_cleanup_secret(&n->tokens);
}

static struct news take_news(struct handover *h, struct chat_choice *choice)
{
    handover_lock(h);
    struct news n = {choice->text, choice->tokens, choice->finish};
    choice->text = BUF_INIT;
    choice->tokens = BUF_INIT;
    handover_unlock(h);
    return n;
}

static void stream_news(struct chat *c, unsigned index, const struct news *n, struct buf *out)
{
    if (n->text.len > 0 || n->tokens.len > 0) {
        json_t *logprobs = c->with_logprobs ? json_array() : NULL;
        if (logprobs != NULL)
            append_logprobs(c->front, logprobs, &n->tokens);
        append_event(out, chat_chunk_object(&c->answer, index, false, buf_bytes(&n->text),
                                            ENGINE_UNFINISHED, logprobs));
    }
    if (chat_finish_name(n->finish) != NULL)
        append_event(
            out, chat_chunk_object(&c->answer, index, false, (struct bytes){0}, n->finish, NULL));
}

static void keep_news(struct chat *c, struct chat_choice *choice, const struct news *n)
{
    buf_append_bytes(&choice->whole, buf_bytes(&n->text));
    if (choice->logprobs != NULL)
        append_logprobs(c->front, choice->logprobs, &n->tokens);
}

/* The first choice that the engine could not finish, or NULL. */
static const struct chat_choice *failed_choice(const struct chat *c)
{
    for (unsigned i = 0; i < c->n_choices; i++) {
        if (chat_finish_name(c->choices[i].outcome) == NULL)
            return &c->choices[i];
    }
    return NULL;
}

static const char *failure_message(const struct chat_choice *failed)
{
    if (failed->outcome == ENGINE_CANCELLED)
        return "The server stopped before the answer was complete.";
    return failed->error[0] != '\0' ? failed->error : "The engine failed.";
}

/* The prompt is computed once: what later choices found may be what the first one computed. */
static struct chat_usage count_usage(const struct chat *c)
{
    struct chat_usage u = {.n_prompt = c->choices[0].n_prompt, .n_cached = c->choices[0].n_cached};
    for (unsigned i = 0; i < c->n_choices; i++) {
        const struct chat_choice *choice = &c->choices[i];
        u.n_generated += choice->n_generated;
        u.n_cached = choice->n_cached < u.n_cached ? choice->n_cached : u.n_cached;
    }
    return u;
}

static void end_stream(struct chat *c, struct buf *out)
{
    const struct chat_choice *failed = failed_choice(c);
    struct chat_usage usage = count_usage(c);
    if (failed != NULL)
        append_event(out, http_error_object(failed->outcome == ENGINE_CANCELLED ? 503 : 500, NULL,
                                            NULL, failure_message(failed)));
    else if (c->answer.include_usage)
        append_event(out, chat_usage_chunk_object(&c->answer, &usage));
    buf_append_str(out, "data: [DONE]\n\n");
}

static void reply_whole(struct chat *c)
{
    const struct chat_choice *failed = failed_choice(c);
    struct http_exchange *x = c->http;
    c->http = NULL;
    if (failed != NULL) {
        http_reply_error(x, failed->outcome == ENGINE_CANCELLED ? 503 : 500, NULL, NULL, "%s",
                         failure_message(failed));
        return;
    }
    json_t *choices = json_array();
    for (unsigned i = 0; i < c->n_choices; i++) {
        struct chat_choice *choice = &c->choices[i];
        json_array_append_new(choices, chat_choice_object(i, buf_bytes(&choice->whole),
                                                          choice->outcome, choice->logprobs));
        choice->logprobs = NULL;
    }
    struct chat_usage usage = count_usage(c);
    http_reply_json(x, 200, chat_completion_object(&c->answer, choices, chat_usage_object(&usage)));
}

static bool all_finished(const struct chat *c)
{
    for (unsigned i = 0; i < c->n_choices; i++) {
        if (!c->choices[i].finished)
            return false;
    }
    return true;
}

static void take_all_news(struct chat *c, struct buf *out)
{
    for (unsigned i = 0; i < c->n_choices; i++) {
        struct chat_choice *choice = &c->choices[i];
        if (choice->finished)
            continue; /* its last news came with an earlier delivery */
        __attribute__((cleanup(news_cleanup))) struct news n =
            take_news(c->front->handover, choice);
        if (c->http != NULL && c->answer.stream)
            stream_news(c, i, &n, out);
        else if (c->http != NULL)
            keep_news(c, choice, &n);
        if (n.finish == ENGINE_UNFINISHED)
            continue;
        choice->finished = true;
        choice->outcome = n.finish;
    }
}

void chat_deliver(struct handover_item *item)
{
    struct chat *c = (struct chat *)item;
    BUF_SECRET out = BUF_INIT;
    take_all_news(c, &out);
    bool finished = all_finished(c);
    if (c->http != NULL && c->answer.stream) {
        if (finished)
            end_stream(c, &out);
        if (out.len > 0)
            http_stream_send(c->http, buf_bytes(&out));
        if (finished)
            http_stream_end(c->http);
    } else if (c->http != NULL && finished) {
        reply_whole(c);
    }
    if (finished)
        chat_free(c);
}

void chat_client_left(void *context)
{
    struct chat *c = context;
    c->http = NULL;
    chat_cancel(c);
}

void chat_cancel(struct chat *c)
{
    engine_cancel(c->place.engine, c->place.id);
}

void chat_free(struct chat *c)
{
    handover_remove(c->front->handover, &c->item);
    for (unsigned i = 0; i < c->n_choices; i++) {
        buf_cleanup_secret(&c->choices[i].text);
        buf_cleanup_secret(&c->choices[i].tokens);
        buf_cleanup_secret(&c->choices[i].whole);
        json_decref(c->choices[i].logprobs);
    }
    *c->previous = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    free(c->choices);
    free(c);
}
