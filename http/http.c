#include "http/http.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/queue.h>

#include "http/http_internal.h"

/* libevent frees the connection: the client left, was dropped, or the server ends. */
static void connection_closed(struct evhttp_connection *connection, void *context)
{
    (void)connection;
    struct http_exchange *x = context;
    x->server->stats.n_left++;
    http_exchange_log(x, 499, ", client left");
    if (x->left != NULL)
        x->left(x->left_context);
    /* After a failure evhttp has cut the request off and leaves it to us. */
    if (evhttp_request_get_connection(x->request) == NULL)
        evhttp_request_free(x->request);
    http_exchange_free(x);
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
