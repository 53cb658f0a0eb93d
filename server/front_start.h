/*
 * The front's way up: load and hash the model, hash the program, make the TLS key, have it all
 * measured, and ask for one quote, before the first client is let in.
 */
#ifndef SERVER_FRONT_START_H
#define SERVER_FRONT_START_H

#include "server/front_state.h"

/* Engine, and the measurement but for the TLS key. */
struct err front_load(struct front *f) MUST_USE;
/* TLS key, CHANNEL_MEASURE, and one quote over a nonce of our own. ERR_NOT_FOUND: the attester
 * closed the channel. */
struct err front_measure(struct front *f, int channel) MUST_USE;

#endif
