#include "logservice/serving.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "http/http_listen.h"

uint64_t serving_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_drained(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct serving *s = context;
    unsigned drain_s = s->drain_s != 0 ? s->drain_s : SERVING_DRAIN_S;
    bool over = serving_now_ms() - s->stop_ms >= (uint64_t)drain_s * 1000;
    if (over || !http_server_is_busy(s->http))
        event_base_loopbreak(s->base);
}

static void begin_stop(struct serving *s)
{
    const struct timeval soon = {0, 50 * 1000};
    if (s->stop_ms == 0)
        s->stop_ms = serving_now_ms();
    http_server_drain(s->http);
    event_add(s->drain, &soon);
}

static void on_signal(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    begin_stop(context);
}

void serving_fail(struct serving *s)
{
    if (s->failed)
        return;
    s->failed = true;
    snprintf(s->failure, sizeof s->failure, "%s", err_message());
    begin_stop(s);
}

struct err serving_open(struct serving *s, const struct http_route *routes, void *context,
                        const char *hint)
{
    s->base = event_base_new();
    if (s->base == NULL)
        return err_set(ERR_MEMORY, "out of memory for an event loop");
    TRY(s->tls_certificate != NULL ? tls_identity_load(&s->tls, s->tls_certificate, s->tls_key)
                                   : tls_identity_init(&s->tls));
    TRY(http_server_new(&s->http, s->base, s->tls.context, routes, context,
                        HTTP_DEADLINES_DEFAULT));
    http_server_hint(s->http, hint);
    s->term = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->interrupt = evsignal_new(s->base, SIGINT, on_signal, s);
    s->drain = event_new(s->base, -1, EV_PERSIST, on_drained, s);
    if (s->term == NULL || s->interrupt == NULL || s->drain == NULL ||
        event_add(s->term, NULL) != 0 || event_add(s->interrupt, NULL) != 0)
        return err_set(ERR_IO, "cannot watch for signals");
    return err_ok();
}

void serving_drop_clients(struct serving *s)
{
    http_server_free(s->http);
    s->http = NULL;
}

void serving_cleanup(struct serving *s)
{
    serving_drop_clients(s);
    tls_identity_cleanup(&s->tls);
    if (s->term != NULL)
        event_free(s->term);
    if (s->interrupt != NULL)
        event_free(s->interrupt);
    if (s->drain != NULL)
        event_free(s->drain);
    if (s->base != NULL)
        event_base_free(s->base);
    *s = (struct serving){0};
}

struct err serving_run(struct serving *s, const char *listen)
{
    int fd = -1;
    TRY(http_bind(&fd, listen));
    struct err e = http_listen(fd);
    if (is_err(e)) {
        close(fd);
        return e;
    }
    BUF_AUTO url = BUF_INIT;
    http_url(&url, fd);
    TRY(http_server_accept(s->http, fd));
    BUF_AUTO spki = BUF_INIT;
    buf_append_hex(&spki, bytes_of(s->tls.spki_sha256, SHA256_LEN));
    fprintf(stderr, "TLS key SPKI sha256 %s, %s\n", buf_str(&spki),
            s->tls_certificate != NULL ? s->tls_certificate : "of this run alone");
    printf("listening on %s\n", buf_str(&url));
    fflush(stdout);
    event_base_dispatch(s->base);
    return s->failed ? err_set(ERR_IO, "%s", s->failure) : err_ok();
}
