/*
 * Statements on their way into the log: those that come within a moment are appended under one
 * COMMIT, and each is answered with its proof once a published checkpoint covers it.
 *
 * A failed append is final: nobody is told anything but 503, `failed` is called, and the process
 * must end and start again from the disk. Nothing is answered before its COMMIT.
 */
#ifndef LOGSERVICE_APPENDER_H
#define LOGSERVICE_APPENDER_H

#include "logservice/published.h"
#include "logservice/request.h"

enum {
    APPENDER_GATHER_MS = 10,   /* others may join a batch for so long */
    APPENDER_BATCH_MAX = 1024, /* statements under one COMMIT */
    APPENDER_PENDING_MAX = 4096,
    APPENDER_RECENT = 4096, /* newest entries that are known again */
};

struct appender;
struct appender_config {
    struct event_base *base;
    struct store *log;
    const struct published *published;
    unsigned quorum_wait_s;       /* an answer waits so long for witnesses */
    void (*grown)(void *context); /* a new checkpoint is on the disk */
    void (*failed)(void *context);
    void *context;
};
struct err appender_new(struct appender **out, const struct appender_config *config) MUST_USE;
/* Drops what still waits (its exchanges are the server's). */
void appender_free(struct appender *a);

/* The index of an entry with these bytes among the newest, in the log or on its way there. */
bool appender_knows(struct appender *a, struct bytes statement);
/* Takes the exchange and the blobs (NULL for an entry that appender_knows); answers when the
 * statement's proof is there, or that it is not. */
void appender_take(struct appender *a, struct http_exchange *x, struct bytes statement,
                   struct request_blobs *takes);
/* What is published has changed. */
void appender_published(struct appender *a);

#endif
