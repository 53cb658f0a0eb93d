/*
 * One request from submit to its last event. Its tokens and text are zeroed when it is freed.
 */
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H

#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/output.h"
#include "engine/token_counts.h"
#include "engine/tokenizer.h"

struct request {
    uint64_t id;
    struct request *next; /* in a queue */

    uint32_t *tokens; /* prompt, then answer; room for n_max */
    size_t n_prompt, n_tokens;
    size_t n_max;      /* prompt and answer together */
    size_t n_computed; /* how many tokens' keys and values are in the cache */
    struct page_list pages;

    struct engine_params params; /* logit_bias is our copy; stop and stop_ids are not used */
    struct engine_bias *logit_bias;
    uint32_t *end_ids; /* tokens that end the answer: EOS, unless ignored, and stop_ids */
    size_t n_end_ids;
    struct token_counts counts; /* of `tokens`; kept when there are penalties */
    uint64_t seed;
    struct detokenizer detokenizer;
    struct output output;

    engine_sink *sink;
    void *context;
};

/* What engine_submit was given. */
struct request_source {
    const uint32_t *prompt;
    size_t n_prompt;
    const struct engine_params *params;
    const uint32_t *eos_ids; /* (n_eos), the model's */
    size_t n_eos;
    engine_sink *sink;
    void *context;
};

/* ERR_USAGE for parameters or tokens that make no sense, ERR_LIMIT when prompt and answer exceed
 * max_context. The seed is drawn here if none is given. */
struct err request_new(struct request **out, const struct request_source *source,
                       unsigned vocab_size, size_t max_context) MUST_USE;
/* Appends a token to the answer, which has room. ERR_MEMORY: not appended. */
struct err request_append(struct request *r, uint32_t id) MUST_USE;
/* Whether the token ends the answer. */
bool request_ends_with(const struct request *r, uint32_t id);
/* Whether the answer is still so short that nothing but its length may end it. */
bool request_must_go_on(const struct request *r);
/* Its pages must have been released. */
void request_free(struct request *r);

/* First in, first out. */
struct request_queue {
    struct request *first, *last;
    size_t n;
};

void queue_push(struct request_queue *q, struct request *r);
void queue_push_front(struct request_queue *q, struct request *r);
struct request *queue_pop(struct request_queue *q); /* NULL when empty */
/* Takes out the one with that id; NULL if it is not there. */
struct request *queue_remove(struct request_queue *q, uint64_t id);
/* Moves all of `from` behind `to`. */
void queue_append(struct request_queue *to, struct request_queue *from);

#endif
