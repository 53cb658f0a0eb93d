/*
 * One choice of a request from submit to its last event; the engine works on choices, and those of
 * one request share their prompt's pages. While it waits it has memory for its prompt, and gets
 * room for the answer when it is admitted; what waits is limited by what it holds. Tokens and text
 * are zeroed when it is freed.
 */
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H

#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/output.h"
#include "engine/prefix.h"
#include "engine/token_counts.h"
#include "engine/tokenizer.h"

/* What the choices of one request have in common. Gone with the last of them. */
struct request_group {
    uint8_t salt[SHA256_LEN]; /* the client's, or one that nobody knows */
    bool keeps_pages;         /* the client's: others may find the pages later */
    size_t n_members;
};

struct request {
    uint64_t id;          /* the same for all choices */
    uint64_t number;      /* order of arrival, its own */
    struct request *next; /* in a queue */
    struct request_group *group;

    uint32_t *tokens; /* prompt, then answer */
    size_t n_prompt, n_tokens;
    size_t n_max; /* prompt and answer together */
    size_t room;  /* for so many tokens, and their keys */
    /* Tokens behind these that steps on their way choose; what they are is not known yet. */
    size_t n_ahead;
    /* How many tokens' keys and values are in the cache, or will be once those steps have passed.
     */
    size_t n_computed;
    size_t n_published; /* full pages that others may find */
    struct page_list pages;
    uint8_t (*keys)[SHA256_LEN]; /* of its full pages, as far as they were needed */
    size_t n_keys;
    size_t n_cached; /* tokens of the prompt that were found when it was first admitted */
    bool admitted;   /* at least once */

    struct engine_params params; /* its own choice; logit_bias is our copy, stop is in `output` */
    struct engine_bias *logit_bias;
    uint32_t *end_ids; /* tokens that end the answer: EOS, unless ignored, and stop_ids */
    size_t n_end_ids;
    struct token_counts counts; /* of `tokens`; kept when there are penalties */
    uint64_t seed;
    struct detokenizer detokenizer;
    struct output output;

    engine_sink *sink;
    void *context;
    uint64_t size; /* bytes, when it was put into the queue where it is */
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

/* Appends a token to the answer, after request_make_room. ERR_MEMORY: not appended. */
struct err request_append(struct request *r, uint32_t id) MUST_USE;
/* Whether it can be told already how its next row is computed: not behind tokens ahead of which one
 * ends the answer or must be known for the mask. */
bool request_goes_on(const struct request *r);
/* Whether the token ends the answer. */
bool request_ends_with(const struct request *r, uint32_t id);
/* Whether the answer is still so short that nothing but its length may end it. */
bool request_must_go_on(const struct request *r);
/* Whether it needs its tokens counted. */
bool request_has_penalties(const struct request *r);

/* What the waiting requests of one class may hold: this much, or as much as the largest request
 * (ENGINE_CHOICES_MAX full contexts) where that is more. */
#define REQUEST_WAITING_LEN ((uint64_t)64 << 20)
enum { REQUEST_END_IDS_MAX = CONFIG_EOS_MAX + ENGINE_STOP_IDS_MAX };

/* Bytes of all that the request owns, and what the allocator adds. */
uint64_t request_size(const struct request *r);
/* The largest that a request can become while it runs. */
uint64_t request_running_size(uint64_t max_context, uint64_t vocab_size);
/* The limit above, or what ENGINE_WAITING_MAX full contexts hold where that is less. */
uint64_t request_waiting_max(uint64_t max_context);
/* Room for all its tokens and keys, and the prompt counted for penalties. ERR_MEMORY: it can only
 * be freed. */
struct err request_make_room(struct request *r) MUST_USE;
/* Zeroes and frees its tokens and keys. */
void request_free_room(struct request *r);

struct request_queue {
    struct request *first, *last;
    size_t n;
    uint64_t n_bytes; /* of all its requests, which keep their size while they are in it */
};

/* Pushes one request for each choice, none on failure. ERR_USAGE for parameters or tokens that make
 * no sense, ERR_LIMIT when prompt and answer exceed max_context. The seed is drawn here if none is
 * given. */
struct err request_new(struct request_queue *out, const struct request_source *source,
                       unsigned vocab_size, size_t max_context) MUST_USE;
/* Its pages must have been released. */
void request_free(struct request *r);

/* Computes its first n keys; 64 n tokens must be there. */
void request_make_keys(struct request *r, size_t n);

void queue_push(struct request_queue *q, struct request *r);
/* By number. The queue is in that order already. */
void queue_insert(struct request_queue *q, struct request *r);
struct request *queue_pop(struct request_queue *q); /* NULL when empty */
/* Takes out a request that is in the queue. */
void queue_remove(struct request_queue *q, struct request *r);

#endif
