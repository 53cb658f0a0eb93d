#include "server/front.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/file.h"
#include "server/api_chat.h"
#include "server/front_memory.h"
#include "server/front_start.h"
#include "http/http_listen.h"
#include "server/sandbox.h"

/* Live activations: of one address, at once; and of all, as many as the attester takes. */
enum { ACTIVATIONS_ADDRESS_S = 2, ACTIVATIONS_BURST = 5, ACTIVATIONS_S = 10 };

enum {
    FINISH_S = 10, /* for requests in flight, once asked to stop */
    CANCEL_S = 3,  /* for the engine to let go of what was cancelled, and for answers to leave */
    LOGGED_S = 20, /* for the attester to log the stop */
};

static const struct http_route routes[] = {
    {"/v1/chat/completions", HTTP_POST, "/v1/chat/completions", api_chat},
    {"/v1/models", HTTP_GET, "/v1/models", api_models},
    {"/v1/models/", HTTP_GET, "/v1/models/...", api_model},
    {"/health", HTTP_GET, "/health", api_health},
    {"/metrics", HTTP_GET, "/metrics", api_metrics},
    {"/attestation", HTTP_GET, "/attestation", api_attestation},
    {"/attestation/activate", HTTP_POST, "/attestation/activate", api_activate},
    {"/attestation/activation", HTTP_POST, "/attestation/activation", api_activation},
    {"/log/checkpoint", HTTP_GET, "/log/checkpoint", api_log_checkpoint},
    {"/log/tile/", HTTP_GET, "/log/tile/...", api_log_tile},
    {"/log/blob/", HTTP_GET, "/log/blob/...", api_log_blob},
    {0},
};

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void fail(struct front *f, const char *reason)
{
    snprintf(f->failure, sizeof f->failure, "%s", reason);
    event_base_loopbreak(f->base);
}

bool front_attests(const struct front *f)
{
    return !f->attester_gone && front_attester_tpm_failure(f->attester) == NULL;
}

static void attester_gone(void *context)
{
    struct front *f = context;
    f->attester_gone = true;
    if (f->stopped)
        return;
    if (front_attester_tpm_failure(f->attester) == NULL || !f->options->serve_without_tpm ||
        f->asked_attester)
        fail(f, "the attester ended");
    else
        fprintf(stderr, "the TPM is not tried again: start the server again once it works\n");
}

static void tpm_changed(void *context)
{
    const struct front *f = context;
    const char *failure = front_attester_tpm_failure(f->attester);
    if (!f->options->serve_without_tpm)
        return; /* the attester ends, and so do we */
    if (failure != NULL)
        fprintf(stderr,
                "serving goes on WITHOUT a TPM, as --on-tpm-failure asks: no quotes, no "
                "attestation; it is tried again. %s\n",
                failure);
    else
        fprintf(stderr, "the TPM is back: measured again, and the log shows the gap\n");
}

static void statement_refused(void *context)
{
    const struct front *f = context;
    fprintf(stderr, "the log refuses for good, and it is set aside (log.queue): %s\n",
            front_attester_publishing(f->attester)->refused);
}

static void stop_answered(void *context, const struct channel_frame *frame)
{
    struct front *f = context;
    if (frame->type != CHANNEL_STOPPED) {
        struct err e = channel_error_decode(frame->payload);
        (void)e;
        fail(f, err_message());
        return;
    }
    f->stopped = true;
    snprintf(f->lacking, sizeof f->lacking, "%.*s", (int)frame->payload.len,
             (const char *)frame->payload.data);
    event_base_loopbreak(f->base);
}

static void ask_attester_to_stop(struct front *f)
{
    BUF_AUTO payload = BUF_INIT;
    buf_append_u32be(&payload, f->options->max_stop_duration_s);
    uint64_t id;
    /* Whoever closes the log last removes its -wal and -shm: the attester, which may write. */
    store_close(f->log);
    f->log = NULL;
    f->asked_attester = true;
    f->stop_deadline_s = now_s() + LOGGED_S;
    if (f->attester_gone) {
        fail(f, "stopped without a TPM: the log does not know of it");
        f->attester_gone = false; /* this reason is the front's own */
        return;
    }
    if (is_err(front_attester_ask(f->attester, &id, CHANNEL_STOP, buf_bytes(&payload),
                                  stop_answered, f)))
        fail(f, err_message());
}

