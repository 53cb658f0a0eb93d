#include "http/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "http/http_connection.h"

enum { HTTP_RECORD_MAX = 16384 }; /* bytes in one record of TLS (RFC 8446, section 5.1) */

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

static const char *method_name(struct evhttp_request *request)
{
    switch (evhttp_request_get_command(request)) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_POST:
        return "POST";
    default:
        return "other";
    }
}

static void log_exchange(struct http_exchange *x, int status, const char *how)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds =
        (double)(now.tv_sec - x->start.tv_sec) + (double)(now.tv_nsec - x->start.tv_nsec) * 1e-9;
    x->server->stats.n_by_class[status / 100 % 6]++;
    fprintf(stderr, "%s %s %d %.3f s%s\n", method_name(x->request), x->label, status, seconds, how);
}

static void exchange_free(struct http_exchange *x)
{
    free(x->rest);
    free(x);
}

/* libevent frees the connection: the client left, was dropped, or the server ends. */
static void connection_closed(struct evhttp_connection *connection, void *context)
{
    (void)connection;
    struct http_exchange *x = context;
    x->server->stats.n_left++;
    log_exchange(x, 499, ", client left");
    if (x->left != NULL)
        x->left(x->left_context);
    /* After a failure evhttp has cut the request off and leaves it to us. */
    if (evhttp_request_get_connection(x->request) == NULL)
        evhttp_request_free(x->request);
    exchange_free(x);
}

static void answer_has_left(struct evhttp_request *request, void *context)
{
    (void)request;
    http_connection_finish(context);
}

static void take_rest(struct http_exchange *x, const char *behind)
{
    x->rest = evhttp_uridecode(behind, 0, NULL);
}

static bool route_matches(const struct http_route *route, const char *path)
{
    size_t len = strlen(route->path);
    if (route->path[len - 1] == '/' && len > 1)
        return strncmp(path, route->path, len) == 0;
    return strcmp(path, route->path) == 0;
}

/* How evhttp found the end of the request must be how any proxy before us did: otherwise the rest
 * would be taken for another client's request (RFC 9112, section 11.2). 0, or the status of a
 * refusal. evhttp takes the first header of a name, and itself refuses chunks with a length. */
static int framing_status(struct evhttp_request *request)
{
    const char *length = NULL;
    struct evkeyval *header;
    TAILQ_FOREACH(header, evhttp_request_get_input_headers(request), next)
    {
        if (evutil_ascii_strcasecmp(header->key, "Transfer-Encoding") == 0 &&
            evutil_ascii_strcasecmp(header->value, "chunked") != 0)
            return 501;
        if (evutil_ascii_strcasecmp(header->key, "Content-Length") != 0)
            continue;
        if (length != NULL && strcmp(length, header->value) != 0)
            return 400;
        length = header->value;
    }
    return 0;
}

static void refuse_framing(struct http_exchange *x, int status)
{
    http_header(x, "Connection", "close");
    http_reply_error(x, status, NULL, NULL,
                     status == 501
                         ? "Of the transfer encodings, this server takes \"chunked\" alone."
                         : "The request gives two lengths of its body.");
}

static void dispatch(struct http_exchange *x)
{
    int framing = framing_status(x->request);
    if (framing != 0) {
        refuse_framing(x, framing);
        return;
    }
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(x->request));
    enum evhttp_cmd_type command = evhttp_request_get_command(x->request);
    unsigned method = command == EVHTTP_REQ_POST   ? HTTP_POST
                      : command == EVHTTP_REQ_GET  ? HTTP_GET
                      : command == EVHTTP_REQ_HEAD ? HTTP_GET
                                                   : 0;
    unsigned allowed = 0;
    for (const struct http_route *route = x->server->routes; route->path != NULL; route++) {
        if (path == NULL || !route_matches(route, path))
            continue;
        x->label = route->label;
        allowed |= route->method;
        if (route->method != method)
            continue;
        take_rest(x, path + strlen(route->path));
        route->handle(x, x->server->context);
        return;
    }
    if (allowed == 0) {
        http_reply_error(x, 404, NULL, "unknown_url", "There is nothing at this path.%s",
                         x->server->hint);
        return;
    }
    http_header(x, "Allow",
                allowed == HTTP_POST  ? "POST"
                : allowed == HTTP_GET ? "GET, HEAD"
                                      : "GET, HEAD, POST");
    http_reply_error(x, 405, NULL, "method_not_allowed", "This path does not take this method.");
}

static void on_request(struct evhttp_request *request, void *context)
{
    struct http_server *s = context;
    struct http_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->server = s;
    x->request = request;
    x->connection = evhttp_request_get_connection(request);
    x->bev = evhttp_connection_get_bufferevent(x->connection);
    x->label = "(unknown path)"; /* a path can hold what somebody typed */
    clock_gettime(CLOCK_MONOTONIC, &x->start);
    s->stats.n_requests++;
    http_connection_begin(x->bev);
    evhttp_connection_set_closecb(x->connection, connection_closed, x);
    evhttp_request_set_on_complete_cb(request, answer_has_left, x->bev);
    dispatch(x);
}

