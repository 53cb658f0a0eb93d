#include "logservice/service_state.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/http_listen.h"

static const struct http_route routes[] = {
    {"/checkpoint", HTTP_GET, "/checkpoint", service_checkpoint},
    {"/tile/", HTTP_GET, "/tile", service_tile},
    {"/blob/", HTTP_GET, "/blob", service_blob},
    {"/proof/", HTTP_GET, "/proof", service_proof},
    {"/submit/challenge", HTTP_POST, "/submit/challenge", service_challenge},
    {"/submit/answer", HTTP_POST, "/submit/answer", service_answer},
    {"/submit", HTTP_POST, "/submit", service_submit},
    {0},
};

uint64_t service_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_drained(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct service *s = context;
    unsigned drain_s = s->config.drain_s != 0 ? s->config.drain_s : SERVICE_DRAIN_S;
    bool over = service_now_ms() - s->stop_ms >= (uint64_t)drain_s * 1000;
    if (over || !http_server_is_busy(s->http))
        event_base_loopbreak(s->base);
}

static void begin_stop(struct service *s)
{
    const struct timeval soon = {0, 50 * 1000};
    if (s->stop_ms == 0)
        s->stop_ms = service_now_ms();
    http_server_drain(s->http);
    event_add(s->drain, &soon);
}

static void on_signal(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    begin_stop(context);
}

void service_fail(struct service *s)
{
    if (s->failed)
        return;
    s->failed = true;
    snprintf(s->failure, sizeof s->failure, "%s", err_message());
    begin_stop(s);
}

static void on_failed(void *context)
{
    service_fail(context);
}

static void on_grown(void *context)
{
    struct service *s = context;
    struct checkpoint newest;
    struct err e = store_checkpoint(s->log, NULL, &newest);
    if (!is_err(e))
        e = published_advance(&s->published, s->log, s->config.witnesses, newest.size);
    if (is_err(e))
        service_fail(s);
    service_wake_witnesses(s);
}

static struct err open_log(struct service *s)
{
    TRY(store_open(&s->log, s->config.db, s->config.signer));
    const struct policy *p = s->config.admission;
    if (p != NULL && strcmp(p->log_vkey, store_vkey(s->log)) != 0)
        return err_set(ERR_USAGE, "the policy is of the log %s, not of this: %s", p->log_vkey,
                       store_vkey(s->log));
    TRY(service_ask_witnesses(s));
    return published_find(&s->published, s->log, s->config.witnesses);
}

static struct err start_serving(struct service *s)
{
    s->base = event_base_new();
    if (s->base == NULL)
        return err_set(ERR_MEMORY, "out of memory for an event loop");
    const struct appender_config appender = {.base = s->base,
                                             .log = s->log,
                                             .published = &s->published,
                                             .quorum_wait_s = s->config.quorum_wait_s != 0
                                                                  ? s->config.quorum_wait_s
                                                                  : SERVICE_QUORUM_WAIT_S,
                                             .grown = on_grown,
                                             .failed = on_failed,
                                             .context = s};
    TRY(appender_new(&s->appender, &appender));
    TRY(sessions_new(&s->sessions, store_origin(s->log)));
    TRY(shelf_new(&s->shelf));
    TRY(tls_identity_init(&s->tls));
    TRY(http_server_new(&s->http, s->base, s->tls.context, routes, s, HTTP_DEADLINES_DEFAULT));
    http_server_hint(s->http, " Try /checkpoint, /tile/0/000, /proof/0 or /blob/<hash>.");
    s->term = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->interrupt = evsignal_new(s->base, SIGINT, on_signal, s);
    s->drain = event_new(s->base, -1, EV_PERSIST, on_drained, s);
    if (s->term == NULL || s->interrupt == NULL || s->drain == NULL ||
        event_add(s->term, NULL) != 0 || event_add(s->interrupt, NULL) != 0)
        return err_set(ERR_IO, "cannot watch for signals");
    return service_start_witnesses(s);
}

struct err service_open(struct service **out, const struct service_config *config)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "out of memory for a service");
    s->config = *config;
    struct err e = open_log(s);
    if (!is_err(e))
        e = start_serving(s);
    if (is_err(e)) {
        service_free(s);
        return e;
    }
    *out = s;
    return err_ok();
}

struct err service_run(struct service *s)
{
    int fd = -1;
    TRY(http_bind(&fd, s->config.listen));
    struct err e = http_listen(fd);
    if (is_err(e)) {
        close(fd);
        return e;
    }
    BUF_AUTO url = BUF_INIT;
    http_url(&url, fd);
    TRY(http_server_accept(s->http, fd));
    printf("listening on %s\n", buf_str(&url));
    fflush(stdout);
    event_base_dispatch(s->base);
    return s->failed ? err_set(ERR_IO, "%s", s->failure) : err_ok();
}

void service_free(struct service *s)
{
    if (s == NULL)
        return;
    service_stop_witnesses(s);
    http_server_free(s->http); /* tells the appender whose clients are gone */
    appender_free(s->appender);
    sessions_free(s->sessions);
    shelf_free(s->shelf);
    tls_identity_cleanup(&s->tls);
    if (s->term != NULL)
        event_free(s->term);
    if (s->interrupt != NULL)
        event_free(s->interrupt);
    if (s->drain != NULL)
        event_free(s->drain);
    if (s->base != NULL)
        event_base_free(s->base);
    published_cleanup(&s->published);
    store_close(s->log);
    free(s);
}
