/*
 * What evhttp does not watch over itself: one record for each TLS connection, found from the
 * connection's SSL, that bounds what is read ahead, ends clients that are too slow or whose place
 * somebody else needs (http_places.h), and turns evhttp's own HTML errors into JSON before they
 * leave.
 */
#ifndef HTTP_HTTP_CONNECTION_H
#define HTTP_HTTP_CONNECTION_H

#include <event2/bufferevent.h>

#include "http/http.h"

struct http_connections; /* all of a server */

struct http_connections *http_connections_new(struct event_base *base,
                                              struct http_deadlines deadlines,
                                              struct http_stats *stats);
/* So many connections in all. */
void http_connections_places(struct http_connections *all, unsigned n);
/* The connections themselves are evhttp's and must be gone. */
void http_connections_free(struct http_connections *all);
/* Called whenever the number of connections changed. */
void http_connections_on_change(struct http_connections *all, void (*changed)(void *context),
                                void *context);
/* For evhttp_set_bevcb: a bufferevent that accepts TLS, with its record. Ends the process where
 * there is no memory: with NULL evhttp would go on without TLS. */
struct bufferevent *http_connection_new(struct http_connections *all, SSL_CTX *tls);

/* A handler has the request of this connection: reading deadlines rest until the answer has left.
 */
void http_connection_begin(struct bufferevent *bev);
/* All of the answer is there, and has still to leave. */
void http_connection_answered(struct bufferevent *bev);
void http_connection_finish(struct bufferevent *bev);
/* Ends the connection through evhttp's own error path, which tells whoever waits on it. */
void http_connection_drop(struct bufferevent *bev);
/* Answers have still to leave. */
bool http_connections_are_writing(const struct http_connections *all);

#endif