static struct bufferevent *new_connection(struct event_base *base, void *context)
{
    (void)base;
    struct http_server *s = context;
    return http_connection_new(s->connections, s->tls);
}

/* At the limit, further clients wait in the kernel's backlog: until who must go for those that came
 * before has gone, or, where every connection has work in hand, until one is done. */
static void connections_changed(void *context)
{
    struct http_server *s = context;
    if (s->listener == NULL)
        return;
    if (s->stats.n_connections >= s->n_places)
        evconnlistener_disable(s->listener);
    else
        evconnlistener_enable(s->listener);
}

struct err http_server_new(struct http_server **out, struct event_base *base, SSL_CTX *tls,
                           const struct http_route *routes, void *context,
                           struct http_deadlines deadlines)
{
    struct http_server *s = calloc(1, sizeof *s);
    struct evhttp *http = evhttp_new(base);
    if (s == NULL || http == NULL) {
        free(s);
        return err_set(ERR_MEMORY, "no memory for the HTTP server");
    }
    *s = (struct http_server){
        .base = base, .http = http, .tls = tls, .routes = routes, .context = context, .hint = ""};
    s->n_places = HTTP_CONNECTIONS_MAX;
    s->connections = http_connections_new(base, deadlines, &s->stats);
    http_connections_on_change(s->connections, connections_changed, s);
    evhttp_set_bevcb(http, new_connection, s);
    evhttp_set_gencb(http, on_request, s);
    evhttp_set_max_headers_size(http, HTTP_HEADERS_MAX);
    evhttp_set_max_body_size(http, HTTP_BODY_MAX);
    /* What is too long is read to its end and thrown away, so that the client sees the answer. */
    evhttp_set_flags(http, EVHTTP_SERVER_LINGERING_CLOSE);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                         EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS |
                                         EVHTTP_REQ_PATCH);
    *out = s;
    return err_ok();
}

void http_server_hint(struct http_server *s, const char *hint)
{
    s->hint = hint;
}

void http_server_places(struct http_server *s, unsigned n_connections)
{
    s->n_places = n_connections;
    http_connections_places(s->connections, n_connections);
}

struct err http_server_accept(struct http_server *s, int fd)
{
    evutil_make_socket_nonblocking(fd);
    s->socket = evhttp_accept_socket_with_handle(s->http, fd);
    if (s->socket == NULL)
        return err_set(ERR_IO, "cannot accept connections");
    s->listener = evhttp_bound_socket_get_listener(s->socket);
    return err_ok();
}

void http_server_drain(struct http_server *s)
{
    s->draining = true;
    if (s->socket != NULL)
        evhttp_del_accept_socket(s->http, s->socket);
    s->socket = NULL;
    s->listener = NULL;
}

bool http_server_is_busy(const struct http_server *s)
{
    return http_connections_are_writing(s->connections);
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    s->socket = NULL; /* evhttp frees it */
    s->listener = NULL;
    evhttp_free(s->http);
    event_base_loop(s->base, EVLOOP_NONBLOCK); /* libevent frees connections from its loop */
    http_connections_free(s->connections);
    free(s);
}

const struct http_stats *http_server_stats(const struct http_server *s)
{
    return &s->stats;
}

const char *http_rest(const struct http_exchange *x)
{
    return x->rest != NULL ? x->rest : "";
}

const char *http_query(const struct http_exchange *x, struct buf *out, const char *key)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->request));
    struct evkeyvalq pairs;
    if (query == NULL || evhttp_parse_query_str(query, &pairs) != 0)
        return NULL;
    const char *value = evhttp_find_header(&pairs, key);
    if (value != NULL)
        buf_append_str(out, value);
    evhttp_clear_headers(&pairs);
    return value != NULL ? buf_str(out) : NULL;
}

struct http_address http_from(const struct http_exchange *x)
{
    struct http_address from = {{0}}; /* all that have gone are one */
    if (!http_address_of_peer(&from, bufferevent_getfd(x->bev)))
        return (struct http_address){{0}};
    return from;
}

void http_body(const struct http_exchange *x, struct buf *out)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(x->request);
    uint8_t chunk[4096];
    int n;
    while ((n = evbuffer_remove(body, chunk, sizeof chunk)) > 0)
        buf_append(out, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof chunk);
}

void http_on_leave(struct http_exchange *x, void (*left)(void *context), void *context)
{
    x->left = left;
    x->left_context = context;
}

void http_header(struct http_exchange *x, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(x->request), name, value);
}