/* Several times a second while stopping: finish, then cancel, then log the stop. */
static void stop_tick(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct front *f = context;
    bool late = now_s() >= f->stop_deadline_s;
    bool idle = f->chats == NULL && !http_server_is_busy(f->http);
    if (f->asked_attester) {
        if (late)
            fail(f, "the attester did not log the stop in time");
    } else if (idle || (late && f->cancelled)) {
        ask_attester_to_stop(f);
    } else if (late) {
        f->cancelled = true;
        f->stop_deadline_s = now_s() + CANCEL_S;
        api_chat_cancel_all(f);
    }
}

static void begin_stop(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct front *f = context;
    if (f->stopping)
        return;
    f->stopping = true;
    f->stop_deadline_s = now_s() + FINISH_S;
    fprintf(stderr, "stopping: requests in flight get %d seconds\n", FINISH_S);
    http_server_drain(f->http);
    struct timeval tick = {0, 50 * 1000};
    event_add(f->stop_tick, &tick);
    stop_tick(-1, 0, f);
}

/* Its requests have been told. Under the sandbox a GPU cannot be opened again: the others may go
 * on. */
static void watch_engine(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct front *f = context;
    BUF_AUTO why = BUF_INIT;
    size_t n = engine_group_count(f->engines), n_stopped = engine_group_stopped(f->engines, &why);
    if (n_stopped == f->n_stopped)
        return;
    f->n_stopped = n_stopped;
    if (n_stopped == n || !f->options->serve_without_gpu)
        fail(f, buf_str(&why));
    else
        fprintf(stderr, "%zu of %zu GPUs have failed, and serving goes on without them: %s\n",
                n_stopped, n, buf_str(&why));
}

static struct err open_log(struct front *f)
{
    if (f->options->log_url != NULL) {
        fprintf(stderr, "log kept by %s; this host's statements go there\n", f->options->log_url);
        return err_ok();
    }
    BUF_AUTO path = BUF_INIT;
    struct checkpoint head;
    TRY(store_open_readonly(&f->log, path_join(&path, f->options->state_dir, "log.db")));
    /* Reading opens what the sandbox will not let us open later. */
    TRY(store_checkpoint(f->log, NULL, &head));
    fprintf(stderr, "log %s: %llu entries, key %s\n", store_origin(f->log),
            (unsigned long long)head.size, store_vkey(f->log));
    return err_ok();
}

