/* The log's witnesses: asked before the log is served, then each by a thread of its own, whose
 * results come back to the event loop. */
#include "logservice/service_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RESULTS_MAX = 256 };

struct service_results {
    pthread_mutex_t lock;
    struct witness_result list[RESULTS_MAX]; /* under the lock */
    size_t n;
    int fd; /* eventfd: there is something */
    struct event *event;
};

static void warn(const char *message)
{
    fprintf(stderr, "blindllama-log: %s\n", message);
}

struct err service_ask_witnesses(struct service *s)
{
    const struct tlog_policy *p = s->config.witnesses;
    struct checkpoint newest;
    TRY(store_checkpoint(s->log, NULL, &newest));
    for (size_t i = 0; i < p->n_witnesses; i++) {
        struct witness_line line = {0};
        struct err e = witness_link_ask_once(&line, s->config.db, &p->witnesses[i]);
        if (!is_err(e))
            e = store_add_cosignature(s->log, line.size, &p->witnesses[i].key,
                                      buf_bytes(&line.line));
        buf_cleanup(&line.line);
        if (e.code == ERR_UNTRUE)
            return err_context(e, "this log must not go on. Put its newest copy back; or, if the "
                                  "witness is wrong, take it out of the policy");
        if (e.code == ERR_USAGE || e.code == ERR_MEMORY)
            return e;
        if (is_err(e))
            warn(err_message());
    }
    return err_ok();
}

/* On the link's thread. */
static void take_result(void *context, struct witness_result *result)
{
    struct service_results *r = context;
    pthread_mutex_lock(&r->lock);
    bool room = r->n < RESULTS_MAX;
    if (room)
        r->list[r->n++] = *result;
    pthread_mutex_unlock(&r->lock);
    if (!room)
        buf_cleanup(&result->line.line); /* a later one will say as much */
    uint64_t one = 1;
    if (write(r->fd, &one, sizeof one) != sizeof one)
        abort();
}

static bool next_result(struct service_results *r, struct witness_result *out)
{
    pthread_mutex_lock(&r->lock);
    bool there = r->n > 0;
    if (there) {
        *out = r->list[0];
        r->n--;
        for (size_t i = 0; i < r->n; i++)
            r->list[i] = r->list[i + 1];
    }
    pthread_mutex_unlock(&r->lock);
    return there;
}

static void keep(struct service *s, struct witness_result *result)
{
    struct err e = store_add_cosignature(s->log, result->line.size, &result->witness->key,
                                         buf_bytes(&result->line.line));
    if (!is_err(e))
        e = published_advance(&s->published, s->log, s->config.witnesses, result->line.size);
    if (is_err(e))
        service_fail(s);
    appender_published(s->appender);
}

static void on_results(evutil_socket_t fd, short events, void *context)
{
    (void)events;
    struct service *s = context;
    uint64_t count;
    if (read(fd, &count, sizeof count) != sizeof count)
        return;
    struct witness_result result;
    while (next_result(s->results, &result)) {
        if (result.e.code == ERR_UNTRUE)
            fprintf(stderr, "blindllama-log: ALARM: %s. It is not asked again.\n", result.message);
        else if (is_err(result.e))
            warn(result.message);
        else if (!s->failed)
            keep(s, &result);
        buf_cleanup(&result.line.line);
    }
}

struct err service_start_witnesses(struct service *s)
{
    const struct tlog_policy *p = s->config.witnesses;
    struct service_results *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "out of memory for witnesses");
    pthread_mutex_init(&r->lock, NULL);
    s->results = r;
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd < 0)
        return err_errno("cannot make an eventfd");
    r->event = event_new(s->base, r->fd, EV_READ | EV_PERSIST, on_results, s);
    if (r->event == NULL || event_add(r->event, NULL) != 0)
        return err_set(ERR_MEMORY, "out of memory for witnesses");
    for (size_t i = 0; i < p->n_witnesses; i++) {
        TRY(witness_link_open(&s->links[i], s->config.db, &p->witnesses[i], take_result, r));
        TRY(witness_link_start(s->links[i]));
    }
    service_wake_witnesses(s);
    return err_ok();
}

void service_wake_witnesses(struct service *s)
{
    struct checkpoint newest;
    if (is_err(store_checkpoint(s->log, NULL, &newest)))
        return;
    for (size_t i = 0; i < s->config.witnesses->n_witnesses; i++)
        if (s->links[i] != NULL)
            witness_link_wake(s->links[i], newest.size);
}

void service_stop_witnesses(struct service *s)
{
    for (size_t i = 0; i < TLOG_POLICY_WITNESSES_MAX; i++)
        witness_link_stop(s->links[i]);
    struct service_results *r = s->results;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        buf_cleanup(&r->list[i].line.line);
    if (r->event != NULL)
        event_free(r->event);
    if (r->fd >= 0)
        close(r->fd);
    pthread_mutex_destroy(&r->lock);
    free(r);
    s->results = NULL;
}
