#include "server/front_attester.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

struct pending {
    struct pending *next;
    uint64_t id;
    front_attester_answered *answered; /* NULL: forgotten */
    void *context;
};

struct front_attester {
    struct bufferevent *bev;
    struct pending *first, **last; /* in the order of asking, which is that of most answers */
    unsigned n_pending;
    uint64_t next_id;
    struct front_attester_events events;
    void *context;
    bool is_gone;
    char tpm_failure[512]; /* "" while it works */
    struct front_attester_counts counts;
    bool has_quoted;
    time_t quoted_s; /* CLOCK_BOOTTIME */
    struct publishing publishing;
};

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec;
}

static void end(struct front_attester *a)
{
    if (a->is_gone)
        return;
    a->is_gone = true;
    bufferevent_disable(a->bev, EV_READ | EV_WRITE);
    a->events.gone(a->context);
}

/* Who asked before the TPM failed will hear no more of it. */
static void refuse_pending(struct front_attester *a)
{
    BUF_AUTO error = BUF_INIT;
    channel_error_payload(&error, err_set(ERR_IO, "%s", a->tpm_failure));
    struct pending *list = a->first;
    a->first = NULL;
    a->last = &a->first;
    a->n_pending = 0;
    while (list != NULL) {
        struct pending *p = list;
        list = p->next;
        const struct channel_frame frame = {CHANNEL_ERROR, p->id, buf_bytes(&error)};
        if (p->answered != NULL)
            p->answered(p->context, &frame);
        free(p);
    }
}

static void tpm_failed(struct front_attester *a, struct bytes reason)
{
    snprintf(a->tpm_failure, sizeof a->tpm_failure, "%.*s", (int)reason.len,
             (const char *)reason.data);
    a->counts.n_failures++;
    a->events.tpm_changed(a->context);
    refuse_pending(a);
}

static void tpm_is_back(struct front_attester *a)
{
    a->tpm_failure[0] = '\0';
    a->counts.n_recoveries++;
    a->events.tpm_changed(a->context);
}

static void take_publishing(struct front_attester *a, struct bytes payload)
{
    uint64_t before = a->publishing.n_refused;
    if (is_err(publishing_decode(&a->publishing, payload)))
        end(a);
    else if (a->publishing.n_refused > before)
        a->events.refused(a->context);
}

static void deliver(struct front_attester *a, const struct channel_frame *frame)
{
    if (frame->type == CHANNEL_PUBLISHING)
        take_publishing(a, frame->payload);
    if (frame->type == CHANNEL_QUOTED) {
        a->has_quoted = true;
        a->quoted_s = now_s();
    }
    if (frame->type == CHANNEL_TPM_FAILED)
        tpm_failed(a, frame->payload);
    if (frame->type == CHANNEL_TPM_BACK)
        tpm_is_back(a);
    for (struct pending **at = &a->first; *at != NULL; at = &(*at)->next) {
        struct pending *p = *at;
        if (p->id != frame->id)
            continue;
        *at = p->next;
        if (a->last == &p->next)
            a->last = at;
        a->n_pending--;
        if (p->answered != NULL)
            p->answered(p->context, frame);
        free(p);
        return;
    }
}

static void on_read(struct bufferevent *bev, void *context)
{
    struct front_attester *a = context;
    struct evbuffer *input = bufferevent_get_input(bev);
    while (evbuffer_get_length(input) >= CHANNEL_HEADER_LEN) {
        size_t len = evbuffer_get_length(input), used = 0;
        uint8_t *data = evbuffer_pullup(input, -1);
        struct channel_frame frame;
        if (data == NULL || is_err(channel_decode(&frame, &used, bytes_of(data, len)))) {
            end(a);
            return;
        }
        if (used == 0)
            return;
        deliver(a, &frame);
        evbuffer_drain(input, used);
    }
}

static void on_event(struct bufferevent *bev, short events, void *context)
{
    (void)bev;
    if (events & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        end(context);
}

struct err front_attester_new(struct front_attester **out, struct event_base *base, int fd,
                              const struct publishing *publishing,
                              struct front_attester_events events, void *context)
{
    struct front_attester *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(ERR_MEMORY, "no memory for the channel to the attester");
    *a = (struct front_attester){
        .next_id = 1, .events = events, .context = context, .quoted_s = now_s()};
    a->last = &a->first;
    a->publishing = *publishing;
    a->has_quoted = !publishing->remote;
    evutil_make_socket_nonblocking(fd);
    a->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (a->bev == NULL) {
        free(a);
        return err_set(ERR_MEMORY, "no memory for the channel to the attester");
    }
    bufferevent_setcb(a->bev, on_read, NULL, on_event, a);
    bufferevent_enable(a->bev, EV_READ | EV_WRITE);
    *out = a;
    return err_ok();
}

void front_attester_free(struct front_attester *a)
{
    if (a == NULL)
        return;
    bufferevent_free(a->bev);
    while (a->first != NULL) {
        struct pending *p = a->first;
        a->first = p->next;
        free(p);
    }
    free(a);
}

uint64_t front_attester_quote_age_s(const struct front_attester *a)
{
    return (uint64_t)(now_s() - a->quoted_s);
}

bool front_attester_has_quoted(const struct front_attester *a)
{
    return a->has_quoted;
}

const struct publishing *front_attester_publishing(const struct front_attester *a)
{
    return &a->publishing;
}

uint64_t front_attester_waiting_s(const struct front_attester *a)
{
    uint64_t now = (uint64_t)now_s(), since = a->publishing.since_ms / 1000;
    return a->publishing.since_ms == 0 || since > now ? 0 : now - since;
}

const char *front_attester_tpm_failure(const struct front_attester *a)
{
    return a->tpm_failure[0] != '\0' ? a->tpm_failure : NULL;
}

struct front_attester_counts front_attester_counts(const struct front_attester *a)
{
    return a->counts;
}

struct err front_attester_ask(struct front_attester *a, uint64_t *id, uint32_t type,
                              struct bytes payload, front_attester_answered *answered,
                              void *context)
{
    if (a->is_gone)
        return err_set(ERR_IO, "the attester has ended");
    if (a->n_pending >= FRONT_ATTESTER_PENDING_MAX)
        return err_set(ERR_BUSY, "Too many requests wait for the TPM: try again in a second.");
    struct pending *p = malloc(sizeof *p);
    if (p == NULL)
        abort();
    *p = (struct pending){NULL, a->next_id++, answered, context};
    *a->last = p;
    a->last = &p->next;
    a->n_pending++;
    BUF_AUTO frame = BUF_INIT;
    channel_encode(&frame, type, p->id, payload);
    if (bufferevent_write(a->bev, frame.data, frame.len) != 0)
        abort();
    *id = p->id;
    return err_ok();
}

void front_attester_forget(struct front_attester *a, uint64_t id)
{
    for (struct pending *p = a->first; p != NULL; p = p->next) {
        if (p->id == id)
            p->answered = NULL;
    }
}
