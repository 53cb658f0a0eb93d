/*
 * What the two halves of the HTTP server share: http.c accepts requests and finds their handlers,
 * http_answer.c writes what these answer.
 */
#ifndef HTTP_HTTP_INTERNAL_H
#define HTTP_HTTP_INTERNAL_H

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <time.h>

#include "http/http_connection.h"

struct http_server {
    struct event_base *base;
    struct evhttp *http;
    struct evconnlistener *listener; /* evhttp's */
    struct evhttp_bound_socket *socket;
    struct http_connections *connections;
    SSL_CTX *tls;
    const struct http_route *routes;
    void *context;
    struct http_stats stats;
    unsigned n_places; /* connections */
    const char *hint;  /* after "There is nothing at this path." */
    bool draining;
};

struct http_exchange {
    struct http_server *server;
    struct evhttp_request *request;
    struct evhttp_connection *connection;
    struct bufferevent *bev;
    const char *label;
    char *rest; /* libevent's memory */
    struct timespec start;
    int status; /* of a stream that has begun */
    void (*left)(void *context);
    void *left_context;
};

/* A line for what became of a request; counts it. */
void http_exchange_log(struct http_exchange *x, int status, const char *how);
void http_exchange_free(struct http_exchange *x);

#endif
