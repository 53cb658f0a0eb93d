/*
 * Server-sent events, as OpenAI-style APIs stream them: "data: <text>" lines. Bounded: a line of
 * more than SSE_LINE_MAX bytes is refused.
 */
#ifndef CLIENT_SSE_H
#define CLIENT_SSE_H

#include "common/buf.h"

enum { SSE_LINE_MAX = 1024 * 1024 };

/* Takes the text behind one "data:". */
typedef struct err sse_event(void *context, struct bytes data);

struct sse {
    struct buf line; /* what came of the current line */
    sse_event *event;
    void *context;
};

#define SSE_INIT(event_, context_) ((struct sse){BUF_INIT, (event_), (context_)})
void sse_cleanup(struct sse *s); /* wipes */

/* Takes the next bytes of the stream, cut anywhere. ERR_LIMIT, or the event's error. */
struct err sse_take(struct sse *s, struct bytes data) MUST_USE;

#endif
