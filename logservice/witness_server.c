#include "logservice/witness_server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"
#include "http/http.h"
#include "http/http_listen.h"
#include "http/tls.h"
#include "logservice/challenge.h"

enum { DRAIN_S = 60 }; /* so long, once it stops, for answers that are due */

struct server {
    const struct witness_server_config *config;
    struct event_base *base;
    struct http_server *http;
    struct tls_identity tls;
    struct sessions *sessions; /* NULL: no activator */
    struct event *term, *interrupt, *drain;
    uint64_t stop_ms; /* when it began to stop; 0: it goes on */
    bool failed;
    char failure[512];
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void begin_stop(struct server *s)
{
    const struct timeval soon = {0, 50 * 1000};
    if (s->stop_ms == 0)
        s->stop_ms = now_ms();
    http_server_drain(s->http);
    event_add(s->drain, &soon);
}

static void on_signal(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    begin_stop(context);
}

static void on_drained(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct server *s = context;
    if (now_ms() - s->stop_ms >= (uint64_t)DRAIN_S * 1000 || !http_server_is_busy(s->http))
        event_base_loopbreak(s->base);
}

/* After a failed COMMIT only a new start knows what is on the disk. */
static void fail(struct server *s, struct http_exchange *x)
{
    snprintf(s->failure, sizeof s->failure, "%s", err_message());
    s->failed = true;
    http_reply_error(x, 500, NULL, NULL, "This witness cannot keep what it cosigns: it stops.");
    begin_stop(s);
}

static void add_checkpoint(struct http_exchange *x, void *context)
{
    struct server *s = context;
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    struct err e =
        witness_db_add_checkpoint(s->config->db, &reply, buf_bytes(&body), (uint64_t)time(NULL));
    if (is_err(e))
        fail(s, x);
    else
        http_reply(x, (int)reply.status,
                   reply.status == WITNESS_CONFLICT ? "text/x.tlog.size"
                                                    : "text/plain; charset=utf-8",
                   buf_bytes(&reply.body));
}

/* "<64 hex digits>/checkpoint" */
static void monitor(struct http_exchange *x, void *context)
{
    struct server *s = context;
    const char *rest = http_rest(x);
    uint8_t digest[SHA256_LEN];
    BUF_AUTO note = BUF_INIT;
    struct err e = err_set(ERR_NOT_FOUND, "no such path");
    if (strlen(rest) == 2 * SHA256_LEN + strlen("/checkpoint") &&
        strcmp(rest + 2 * SHA256_LEN, "/checkpoint") == 0 &&
        !is_err(hex_decode(digest, sizeof digest, bytes_of(rest, 2 * SHA256_LEN))))
        e = witness_db_latest(s->config->db, &note, digest);
    if (e.code == ERR_NOT_FOUND)
        http_reply_error(x, 404, NULL, "not_found",
                         "Nothing was cosigned here for a log whose origin has that SHA-256.");
    else if (is_err(e))
        http_reply_error(x, 500, NULL, NULL, "%s", err_message());
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&note));
}

static bool activates(const struct server *s, struct http_exchange *x)
{
    if (s->sessions == NULL)
        http_reply_error(x, 403, NULL, "no-activator", "This witness is no activator.");
    return s->sessions != NULL;
}

static void activation_challenge(struct http_exchange *x, void *context)
{
    struct server *s = context;
    if (!activates(s, x))
        return;
    const struct challenge_context c = {s->sessions, s->config->policy, NULL};
    challenge_begin(x, &c, now_ms());
}

static struct err sign_activation(struct buf *out, const struct server *s,
                                  const struct activation_target *target)
{
    struct activation a = {.ak_name = target->ak_name, .time_s = (uint64_t)time(NULL)};
    memcpy(a.ek_certificate, target->ek_certificate, SHA256_LEN);
    snprintf(a.origin, sizeof a.origin, "%s", s->config->policy->log.name);
    BUF_AUTO text = BUF_INIT;
    activation_format(&text, &a);
    return note_sign(out, buf_bytes(&text), s->config->activator);
}

static void activation_answer_taken(struct http_exchange *x, void *context)
{
    struct server *s = context;
    if (!activates(s, x))
        return;
    struct session *session = challenge_answer(x, s->sessions, now_ms());
    if (session == NULL)
        return;
    BUF_AUTO note = BUF_INIT;
    struct err e = sign_activation(&note, s, &session->target);
    sessions_end(session); /* its one statement is made */
    if (is_err(e))
        request_refuse(x, e);
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&note));
}

static const struct http_route routes[] = {
    {"/add-checkpoint", HTTP_POST, "/add-checkpoint", add_checkpoint},
    {"/monitor/", HTTP_GET, "/monitor", monitor},
    {"/activation/challenge", HTTP_POST, "/activation/challenge", activation_challenge},
    {"/activation/answer", HTTP_POST, "/activation/answer", activation_answer_taken},
    {0},
};

static struct err open_server(struct server *s)
{
    s->base = event_base_new();
    if (s->base == NULL)
        return err_set(ERR_MEMORY, "out of memory for an event loop");
    if (s->config->activator != NULL)
        TRY(sessions_new(&s->sessions, s->config->policy->log.name));
    TRY(tls_identity_init(&s->tls));
    TRY(http_server_new(&s->http, s->base, s->tls.context, routes, s, HTTP_DEADLINES_DEFAULT));
    http_server_hint(s->http, " This is a witness: POST /add-checkpoint.");
    s->term = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->interrupt = evsignal_new(s->base, SIGINT, on_signal, s);
    s->drain = event_new(s->base, -1, EV_PERSIST, on_drained, s);
    if (s->term == NULL || s->interrupt == NULL || s->drain == NULL ||
        event_add(s->term, NULL) != 0 || event_add(s->interrupt, NULL) != 0)
        return err_set(ERR_IO, "cannot watch for signals");
    return err_ok();
}

static void server_cleanup(struct server *s)
{
    http_server_free(s->http);
    sessions_free(s->sessions);
    tls_identity_cleanup(&s->tls);
    if (s->term != NULL)
        event_free(s->term);
    if (s->interrupt != NULL)
        event_free(s->interrupt);
    if (s->drain != NULL)
        event_free(s->drain);
    if (s->base != NULL)
        event_base_free(s->base);
}

static struct err serve(struct server *s)
{
    TRY(open_server(s));
    int fd = -1;
    TRY(http_bind(&fd, s->config->listen));
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

struct err witness_server_run(const struct witness_server_config *config)
{
    struct server s = {.config = config};
    struct err e = serve(&s);
    server_cleanup(&s);
    return e;
}
