/*
 * Continuous batching: which requests contribute which rows to the next step. Interactive requests
 * come before batch work, and within a class rows that decode come first, then chunks of prompts,
 * first come first served, all under one budget of rows. When pages run out the last running
 * request in this order gives up its own and is recomputed later; its answer stays the same bit for
 * bit, so nobody sees it. A request that is admitted takes over the pages that its prompt's
 * beginning is known by, and a choice also copies a running sibling's last, unfilled one.
 *
 * A plan that is launched is a flight until its tokens have been read. Further plans are made as if
 * all of its sequences went on: the row of a token that is not known yet is planned like others,
 * but where the length ends an answer for certain, or a mask needs to know the token. A request
 * that turns out to have ended leaves the flights it is in; what they computed for it is of no
 * account. Its pages are free at once: whatever works on pages does so in the order of its calls.
 */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include "engine/request.h"

enum { SCHED_FLIGHTS_MAX = 2 };

struct sched_item {
    struct request *request; /* NULL: it has left */
    size_t n_rows; /* tokens n_computed to n_computed + n_rows - 1; their pages are reserved */
    bool chooses;  /* the last row gives the sequence's next token */
};

struct sched_flight {
    struct sched_item *items; /* room for max_running */
    size_t n_items;
};

struct sched {
    struct kv *kv; /* borrowed */
    /* Interactive ones first, each class oldest first; room for max_running. */
    struct request **running;
    size_t n_running, max_running;
    struct request_queue waiting[ENGINE_PRIORITIES]; /* oldest first */
    struct sched_item *items;                        /* the plan; room for max_running */
    size_t n_items;
    struct sched_flight flights[SCHED_FLIGHTS_MAX]; /* the oldest first */
    size_t n_flights;
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
 * unless nothing is there, or all that is there waits for flights. */
void sched_plan(struct sched *s, size_t budget);
/* The plan is the newest flight: its rows count as computed, and each item that chooses has a token
 * ahead. Fewer than SCHED_FLIGHTS_MAX are there. */
void sched_launch(struct sched *s);
/* The token of an item of the oldest flight is about to be appended to its request: no longer
 * ahead. */
void sched_read(struct sched *s, struct request *r);
/* The oldest flight has been read. */
void sched_land(struct sched *s);
/* All flights are lost, and the tokens ahead with them. */
void sched_lose_flights(struct sched *s);

/* A request with that id, waiting or running; NULL if there is none. */
struct request *sched_find(const struct sched *s, uint64_t id);
/* NULL when none waits. */
struct request *sched_first_waiting(const struct sched *s);
/* Takes a request out of the scheduler and its flights and lets go of its pages. Those that nobody
 * will ask for again, its answer's if it has no salt and its prompt's after the last choice, are
 * zeroed. The caller frees it before it removes another. */
void sched_remove(struct sched *s, struct request *r);

#endif
