#include "http/http_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>

#include "http/http_places.h"

/* Bytes that one turn of the loop writes of an answer, unless the socket is full before. */
enum { WRITE_MAX = 256 * 1024 };

struct connection {
    struct http_place place; /* from its first turn of the loop until it is dropped */
    struct http_connections *all;
    struct connection *next, **previous;
    struct bufferevent *bev;
    struct event *admit;   /* runs once evhttp has given it its socket */
    struct event *rewrite; /* runs before the loop writes */
    bool in_exchange;      /* a handler's, not evhttp's own answer */
    bool rewritten;        /* evhttp closes the connection after its own answer */
    time_t deadline;       /* while no exchange is open */
    time_t last_progress;  /* the client took bytes */
};

struct http_connections {
    struct event_base *base;
    struct event *sweep;
    struct connection *first;
    struct http_places places;
    uint64_t n_events; /* orders what happens to connections */
    struct http_deadlines deadlines;
    struct http_stats *stats;
    void (*changed)(void *context);
    void *context;
};

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* bufferevent_free takes the callbacks away at once and the rest later. */
static bool is_dying(struct bufferevent *bev)
{
    bufferevent_event_cb on_event = NULL;
    bufferevent_getcb(bev, NULL, NULL, &on_event, NULL);
    return on_event == NULL;
}

static void drop(struct connection *c, short why)
{
    http_places_remove(&c->all->places, &c->place);
    if (!is_dying(c->bev))
        bufferevent_trigger_event(c->bev, (short)(BEV_EVENT_READING | why),
                                  BEV_TRIG_DEFER_CALLBACKS);
}

static void sweep(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct http_connections *all = context;
    time_t now = now_s();
    for (struct connection *c = all->first; c != NULL; c = c->next) {
        bool unread = evbuffer_get_length(bufferevent_get_output(c->bev)) > 0;
        if (unread && now - c->last_progress > (time_t)all->deadlines.stall) {
            all->stats->n_stalled++;
            drop(c, BEV_EVENT_TIMEOUT);
        } else if (!c->in_exchange && now > c->deadline) {
            all->stats->n_timed_out++;
            drop(c, BEV_EVENT_TIMEOUT);
        }
    }
}

/* An eighth goes for newcomers meanwhile, so that further ones find room. */
void http_connections_places(struct http_connections *all, unsigned n)
{
    all->places.n_max = n - n / 8;
    all->places.n_address = n / 2;
}

struct http_connections *http_connections_new(struct event_base *base,
                                              struct http_deadlines deadlines,
                                              struct http_stats *stats)
{
    struct http_connections *all = calloc(1, sizeof *all);
    if (all == NULL)
        abort();
    *all = (struct http_connections){.base = base, .deadlines = deadlines, .stats = stats};
    http_connections_places(all, HTTP_CONNECTIONS_MAX);
    struct timeval second = {1, 0};
    all->sweep = event_new(base, -1, EV_PERSIST, sweep, all);
    if (all->sweep == NULL || event_add(all->sweep, &second) != 0)
        abort();
    return all;
}

void http_connections_free(struct http_connections *all)
{
    if (all == NULL)
        return;
    event_free(all->sweep);
    /* Records of connections that libevent frees later must not reach back. */
    for (struct connection *c = all->first; c != NULL; c = c->next)
        c->all = NULL;
    free(all);
}

void http_connections_on_change(struct http_connections *all, void (*changed)(void *context),
                                void *context)
{
    all->changed = changed;
    all->context = context;
}

static void count_changed(struct http_connections *all, int by)
{
    all->stats->n_connections += (unsigned)by;
    if (all->changed != NULL)
        all->changed(all->context);
}

/* OpenSSL calls this when the SSL is freed, which is when the connection is really gone. */
static void forget(void *parent, void *record, CRYPTO_EX_DATA *data, int index, long argl,
                   void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    struct connection *c = record;
    if (c == NULL)
        return;
    if (c->all != NULL) {
        *c->previous = c->next;
        if (c->next != NULL)
            c->next->previous = c->previous;
        http_places_remove(&c->all->places, &c->place);
        count_changed(c->all, -1);
    }
    event_free(c->admit);
    event_free(c->rewrite);
    free(c);
}

static int record_index(void)
{
    static int index = -1;
    if (index < 0)
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, forget);
    if (index < 0)
        abort();
    return index;
}

static struct connection *connection_of(struct bufferevent *bev)
{
    return SSL_get_ex_data(bufferevent_openssl_get_ssl(bev), record_index());
}

/* evhttp answers what it refuses (a body over the limit, a request line that is none) with a page
 * of HTML of its own. Status line and headers say what they must; only the page is replaced. */
