#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/http_internal.h"

enum { HTTP_RECORD_MAX = 16384 }; /* bytes in one record of TLS (RFC 8446, section 5.1) */

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

void http_exchange_log(struct http_exchange *x, int status, const char *how)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds =
        (double)(now.tv_sec - x->start.tv_sec) + (double)(now.tv_nsec - x->start.tv_nsec) * 1e-9;
    x->server->stats.n_by_class[status / 100 % 6]++;
    fprintf(stderr, "%s %s %d %.3f s%s\n", method_name(x->request), x->label, status, seconds, how);
}

void http_exchange_free(struct http_exchange *x)
{
    free(x->rest);
    free(x);
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
    http_exchange_free(x);
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
    http_exchange_log(x, status, "");
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
    http_exchange_log(x, x->status, "");
    struct evhttp_request *request = x->request;
    let_go(x);
    evhttp_send_reply_end(request);
}
