/*
 * The front's end of the channel once it serves: requests go out without waiting, each answer finds
 * who asked. The attester closing its end is the end of the front, unless it said before that the
 * TPM failed and the front may do without. It may also say later that the TPM is back.
 */
#ifndef SERVER_FRONT_ATTESTER_H
#define SERVER_FRONT_ATTESTER_H

#include <event2/event.h>

#include "server/channel.h"

enum { FRONT_ATTESTER_PENDING_MAX = 16384 }; /* as many nonces as one quote bears */

struct front_attester;

/* `answer` is CHANNEL_ERROR or what the request's type is answered with. */
typedef void front_attester_answered(void *context, const struct channel_frame *answer);

struct front_attester_events {
    void (*gone)(void *context);        /* once: the other side closed or broke the protocol */
    void (*tpm_changed)(void *context); /* it failed, or is back */
    void (*refused)(void *context);     /* the log refused a statement for good: _publishing */
};

/* Takes `fd`; a quote has just been logged, and `publishing` been told. */
struct err front_attester_new(struct front_attester **out, struct event_base *base, int fd,
                              const struct publishing *publishing,
                              struct front_attester_events events, void *context) MUST_USE;
void front_attester_free(struct front_attester *a);

/* Seconds since the attester last logged a quote, as far as it has told, or since the start; a
 * suspended host ages. */
uint64_t front_attester_quote_age_s(const struct front_attester *a);

/* Whether a quote was logged at all: with a log service that is some time after the start. */
bool front_attester_has_quoted(const struct front_attester *a);
/* What others have not seen of the log yet, as the attester last told. */
const struct publishing *front_attester_publishing(const struct front_attester *a);
/* Seconds that the oldest entry of that waits: 0 where none does. */
uint64_t front_attester_waiting_s(const struct front_attester *a);

/* Why nothing can be attested, while the TPM has failed; else NULL. */
const char *front_attester_tpm_failure(const struct front_attester *a);
struct front_attester_counts {
    uint64_t n_failures, n_recoveries; /* of the TPM */
};
struct front_attester_counts front_attester_counts(const struct front_attester *a);

/* ERR_BUSY when too many requests wait; ERR_IO when the attester is gone. */
struct err front_attester_ask(struct front_attester *a, uint64_t *id, uint32_t type,
                              struct bytes payload, front_attester_answered *answered,
                              void *context) MUST_USE;
/* Whoever asked has gone: the answer will be dropped. */
void front_attester_forget(struct front_attester *a, uint64_t id);

#endif
