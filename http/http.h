/*
 * HTTPS on libevent's evhttp: limits, deadlines and back-pressure, and one object per exchange that
 * a handler answers exactly once, at once or later, whole or as a stream.
 *
 * Everything here belongs to the event loop's thread. Nothing that a client sent is ever logged: a
 * log line has method, route, status, duration.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <event2/event.h>
#include <jansson.h>
#include <openssl/ssl.h>

#include "common/buf.h"
#include "http/http_address.h"

enum {
    HTTP_HEADERS_MAX = 64 * 1024,
    HTTP_BODY_MAX = 4 * 1024 * 1024,
    HTTP_INPUT_MAX = HTTP_BODY_MAX + HTTP_HEADERS_MAX, /* read ahead on one connection */
    HTTP_CONNECTIONS_MAX = 256, /* unless http_server_places says otherwise */
    HTTP_ADDRESS_MAX = 128,     /* connections of one address, of one /64 of IPv6: half of all */
    HTTP_PENDING_MAX = 1024 * 1024, /* output that a streaming client has not read */
};

/* Seconds. Tests shorten them. */
struct http_deadlines {
    unsigned request; /* handshake, headers and body together */
    unsigned idle;    /* between two requests of a connection */
    unsigned stall;   /* without a byte taken by the client */
};
#define HTTP_DEADLINES_DEFAULT ((struct http_deadlines){30, 75, 60})

struct http_server;
struct http_exchange;

enum http_method { HTTP_GET = 1, HTTP_POST = 2 };

struct http_route {
    const char *path;        /* ends in '/': all paths that begin so */
    enum http_method method; /* HEAD is answered as GET */
    const char *label;       /* in log lines, instead of the path */
    void (*handle)(struct http_exchange *x, void *context);
};

/* Counted for /metrics. */
struct http_stats {
    uint64_t n_requests, n_by_class[6]; /* [4]: answers 4xx */
    uint64_t n_left, n_stalled, n_timed_out;
    uint64_t n_evicted; /* dropped in favour of newcomers (http_places.h) */
    unsigned n_connections;
};

/* `tls` and `routes` are borrowed for the server's life; `routes` ends with a NULL path.
 * Connections wait in the backlog until http_server_accept. */
struct err http_server_new(struct http_server **out, struct event_base *base, SSL_CTX *tls,
                           const struct http_route *routes, void *context,
                           struct http_deadlines deadlines) MUST_USE;
/* A sentence that tells whoever asks for a path that is not there what paths there are; borrowed.
 */
void http_server_hint(struct http_server *s, const char *hint);
/* So many connections in all, half of them of one address; before http_server_accept. */
void http_server_places(struct http_server *s, unsigned n_connections);
/* Takes `fd`, bound and listening. */
struct err http_server_accept(struct http_server *s, int fd) MUST_USE;
/* Accepts no more; connections close after the exchange they are in. */
void http_server_drain(struct http_server *s);
/* Bytes of answers have still to leave, or exchanges are open. */
bool http_server_is_busy(const struct http_server *s);
void http_server_free(struct http_server *s);
const struct http_stats *http_server_stats(const struct http_server *s);

/* The part of the path behind a route that ends in '/', decoded; else "". */
const char *http_rest(const struct http_exchange *x);
/* A parameter of the query, decoded; NULL if it is not there or the query is malformed. Appended to
 * `out`, borrowed from it. */
const char *http_query(const struct http_exchange *x, struct buf *out, const char *key);
/* Whom it is from. */
struct http_address http_from(const struct http_exchange *x);
/* The whole body, appended. */
void http_body(const struct http_exchange *x, struct buf *out);

/* `left` is called when the client goes before the answer is whole. The exchange is gone then. */
void http_on_leave(struct http_exchange *x, void (*left)(void *context), void *context);

/* Each of these ends the exchange; `x` is invalid afterwards. */
void http_header(struct http_exchange *x, const char *name, const char *value); /* before */
void http_reply(struct http_exchange *x, int status, const char *content_type, struct bytes body);
/* The same without a copy: `done` is called when the bytes have left, or will not. */
void http_reply_shared(struct http_exchange *x, int status, const char *content_type,
                       struct bytes body, void (*done)(void *context), void *context);
void http_reply_json(struct http_exchange *x, int status, json_t *takes);
/* OpenAI's shape: {"error":{"message","type","param","code"}}; `param` and `code` may be NULL. The
 * type follows from the status. */
void http_reply_error(struct http_exchange *x, int status, const char *param, const char *code,
                      const char *format, ...) PRINTF_LIKE(5, 6);
json_t *http_error_object(int status, const char *param, const char *code, const char *message);

/* A stream of server-sent events: begin, any number of sends, end. A client that leaves more than
 * HTTP_PENDING_MAX unread is dropped (and `left` called). */
void http_stream_begin(struct http_exchange *x, const char *content_type);
void http_stream_send(struct http_exchange *x, struct bytes data);
void http_stream_end(struct http_exchange *x);

#endif
