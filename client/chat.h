/*
 * One chat completion over a connection whose host was verified, streamed to a file as it comes.
 */
#ifndef CLIENT_CHAT_H
#define CLIENT_CHAT_H

#include <stdint.h>
#include <stdio.h>

#include "http/connection.h"

struct chat_question {
    const char *model;  /* NULL: the host's */
    const char *system; /* NULL: none */
    struct bytes prompt;
    uint64_t max_tokens; /* 0: the host's limit */
    double temperature;  /* negative: the host's default */
    bool has_seed;
    uint64_t seed;
};

struct chat_outcome {
    char finish_reason[32]; /* "stop", "length", ...; printable */
};

/* Sends the question and writes the answer to `out`, made harmless for terminals and
 * ended with a newline. ERR_IO when it
 * breaks off, or with the host's own error message. */
struct err chat_ask(struct chat_outcome *outcome, struct connection *c, FILE *out,
                    const struct chat_question *question) MUST_USE;

#endif