struct err front_raise_open_files(unsigned max_connections)
{
    struct rlimit limit;
    rlim_t wanted = max_connections + FRONT_OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_errno("cannot read the limit of open files");
    if (limit.rlim_cur >= wanted)
        return err_ok();
    if (limit.rlim_max < wanted)
        return err_set(
            ERR_LIMIT,
            "--max-connections %u takes %llu open files, and the limit is %llu: raise it "
            "(ulimit -Hn, LimitNOFILE= of a service), or ask for fewer connections",
            max_connections, (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return err_errno("cannot raise the limit of open files");
    return err_ok();
}

static void quiet_libevent(int severity, const char *message)
{
    /* Warnings are about clients, and could quote them. */
    if (severity == EVENT_LOG_ERR)
        fprintf(stderr, "libevent: %s\n", message);
}

static struct err build(struct front *f, int *channel)
{
    event_set_log_callback(quiet_libevent);
    f->base = event_base_new();
    if (f->base == NULL)
        return err_set(ERR_IO, "cannot make an event loop");
    TRY(handover_new(&f->handover, f->base));
    TRY(front_attester_new(
        &f->attester, f->base, *channel, &f->publishing,
        (struct front_attester_events){attester_gone, tpm_changed, statement_refused}, f));
    if (f->publishing.n_refused > 0)
        fprintf(stderr, "%llu statements of this host were refused by the log; the last: %s\n",
                (unsigned long long)f->publishing.n_refused, f->publishing.refused);
    *channel = -1;
    TRY(http_server_new(&f->http, f->base, f->tls.context, routes, f, HTTP_DEADLINES_DEFAULT));
    http_server_places(f->http, f->options->max_connections);
    TRY(http_rates_new(&f->activations, (struct rate){ACTIVATIONS_ADDRESS_S, ACTIVATIONS_BURST},
                       (struct rate){ACTIVATIONS_S, ACTIVATIONS_S}));
    http_server_hint(f->http, " Try /v1/models, /v1/chat/completions, /attestation or "
                              "/log/checkpoint.");
    f->stop_signal = evsignal_new(f->base, SIGTERM, begin_stop, f);
    f->stop_tick = event_new(f->base, -1, EV_PERSIST, stop_tick, f);
    f->engine_tick = event_new(f->base, -1, EV_PERSIST, watch_engine, f);
    const struct timeval second = {1, 0};
    if (f->stop_signal == NULL || f->stop_tick == NULL || f->engine_tick == NULL ||
        event_add(f->stop_signal, NULL) != 0 || event_add(f->engine_tick, &second) != 0)
        return err_set(ERR_IO, "cannot watch for signals");
    return engine_group_start(f->engines);
}

/* From here on clients are let in. */
static struct err open_door(struct front *f, struct front_fds *fds)
{
    BUF_AUTO url = BUF_INIT;
    TRY(http_listen(fds->listen));
    http_url(&url, fds->listen);
    TRY(sandbox_enter(SANDBOX_FRONT));
    TRY(http_server_accept(f->http, fds->listen));
    fds->listen = -1;
    printf("listening on %s\n", buf_str(&url));
    fflush(stdout);
    if (write(fds->ready, "!", 1) != 1)
        return err_errno("cannot tell the supervisor");
    return err_ok();
}

static struct err serve(struct front *f)
{
    if (event_base_dispatch(f->base) < 0)
        return err_set(ERR_IO, "the event loop failed");
    if (f->stopped) {
        fprintf(stderr, "stopped: %s\n", f->lacking[0] != '\0' ? f->lacking : "the log says so");
        return err_ok();
    }
    return err_set(ERR_IO, "%s", f->failure);
}

/* The supervisor's SIGTERM may come at any moment of the cleanup, whose loop still turns once: it
 * must find nothing to do. */
static void stop_listening_to_signals(struct front *f)
{
    f->stopping = true;
    if (f->stop_tick != NULL)
        event_free(f->stop_tick);
    if (f->engine_tick != NULL)
        event_free(f->engine_tick);
    if (f->stop_signal != NULL)
        event_free(f->stop_signal); /* brings back what was set before it */
    signal(SIGTERM, SIG_IGN);
}

static void front_cleanup(struct front *f)
{
    stop_listening_to_signals(f);
    http_server_free(f->http);
    engine_group_free(f->engines);
    api_chat_free_all(f);
    handover_free(f->handover);
    front_attester_free(f->attester);
    http_rates_free(f->activations);
    if (f->base != NULL)
        event_base_free(f->base);
    store_close(f->log);
    tls_identity_cleanup(&f->tls);
    measurement_cleanup(&f->measurement);
}

static struct err run(struct front *f, struct front_fds *fds)
{
    if (!front_memory_lock())
        fprintf(stderr, "memory is not locked, so it may be swapped: run as root, or raise "
                        "the limit of locked memory (ulimit -l unlimited)\n");
    TRY(front_load(f));
    TRY(engine_group_warm_up(f->engines)); /* under the sandbox no device is opened any more */
    struct err e = front_measure(f, fds->channel);
    if (is_err(e)) {
        f->attester_gone = e.code == ERR_NOT_FOUND;
        return e;
    }
    TRY(open_log(f));
    TRY(build(f, &fds->channel));
    TRY(open_door(f, fds));
    return serve(f);
}

struct err front_run(const struct front_options *options, struct front_fds fds,
                     bool *attester_ended)
{
    struct front f = {.options = options, .started_s = time(NULL)};
    struct err e = run(&f, &fds);
    *attester_ended = f.attester_gone;
    front_cleanup(&f);
    fd_close(&fds.listen);
    fd_close(&fds.channel);
    fd_close(&fds.ready);
    return e;
}
