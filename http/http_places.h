/*
 * Who keeps a place when there are more clients than places. Nobody waits behind somebody else's
 * idle connections: a newcomer takes the place of a connection that waits, of the address that has
 * the most of them. What a handler works on is never ended for a newcomer, so of that one address
 * may have half of the places at most. Pure; sockets are the caller's.
 */
#ifndef HTTP_HTTP_PLACES_H
#define HTTP_HTTP_PLACES_H

#include <stddef.h>

#include "http/http_address.h"

enum http_place_state {
    HTTP_PLACE_WAITING, /* for a handshake, a request or the rest of it */
    HTTP_PLACE_LEAVING, /* its answer is whole, and the client has not read it yet */
    HTTP_PLACE_WORKING, /* a handler has its request */
};

struct http_place {
    struct http_address address;
    enum http_place_state state;
    uint64_t since; /* any order of events: it came, or was last answered */
    /* of http_places: */
    size_t n_same; /* places of its address, with it */
    struct http_place *next, **previous;
};

struct http_places {
    struct http_place *first;
    size_t n;
    size_t n_max;     /* beyond it somebody goes */
    size_t n_address; /* beyond it somebody of that address goes */
};

/* Takes the newcomer (its address, state and since are set) in. Gives the place that must go for
 * it: another one, or, where nobody waits whose address has as many, the newcomer itself. NULL
 * where all may stay: there is room, or it is the only one of its address and all others have work
 * in hand. */
struct http_place *http_places_admit(struct http_places *all, struct http_place *newcomer);
/* Nothing where it has no place. */
void http_places_remove(struct http_places *all, struct http_place *place);

#endif
