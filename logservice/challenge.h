/*
 * The two requests before anything is believed of a host, the same for a log service and for an
 * activator: a challenge for its `host` statement, and the answer to it (docs/FORMATS.md section
 * 10).
 */
#ifndef LOGSERVICE_CHALLENGE_H
#define LOGSERVICE_CHALLENGE_H

#include "logservice/request.h"
#include "logservice/session.h"

struct challenge_context {
    struct sessions *sessions;
    const struct policy *policy;
    struct store *log; /* where statements are that a host goes on from; NULL: nowhere */
};

/* Answers the exchange in any case. */
void challenge_begin(struct http_exchange *x, const struct challenge_context *c, uint64_t now_ms);
/* The session that was answered rightly, or NULL: then the exchange is answered. */
struct session *challenge_answer(struct http_exchange *x, struct sessions *sessions,
                                 uint64_t now_ms);

#endif