static void common_headers(struct http_exchange *x, const char *content_type)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(x->request);
    evhttp_add_header(headers, "Content-Type", content_type);
    if (evhttp_find_header(headers, "Cache-Control") == NULL)
        evhttp_add_header(headers, "Cache-Control", "no-store");
    if (x->server->draining)
        evhttp_add_header(headers, "Connection", "close");
}

/* From here on the exchange is evhttp's, which frees the request when the answer has left. */
static void let_go(struct http_exchange *x)
{
    evhttp_connection_set_closecb(x->connection, NULL, NULL);
    http_connection_answered(x->bev);
    exchange_free(x);
}

/* NULL: libevent knows it. */
static const char *reason_phrase(int status)
{
    return status == 429 ? "Too Many Requests" : NULL;
}

static void reply(struct http_exchange *x, int status, const char *content_type,
                  struct evbuffer *body)
{
    common_headers(x, content_type);
    if (evhttp_request_get_command(x->request) == EVHTTP_REQ_HEAD) {
        char length[32];
        snprintf(length, sizeof length, "%zu", evbuffer_get_length(body));
        http_header(x, "Content-Length", length);
        evbuffer_drain(body, evbuffer_get_length(body));
    }
    log_exchange(x, status, "");
    struct evhttp_request *request = x->request;
    struct evbuffer *output = bufferevent_get_output(x->bev);
    let_go(x);
    evhttp_send_reply(request, status, reason_phrase(status), body);
    /* Head and body are pieces of memory of their own, and each would be a TLS record and a write:
     * a short answer is joined. Nothing has left yet: libevent writes from its loop. */
    if (evbuffer_get_length(output) <= HTTP_RECORD_MAX)
        evbuffer_pullup(output, -1);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct bytes body)
{
    struct evbuffer *b = evbuffer_new();
    if (b == NULL || evbuffer_add(b, body.data, body.len) != 0)
        abort();
    reply(x, status, content_type, b);
    evbuffer_free(b);
}

struct borrowed {
    void (*done)(void *context);
    void *context;
};

static void borrowed_has_left(const void *data, size_t len, void *context)
{
    (void)data, (void)len;
    struct borrowed *b = context;
    b->done(b->context);
    free(b);
}

void http_reply_shared(struct http_exchange *x, int status, const char *content_type,
                       struct bytes body, void (*done)(void *context), void *context)
{
    struct evbuffer *b = evbuffer_new();
    struct borrowed *borrowed = malloc(sizeof *borrowed);
    if (b == NULL || borrowed == NULL)
        abort();
    *borrowed = (struct borrowed){done, context};
    if (evbuffer_add_reference(b, body.data, body.len, borrowed_has_left, borrowed) != 0)
        abort();
    reply(x, status, content_type, b);
    evbuffer_free(b);
}

static int add_to_evbuffer(const char *data, size_t len, void *context)
{
    return evbuffer_add(context, data, len);
}

void http_reply_json(struct http_exchange *x, int status, json_t *takes)
{
    struct evbuffer *b = evbuffer_new();
    if (b == NULL || json_dump_callback(takes, add_to_evbuffer, b, JSON_COMPACT) != 0)
        abort();
    json_decref(takes);
    reply(x, status, "application/json", b);
    evbuffer_free(b);
}

json_t *http_error_object(int status, const char *param, const char *code, const char *message)
{
    const char *type = status == 429   ? "rate_limit_error"
                       : status >= 500 ? "server_error"
                                       : "invalid_request_error";
    json_t *object = json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type",
                               type, "param", param, "code", code);
    return object != NULL
               ? object
               : json_pack("{s:{s:s, s:s, s:n, s:n}}", "error", "message",
                           "The request is not valid UTF-8.", "type", type, "param", "code");
}

void http_reply_error(struct http_exchange *x, int status, const char *param, const char *code,
                      const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    http_reply_json(x, status, http_error_object(status, param, code, message));
}

void http_stream_begin(struct http_exchange *x, const char *content_type)
{
    common_headers(x, content_type);
    x->status = 200;
    evhttp_send_reply_start(x->request, 200, "OK");
}

void http_stream_send(struct http_exchange *x, struct bytes data)
{
    struct evbuffer *b = evbuffer_new();
    if (b == NULL || evbuffer_add(b, data.data, data.len) != 0)
        abort();
    evhttp_send_reply_chunk(x->request, b);
    evbuffer_free(b);
    if (evbuffer_get_length(bufferevent_get_output(x->bev)) > HTTP_PENDING_MAX) {
        x->server->stats.n_stalled++;
        http_connection_drop(x->bev);
    }
}

void http_stream_end(struct http_exchange *x)
{
    log_exchange(x, x->status, "");
    struct evhttp_request *request = x->request;
    let_go(x);
    evhttp_send_reply_end(request);
}
