#include "http/connection.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <openssl/err.h>

#include "http/connection_tls.h"
#include "common/file.h"

enum { HEADERS_MAX = 64 * 1024, ERROR_BODY_MAX = 64 * 1024, HOUR_S = 3600 };

/* The request in progress; part of the connection, so that no late callback finds it gone. */
struct exchange {
    struct buf body;
    size_t max;
    int status;
    bool done, failed;
    enum evhttp_request_error why;
    connection_sink *sink;
    void *sink_context;
    struct err sink_error;
};

struct connection {
    struct event_base *base;
    SSL_CTX *tls;
    struct tls_peer peer;
    struct evhttp_connection *http;
    struct bufferevent *bev; /* http's */
    struct event *timer;
    struct addrinfo *addresses, *at;
    struct url url;
    struct connection_limits limits;
    bool dead; /* closed by the peer, or given up: no request is sent any more */
    bool timed_out;
    struct exchange x;
};

void answer_cleanup(struct answer *a)
{
    buf_cleanup_secret(&a->body);
}

static void arm(struct connection *c, unsigned seconds)
{
    const struct timeval t = {.tv_sec = (time_t)seconds};
    event_add(c->timer, &t);
}

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct connection *c = context;
    c->timed_out = true;
    event_base_loopbreak(c->base);
}

static void on_secure(void *context)
{
    struct connection *c = context;
    arm(c, c->x.sink != NULL ? c->limits.idle_s : c->limits.answer_s);
}

static void on_close(struct evhttp_connection *http, void *context)
{
    (void)http;
    struct connection *c = context;
    c->dead = true;
}

