/*
 * Continuous batching: which requests contribute which rows to the next step. Interactive requests
 * come before batch work, and within a class rows that decode come first, then chunks of prompts,
 * first come first served, all under one budget of rows. When pages run out the last running
 * request in this order gives up its own and is recomputed later; its answer stays the same bit for
 * bit, so nobody sees it. A request that is admitted takes over the pages that its prompt's
 * beginning is known by, and a choice also copies a running sibling's last, unfilled one.
 */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include "engine/request.h"

struct sched_item {
    struct request *request;
    size_t n_rows; /* tokens n_computed to n_computed + n_rows - 1; their pages are reserved */
};

struct sched {
    struct kv *kv; /* borrowed */
    /* Interactive ones first, each class oldest first; room for max_running. */
    struct request **running;
    size_t n_running, max_running;
    struct request_queue waiting[ENGINE_PRIORITIES]; /* oldest first */
    struct sched_item *items;                        /* the plan; room for max_running */
    size_t n_items;
    /* Could not be admitted for want of memory: to be removed. NULL: none since the last plan. */
    struct request *refused;
    uint64_t n_preempted;
    uint64_t n_prefix_queries, n_prefix_hits; /* tokens */
};

struct err sched_init(struct sched *s, struct kv *kv, size_t max_running) MUST_USE;
void sched_cleanup(struct sched *s); /* frees all requests */

/* Takes all of the queue's requests; their numbers ascend. */
void sched_add(struct sched *s, struct request_queue *incoming);
size_t sched_n_waiting(const struct sched *s);

/* Fills items for a step of at most `budget` rows. Something is planned or one request refused,
 * unless nothing is there. */
void sched_plan(struct sched *s, size_t budget);
/* The next n_rows tokens of a running request have been computed. */
void sched_computed(struct sched *s, struct request *r, size_t n_rows);

/* A request with that id, waiting or running; NULL if there is none. */
struct request *sched_find(const struct sched *s, uint64_t id);
/* NULL when none waits. */
struct request *sched_first_waiting(const struct sched *s);
/* Takes a request out of the scheduler and lets go of its pages. Those that nobody will ask for
 * again, its answer's if it has no salt and its prompt's after the last choice, are zeroed. The
 * caller frees it before it removes another. */
void sched_remove(struct sched *s, struct request *r);

#endif
