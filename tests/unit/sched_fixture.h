/*
 * A scheduler over a small KV cache of one layer, whose steps only pretend to compute: each row
 * leaves its request's id in its page.
 */
#ifndef TESTS_UNIT_SCHED_FIXTURE_H
#define TESTS_UNIT_SCHED_FIXTURE_H

#include "engine/sched.h"

struct fixture {
    struct kv kv;
    struct sched sched;
    uint64_t last_id, last_number;
    size_t depth_less_one; /* steps that are launched before the oldest one is read */
};

void setup(struct fixture *f, size_t n_pages, size_t max_running);
/* After it every page is free and zero. */
void teardown(struct fixture *f);
void assert_all_zero(const struct kv *kv);

extern const struct engine_params plain;
/* Queues a prompt of n_prompt zeros: one request for each choice. */
void add_all(struct fixture *f, const struct engine_params *params, size_t n_prompt,
             struct request **out);
struct request *add(struct fixture *f, size_t n_prompt, unsigned max_tokens);
struct request *add_batch(struct fixture *f, size_t n_prompt, unsigned max_tokens);
struct request *add_salted(struct fixture *f, size_t n_prompt, uint8_t salt); /* 4 tokens */
void finish(struct fixture *f, struct request *r);

/* What a step does: all planned rows are computed, complete requests get a token. Fails when a page
 * that somebody else may read is written. */
void step(struct fixture *f, size_t budget);
size_t rows_of(const struct fixture *f, const struct request *r); /* in the last step */

#endif
