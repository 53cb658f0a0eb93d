/*
 * The body of POST /v1/chat/completions, parsed and checked. Fields that we do not know are passed
 * over, as other servers do; a known field of a wrong type or range is refused by its name; a known
 * field that would change the answer and that we do not have (tools, response_format) is refused
 * too, rather than ignored.
 */
#ifndef SERVER_API_CHAT_REQUEST_H
#define SERVER_API_CHAT_REQUEST_H

#include <jansson.h>

#include "engine/engine.h"

enum { CHAT_SALT_LEN_MIN = 16, CHAT_SALT_LEN_MAX = 256 };
enum { CHAT_VALUES_MAX = 65536 }; /* of JSON in a body */
enum { CHAT_CHOICES_MAX = 16, CHAT_STOPS_MAX = 16, CHAT_STOP_LEN_MAX = 256 };

struct chat_request {
    json_t *root;           /* owns what the rest borrows */
    const json_t *messages; /* a non-empty array; the engine checks what is in it */
    const char *model;      /* NULL: none named */
    const char
        *service_tier; /* the one that "auto" and "default" get, or "flex"; NULL: none named */
    struct engine_params params; /* points to the arrays below: do not copy the struct */
    const char *stops[CHAT_STOPS_MAX];
    uint32_t stop_ids[ENGINE_STOP_IDS_MAX];
    struct engine_bias biases[ENGINE_BIAS_MAX];
    unsigned n_choices;
    bool stream, include_usage;
};

/* `defaults` are the model's. ERR_MALFORMED: not JSON. ERR_USAGE, ERR_UNSUPPORTED: *param names the
 * field at fault (static), or is NULL. */
struct err chat_request_parse(struct chat_request *out, const char **param, struct bytes body,
                              const struct engine_params *defaults) MUST_USE;
/* Whether the tokens that it names are in the vocabulary. ERR_USAGE: *param as above. */
struct err chat_request_check_tokens(const struct chat_request *r, const char **param,
                                     unsigned vocab_size) MUST_USE;
void chat_request_cleanup(struct chat_request *r); /* zeroes the salt */

#endif