static void rewrite_page(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct connection *c = context;
    struct evbuffer *output = bufferevent_get_output(c->bev);
    char head[16] = {0};
    if (evbuffer_copyout(output, head, sizeof head - 1) < 13 || strncmp(head, "HTTP/1.", 7) != 0)
        return;
    int status = atoi(head + 9);
    if (status < 400 || status > 599 || c->in_exchange)
        return;
    c->rewritten = true;
    const char *message = status == 413
                              ? "The request is larger than this server takes (4 MiB of body)."
                              : "This is not an HTTP request that this server understands.";
    json_t *error = http_error_object(status, NULL, NULL, message);
    char *text = json_dumps(error, JSON_COMPACT);
    json_decref(error);
    if (text == NULL)
        return;
    evbuffer_drain(output, evbuffer_get_length(output));
    evbuffer_add_printf(output,
                        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        status, status == 413 ? "Payload Too Large" : "Refused", strlen(text),
                        text);
    free(text);
    c->all->stats->n_requests++;
    c->all->stats->n_by_class[status / 100]++;
    fprintf(stderr, "- - %d\n", status);
}

static void watch_output(struct evbuffer *buffer, const struct evbuffer_cb_info *info,
                         void *context)
{
    (void)buffer;
    struct connection *c = context;
    if (info->n_deleted > 0 || info->orig_size == 0)
        c->last_progress = now_s();
    if (info->n_added > 0 && info->orig_size == 0 && !c->in_exchange && !c->rewritten)
        event_active(c->rewrite, EV_TIMEOUT, 0);
}

/* Who has no address any more is gone, and evhttp will see it. */
static void admit(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct connection *c = context;
    if (is_dying(c->bev) || !http_address_of_peer(&c->place.address, bufferevent_getfd(c->bev)))
        return;
    c->place.since = c->all->n_events++;
    struct http_place *goes = http_places_admit(&c->all->places, &c->place);
    if (goes == NULL)
        return;
    c->all->stats->n_evicted++;
    drop((struct connection *)goes, BEV_EVENT_EOF); /* its first member */
}

struct bufferevent *http_connection_new(struct http_connections *all, SSL_CTX *tls)
{
    SSL *ssl = SSL_new(tls);
    struct connection *c = calloc(1, sizeof *c);
    if (ssl == NULL || c == NULL || SSL_set_ex_data(ssl, record_index(), c) != 1)
        abort();
    struct bufferevent *bev = bufferevent_openssl_socket_new(
        all->base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev == NULL)
        abort();
    *c = (struct connection){.all = all,
                             .next = all->first,
                             .previous = &all->first,
                             .bev = bev,
                             .admit = event_new(all->base, -1, 0, admit, c),
                             .rewrite = event_new(all->base, -1, 0, rewrite_page, c),
                             .deadline = now_s() + (time_t)all->deadlines.request,
                             .last_progress = now_s()};
    if (c->next != NULL)
        c->next->previous = &c->next;
    all->first = c;
    if (c->admit == NULL || c->rewrite == NULL ||
        evbuffer_add_cb(bufferevent_get_output(bev), watch_output, c) == NULL)
        abort();
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    bufferevent_setwatermark(bev, EV_READ, 0, HTTP_INPUT_MAX);
    bufferevent_set_max_single_write(bev, WRITE_MAX);
    event_active(c->admit, EV_TIMEOUT, 0);
    count_changed(all, 1);
    return bev;
}

void http_connection_begin(struct bufferevent *bev)
{
    struct connection *c = connection_of(bev);
    c->in_exchange = true;
    c->place.state = HTTP_PLACE_WORKING;
    /* evhttp stops reading here and so would not see the client leave. With the read callback taken
     * away reading goes on into the bounded buffer; evhttp puts the callback back for the next
     * request. */
    bufferevent_data_cb on_write = NULL;
    bufferevent_event_cb on_event = NULL;
    void *context = NULL;
    bufferevent_getcb(bev, NULL, &on_write, &on_event, &context);
    bufferevent_setcb(bev, NULL, on_write, on_event, context);
    bufferevent_enable(bev, EV_READ);
}

void http_connection_answered(struct bufferevent *bev)
{
    connection_of(bev)->place.state = HTTP_PLACE_LEAVING;
}

void http_connection_finish(struct bufferevent *bev)
{
    struct connection *c = connection_of(bev);
    c->in_exchange = false;
    c->place.state = HTTP_PLACE_WAITING;
    c->place.since = c->all->n_events++;
    c->deadline = now_s() + (time_t)c->all->deadlines.idle;
}

void http_connection_drop(struct bufferevent *bev)
{
    drop(connection_of(bev), BEV_EVENT_EOF);
}

bool http_connections_are_writing(const struct http_connections *all)
{
    for (const struct connection *c = all->first; c != NULL; c = c->next) {
        if (c->in_exchange || evbuffer_get_length(bufferevent_get_output(c->bev)) > 0)
            return true;
    }
    return false;
}
