/*
 * What the handlers of the API share while the front serves. All of it belongs to the event loop's
 * thread; the engine's thread reaches in only through front_handover.h.
 */
#ifndef SERVER_FRONT_STATE_H
#define SERVER_FRONT_STATE_H

#include <time.h>

#include "engine/group.h"
#include "server/front.h"
#include "server/front_attester.h"
#include "server/front_handover.h"
#include "http/http.h"
#include "http/http_rates.h"
#include "server/measurement.h"
#include "http/tls.h"
#include "transparency/store.h"

struct chat; /* api_chat.h */

struct front {
    const struct front_options *options;
    struct engine_group *engines;
    struct engine *engine;           /* the first, for what computes nothing */
    const struct engine_info *model; /* the first engine's */
    struct measurement measurement;
    struct tls_identity tls;
    char fingerprint[24]; /* "fp_" and 12 hex digits of the measured model and code */
    time_t started_s;

    struct event_base *base;
    struct http_server *http;
    struct handover *handover;
    struct front_attester *attester;
    struct http_rates *activations;
    struct publishing publishing; /* as told before the loop began */
    struct store *log;            /* read-only; NULL once the attester is asked to log the stop */
    struct event *stop_signal, *stop_tick, *engine_tick;
    struct chat *chats;

    bool stopping; /* asked to stop: no new chats */
    bool cancelled, asked_attester;
    time_t stop_deadline_s; /* monotonic */
    bool stopped;           /* the attester has logged the stop */
    char lacking[600];      /* what it lacks all the same */
    bool attester_gone;
    size_t n_stopped;  /* engines whose GPU has failed, as was said */
    char failure[256]; /* why the loop ended, if it should not have */
};

/* Whether there is a TPM behind it now. */
bool front_attests(const struct front *f);

/* api_*.c; each answers its exchange, at once or later. */
void api_chat(struct http_exchange *x, void *front);
void api_models(struct http_exchange *x, void *front);
void api_model(struct http_exchange *x, void *front);
void api_health(struct http_exchange *x, void *front);
void api_metrics(struct http_exchange *x, void *front);
void api_attestation(struct http_exchange *x, void *front);
void api_activate(struct http_exchange *x, void *front);
void api_activation(struct http_exchange *x, void *front);
void api_log_checkpoint(struct http_exchange *x, void *front);
void api_log_tile(struct http_exchange *x, void *front);
void api_log_blob(struct http_exchange *x, void *front);

/* Ends all requests in the engine at their next step; clients are told. */
void api_chat_cancel_all(struct front *f);
/* Once the engine is gone: what it will no longer finish. */
void api_chat_free_all(struct front *f);

#endif
