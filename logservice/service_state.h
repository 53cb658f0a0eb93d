/*
 * What the files of the service share. For logservice/service*.c only.
 */
#ifndef LOGSERVICE_SERVICE_STATE_H
#define LOGSERVICE_SERVICE_STATE_H

#include <pthread.h>

#include "http/http.h"
#include "http/tls.h"
#include "logservice/appender.h"
#include "logservice/published.h"
#include "logservice/service.h"
#include "logservice/session.h"
#include "logservice/shelf.h"
#include "publish/witness_link.h"

struct service_results; /* of witnesses, between their threads and ours */

struct service {
    struct service_config config;
    struct event_base *base;
    struct http_server *http;
    struct tls_identity tls;
    struct store *log;
    struct published published;
    struct appender *appender;
    struct sessions *sessions;
    struct shelf *shelf;
    struct service_results *results;
    struct witness_link *links[TLOG_POLICY_WITNESSES_MAX];
    struct event *term, *interrupt, *drain;
    uint64_t stop_ms; /* when it began to stop; 0: it goes on */
    bool failed;
    char failure[512];
};

uint64_t service_now_ms(void); /* a steady clock */
/* The log failed: what waits is answered 503 and the loop ends. */
void service_fail(struct service *s);

/* GET */
void service_checkpoint(struct http_exchange *x, void *service);
void service_tile(struct http_exchange *x, void *service);
void service_blob(struct http_exchange *x, void *service);
void service_proof(struct http_exchange *x, void *service);
/* POST */
void service_challenge(struct http_exchange *x, void *service);
void service_answer(struct http_exchange *x, void *service);
void service_submit(struct http_exchange *x, void *service);

/* Before the log is served: ERR_UNTRUE as service_open. */
struct err service_ask_witnesses(struct service *s) MUST_USE;
struct err service_start_witnesses(struct service *s) MUST_USE;
void service_wake_witnesses(struct service *s);
void service_stop_witnesses(struct service *s);

#endif
