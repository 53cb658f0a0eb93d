/*
 * From the engine's thread to the event loop: sinks put what they have under one lock, the loop is
 * woken by an eventfd and takes it. An item is on the list at most once, so the tokens of a step,
 * and of several steps if the loop is behind, arrive together.
 */
#ifndef SERVER_FRONT_HANDOVER_H
#define SERVER_FRONT_HANDOVER_H

#include <event2/event.h>

#include "common/err.h"

struct handover;

struct handover_item {
    struct handover_item *next;
    bool queued;
    void (*deliver)(struct handover_item *item); /* on the loop, without the lock */
};

struct err handover_new(struct handover **out, struct event_base *base) MUST_USE;
void handover_free(struct handover *h);

/* The lock guards whatever the sinks write. */
void handover_lock(struct handover *h);
void handover_unlock(struct handover *h);
/* With the lock held. */
void handover_push(struct handover *h, struct handover_item *item);
/* Before an item is freed: a sink may have put it on the list again since it was taken off for
 * delivery. Without the lock held. */
void handover_remove(struct handover *h, struct handover_item *item);

#endif
