/*
 * Continuous batching: which requests contribute which rows to the next step. Rows that decode come
 * first, then chunks of prompts, first come first served, under one budget of rows. When pages run
 * out the youngest running request gives up its own and is recomputed later; its answer stays the
 * same bit for bit, so nobody sees it.
 */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include "engine/request.h"

struct sched_item {
    struct request *request;
    size_t n_rows; /* tokens n_computed to n_computed + n_rows - 1; their pages are reserved */
};

struct sched {
    struct kv *kv;            /* borrowed */
    struct request **running; /* oldest first; room for max_running */
    size_t n_running, max_running;
    struct request_queue waiting; /* oldest first; all younger than those running */
    struct sched_item *items;     /* the plan; room for max_running */
    size_t n_items;
    uint64_t n_preempted;
};

struct err sched_init(struct sched *s, struct kv *kv, size_t max_running) MUST_USE;
void sched_cleanup(struct sched *s); /* frees all requests */

/* Fills items for a step of at most `budget` rows. Something is planned unless nothing is there. */
void sched_plan(struct sched *s, size_t budget);
/* Takes a request out of the scheduler and releases its pages; NULL if it is not there. The caller
 * frees it. */
struct request *sched_remove(struct sched *s, uint64_t id);

#endif