static struct err resolve(struct connection *c)
{
    char port[8];
    snprintf(port, sizeof port, "%u", c->url.port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int code = getaddrinfo(c->url.host, port, &hints, &c->addresses);
    if (code != 0)
        return err_set(ERR_NOT_FOUND, "the name '%s' does not resolve: %s", c->url.host,
                       gai_strerror(code));
    c->at = c->addresses;
    return err_ok();
}

static struct err out_of_memory(void)
{
    return err_set(ERR_MEMORY, "out of memory for a connection");
}

struct err connection_open(struct connection **out, const struct url *url,
                           const struct connection_limits *limits)
{
    CONNECTION_AUTO *c = calloc(1, sizeof *c);
    if (c == NULL)
        return out_of_memory();
    c->url = *url;
    c->limits = *limits;
    c->peer = (struct tls_peer){.on_secure = on_secure, .context = c};
    c->base = event_base_new();
    c->tls = tls_client_new(&c->peer);
    c->timer = c->base != NULL ? event_new(c->base, -1, 0, on_timer, c) : NULL;
    if (c->base == NULL || c->tls == NULL || c->timer == NULL)
        return out_of_memory();
    TRY(resolve(c));
    *out = c;
    c = NULL;
    return err_ok();
}

void connection_trust(struct connection *c, const struct tls_trust *trust)
{
    c->peer.trust = trust;
}

void connection_close(struct connection *c)
{
    if (c == NULL)
        return;
    if (c->http != NULL)
        evhttp_connection_free(c->http); /* with the bufferevent and its SSL */
    if (c->timer != NULL)
        event_free(c->timer);
    if (c->base != NULL)
        event_base_free(c->base);
    SSL_CTX_free(c->tls);
    if (c->addresses != NULL)
        freeaddrinfo(c->addresses);
    buf_cleanup_secret(&c->x.body);
    free(c);
}

void connection_cleanup(struct connection **c)
{
    connection_close(*c);
}

const uint8_t *connection_spki(const struct connection *c)
{
    return c->peer.secure ? c->peer.spki_sha256 : NULL;
}

/* The name goes into SNI only when it is one. */
static SSL *new_ssl(struct connection *c)
{
    SSL *ssl = SSL_new(c->tls);
    bool address = strspn(c->url.host, "0123456789.") == strlen(c->url.host) ||
                   strchr(c->url.host, ':') != NULL;
    if (ssl != NULL && !address)
        SSL_set_tlsext_host_name(ssl, c->url.host);
    if (ssl == NULL || tls_client_expect(ssl, c->peer.trust, c->url.host))
        return ssl;
    SSL_free(ssl);
    return NULL;
}

/* An HTTP connection to the address at hand, which connects with its first request. */
static struct err new_http(struct connection *c)
{
    char host[NI_MAXHOST];
    SSL *ssl = new_ssl(c);
    if (ssl == NULL || getnameinfo(c->at->ai_addr, c->at->ai_addrlen, host, sizeof host, NULL, 0,
                                   NI_NUMERICHOST) != 0) {
        SSL_free(ssl);
        return out_of_memory();
    }
    c->bev = bufferevent_openssl_socket_new(c->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                            BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (c->bev == NULL) {
        SSL_free(ssl);
        return out_of_memory();
    }
    c->http = evhttp_connection_base_bufferevent_new(c->base, NULL, c->bev, host, c->url.port);
    if (c->http == NULL) {
        bufferevent_free(c->bev);
        return out_of_memory();
    }
    evhttp_connection_set_closecb(c->http, on_close, c);
    evhttp_connection_set_retries(c->http, 0);
    evhttp_connection_set_timeout(c->http, HOUR_S); /* ours are shorter and cover whole answers */
    evhttp_connection_set_max_headers_size(c->http, HEADERS_MAX);
    return err_ok();
}

static int on_headers(struct evhttp_request *req, void *context)
{
    struct connection *c = context;
    c->x.status = evhttp_request_get_response_code(req);
    return 0;
}

/* A piece of the body, streamed to the sink or kept, within the limit. */
static void take(struct connection *c, struct evhttp_request *req)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    uint8_t piece[4096];
    int n;
    while (!is_err(c->x.sink_error) && (n = evbuffer_remove(in, piece, sizeof piece)) > 0) {
        struct bytes data = bytes_of(piece, (size_t)n);
        if (c->x.sink != NULL && c->x.status == HTTP_OK)
            c->x.sink_error = c->x.sink(c->x.sink_context, data);
        else if (c->x.body.len + data.len <= c->x.max)
            buf_append_bytes(&c->x.body, data);
        else
            c->x.sink_error = err_set(ERR_LIMIT,
                                      "the answer is longer than the %zu bytes that are "
                                      "accepted",
                                      c->x.max);
    }
    if (is_err(c->x.sink_error))
        event_base_loopbreak(c->base);
}

static void on_chunk(struct evhttp_request *req, void *context)
{
    struct connection *c = context;
    if (c->x.sink != NULL)
        arm(c, c->limits.idle_s);
    take(c, req);
}

static void on_error(enum evhttp_request_error why, void *context)
{
    struct connection *c = context;
    c->x.why = why;
    c->x.failed = true;
}

static void on_done(struct evhttp_request *req, void *context)
{
    struct connection *c = context;
    c->x.done = true;
    if (req == NULL || evhttp_request_get_response_code(req) == 0) {
        c->x.failed = true;
    } else {
        c->x.status = evhttp_request_get_response_code(req);
        take(c, req);
    }
    event_base_loopbreak(c->base);
}

static struct err submit(struct connection *c, const struct request *r)
{
    struct evhttp_request *req = evhttp_request_new(on_done, c);
    if (req == NULL)
        return out_of_memory();
    evhttp_request_set_error_cb(req, on_error);
    evhttp_request_set_header_cb(req, on_headers);
    evhttp_request_set_chunked_cb(req, on_chunk);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Host", c->url.authority);
    evhttp_add_header(headers, "User-Agent", "blindllama/" BL_VERSION);
    if (r->content_type != NULL) {
        evhttp_add_header(headers, "Content-Type", r->content_type);
        evbuffer_add(evhttp_request_get_output_buffer(req), r->body.data, r->body.len);
    }
    enum evhttp_cmd_type method = r->content_type != NULL ? EVHTTP_REQ_POST : EVHTTP_REQ_GET;
    if (evhttp_make_request(c->http, req, method, r->path) != 0)
        return err_set(ERR_IO, "%s: the request could not be made", c->url.authority);
    return err_ok();
}

static struct err explain_timeout(const struct connection *c)
{
    if (!c->peer.started)
        return err_set(ERR_IO, "%s: no connection within %u s", c->url.authority,
                       c->limits.connect_s);
    if (!c->peer.secure)
        return err_set(ERR_IO, "%s: no TLS within %u s", c->url.authority, c->limits.connect_s);
    return err_set(ERR_IO, "%s: no %s within %u s", c->url.authority,
                   c->x.sink != NULL ? "news" : "whole answer",
                   c->x.sink != NULL ? c->limits.idle_s : c->limits.answer_s);
}

/* Why TCP failed: libevent keeps no error of a connect, so it is tried once more, and told. */
static struct err explain_refusal(const struct connection *c)
{
    FD_AUTO fd = socket(c->at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval t = {.tv_sec = (time_t)c->limits.connect_s};
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t); /* bounds connect(2) as well */
    if (fd < 0 || connect(fd, c->at->ai_addr, c->at->ai_addrlen) != 0) {
        struct err e = err_errno("%s: cannot connect", c->url.authority);
        e.code = ERR_IO;
        return e;
    }
    return err_set(ERR_IO, "%s: cannot connect: try again", c->url.authority);
}

static struct err explain_failure(const struct connection *c)
{
    unsigned long ssl_error = c->bev != NULL ? bufferevent_get_openssl_error(c->bev) : 0;
    const char *reason = ssl_error != 0 ? ERR_reason_error_string(ssl_error) : NULL;
    if (!c->peer.started)
        return explain_refusal(c);
    if (c->peer.distrust[0] != '\0')
        return err_set(ERR_IO, "%s: %s", c->url.authority, c->peer.distrust);
    if (!c->peer.secure)
        return err_set(ERR_IO, "%s: no TLS 1.3 connection: %s", c->url.authority,
                       c->peer.alert[0] != '\0' ? c->peer.alert
                       : reason != NULL         ? reason
                                                : "the host closed it");
    switch (c->x.why) {
    case EVREQ_HTTP_INVALID_HEADER:
        return err_set(ERR_IO, "%s: the answer is not HTTP", c->url.authority);
    case EVREQ_HTTP_DATA_TOO_LONG:
        return err_set(ERR_LIMIT, "%s: the answer is longer than the %zu bytes that are accepted",
                       c->url.authority, c->x.max);
    default:
        return err_set(ERR_IO, "%s: the connection broke off%s%s", c->url.authority,
                       reason != NULL ? ": " : "", reason != NULL ? reason : "");
    }
}

/* Runs one request on the HTTP connection at hand to its end. */
static struct err run(struct connection *c, const struct request *r)
{
    c->timed_out = false;
    arm(c, c->peer.secure ? (c->x.sink != NULL ? c->limits.idle_s : c->limits.answer_s)
                          : c->limits.connect_s);
    evhttp_connection_set_max_body_size(c->http, (ev_ssize_t)r->max);
    TRY(submit(c, r));
    while (!c->x.done && !c->timed_out && !is_err(c->x.sink_error))
        if (event_base_loop(c->base, EVLOOP_ONCE) != 0)
            break;
    event_del(c->timer);
    if (is_err(c->x.sink_error))
        return c->x.sink_error;
    if (c->timed_out)
        return explain_timeout(c);
    if (c->x.failed || !c->x.done)
        return explain_failure(c);
    return err_ok();
}

/* The first request tries the name's addresses in turn, until one takes a connection. */
static struct err run_on_some_address(struct connection *c, const struct request *r)
{
    for (;;) {
        if (c->http == NULL)
            TRY(new_http(c));
        struct err e = run(c, r);
        if (!is_err(e) || c->peer.started || c->at->ai_next == NULL)
            return e;
        c->at = c->at->ai_next;
        evhttp_connection_free(c->http);
        c->http = NULL;
        c->dead = false;
        c->x.done = c->x.failed = false;
    }
}

struct err connection_stream(struct connection *c, struct answer *out,
                             const struct request *request, connection_sink *sink, void *context)
{
    if (c->dead)
        return err_set(ERR_IO, "%s closed the connection; nothing more was sent", c->url.authority);
    buf_cleanup_secret(&c->x.body);
    c->x = (struct exchange){
        .max = sink != NULL ? ERROR_BODY_MAX : request->max, .sink = sink, .sink_context = context};
    struct err e = run_on_some_address(c, request);
    if (is_err(e)) {
        c->dead = true;
        return e;
    }
    out->status = c->x.status;
    buf_append_bytes(&out->body, buf_bytes(&c->x.body));
    return err_ok();
}

struct err connection_request(struct connection *c, struct answer *out,
                              const struct request *request)
{
    return connection_stream(c, out, request, NULL, NULL);
}
