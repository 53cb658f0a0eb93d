/*
 * One process that serves HTTPS with one event loop, from its TLS key to its end: SIGTERM, SIGINT
 * or a failure stop it once the answers that are due have left, or have had their time.
 */
#ifndef LOGSERVICE_SERVING_H
#define LOGSERVICE_SERVING_H

#include "http/http.h"
#include "http/tls.h"

enum { SERVING_DRAIN_S = 60 };

struct serving {
    struct event_base *base;
    struct http_server *http;
    struct tls_identity tls;
    struct event *term, *interrupt, *drain;
    const char *tls_certificate, *tls_key; /* files of a key that lasts; NULL: one is made */
    unsigned drain_s; /* once it stops, for answers that are due; 0: SERVING_DRAIN_S */
    uint64_t stop_ms; /* when it began to stop; 0: it goes on */
    bool failed;
    char failure[512];
};

/* Makes all but the socket. `s` is zero but for drain_s and tls_*; `routes`, `context` and `hint`
 * as for http_server_new and _hint. To be cleaned up also after an error. */
struct err serving_open(struct serving *s, const struct http_route *routes, void *context,
                        const char *hint) MUST_USE;
/* Whoever waits for an answer is told that it goes. Before what the handlers use is freed. */
void serving_drop_clients(struct serving *s);
void serving_cleanup(struct serving *s);

/* Prints "listening on <url>" to standard output; returns when it has stopped, with the failure if
 * there was one. */
struct err serving_run(struct serving *s, const char *listen) MUST_USE;
/* err_message() is why it stops, if it is the first. */
void serving_fail(struct serving *s);

uint64_t serving_now_ms(void); /* a steady clock */

#endif
