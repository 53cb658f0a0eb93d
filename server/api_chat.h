/*
 * One chat request in flight: its HTTP exchange on one side, the engine's work on its choices on
 * the other. It lives until the engine has finished all of them, even when the client has left long
 * before.
 */
#ifndef SERVER_API_CHAT_H
#define SERVER_API_CHAT_H

#include "server/api_chat_response.h"
#include "server/front_state.h"

struct chat_choice {
    /* The sink writes these, the loop takes them, both under the handover's lock. */
    struct buf text, tokens;
    enum engine_finish finish;
    char error[256];
    unsigned n_prompt, n_generated, n_cached;

    /* The loop's own. */
    bool finished;
    struct buf whole; /* of an answer that is not streamed */
    json_t *logprobs;
    enum engine_finish outcome;
};

struct chat {
    struct handover_item item; /* first: the handover's view of this */
    struct front *front;
    struct http_exchange *http;    /* NULL: the client has its answer, or has left */
    struct chat *next, **previous; /* of front->chats */
    struct chat_answer answer;
    bool with_logprobs;
    struct engine_place place;
    unsigned n_choices;
    struct chat_choice *choices;
};

/* api_chat_flow.c */
void chat_sink(void *chat, const struct engine_event *event);
void chat_deliver(struct handover_item *item);
void chat_client_left(void *chat);
/* Sends the first chunk of each choice. */
void chat_stream_begin(struct chat *c);
void chat_cancel(struct chat *c);
/* Only when no choice is in the engine. */
void chat_free(struct chat *c);

#endif
