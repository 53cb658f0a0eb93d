/*
 * The objects that answer POST /v1/chat/completions, in the shapes of OpenAI's API: the whole
 * completion, and the chunks of a stream.
 */
#ifndef SERVER_API_CHAT_RESPONSE_H
#define SERVER_API_CHAT_RESPONSE_H

#include <jansson.h>

#include "engine/engine.h"

/* What all objects of one answer share. */
struct chat_answer {
    char id[48]; /* "chatcmpl-..." */
    int64_t created_s;
    const char *model, *fingerprint; /* borrowed */
    const char *service_tier;        /* the one that served, static; NULL: none was asked for */
    bool stream, include_usage;
};

/* "stop", "length", or NULL while unfinished. */
const char *chat_finish_name(enum engine_finish finish);

/* {"token", "logprob", "bytes"} of one token; bytes that are no UTF-8 become U+FFFD in "token". */
json_t *chat_token_object(struct bytes token, float logprob);

struct chat_usage {
    unsigned n_prompt, n_generated; /* tokens; of all choices together */
    unsigned n_cached;              /* of the prompt: found, not computed */
};
json_t *chat_usage_object(const struct chat_usage *u);

/* One element of a completion's "choices". `logprobs` (an array of tokens, or NULL) is taken. */
json_t *chat_choice_object(unsigned index, struct bytes text, enum engine_finish finish,
                           json_t *logprobs);
/* The completion; takes both. */
json_t *chat_completion_object(const struct chat_answer *a, json_t *choices, json_t *usage);

/* A chunk with one choice. The first one of a choice has `first`: it bears the role. */
json_t *chat_chunk_object(const struct chat_answer *a, unsigned index, bool first,
                          struct bytes text, enum engine_finish finish, json_t *logprobs);
/* The last chunk, with usage and no choices. */
json_t *chat_usage_chunk_object(const struct chat_answer *a, const struct chat_usage *u);

#endif
