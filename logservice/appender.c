#include "logservice/appender.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One statement whose sender waits. */
struct pending {
    struct pending *next;
    struct appender *a;
    struct http_exchange *x; /* NULL: the client has left */
    struct buf statement;
    struct request_blobs *blobs;
    struct merkle_hash leaf;
    bool appended;
    uint64_t index;
    uint64_t until_ms;
};

struct recent {
    struct merkle_hash leaf;
    uint64_t index;
};

struct appender {
    struct appender_config c;
    struct event *gather, *tick;
    struct pending *first, **last;
    size_t n_pending, n_queued; /* queued: not appended yet */
    struct recent recent[APPENDER_RECENT];
    uint64_t n_recent; /* remembered so far; the ring's next is n_recent % APPENDER_RECENT */
    bool failed;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pending_free(struct pending *p)
{
    buf_cleanup(&p->statement);
    request_blobs_free(p->blobs);
    free(p);
}

static void remember(struct appender *a, const struct merkle_hash *leaf, uint64_t index)
{
    a->recent[a->n_recent++ % APPENDER_RECENT] = (struct recent){*leaf, index};
}

static const struct recent *find_recent(const struct appender *a, const struct merkle_hash *leaf)
{
    uint64_t n = a->n_recent < APPENDER_RECENT ? a->n_recent : APPENDER_RECENT;
    for (uint64_t i = 0; i < n; i++)
        if (merkle_equal(&a->recent[i].leaf, leaf))
            return &a->recent[i];
    return NULL;
}

static struct err load_recent(struct appender *a)
{
    struct checkpoint c;
    TRY(store_checkpoint(a->c.log, NULL, &c));
    uint64_t from = c.size > APPENDER_RECENT ? c.size - APPENDER_RECENT : 0;
    for (uint64_t i = from; i < c.size; i++) {
        BUF_AUTO entry = BUF_INIT;
        TRY(store_entry_read(a->c.log, i, &entry));
        struct merkle_hash leaf = merkle_leaf(buf_bytes(&entry));
        remember(a, &leaf, i);
    }
    return err_ok();
}

static void client_left(void *context)
{
    struct pending *p = context;
    p->x = NULL; /* a statement that was taken is appended all the same */
}

static void unlink_pending(struct appender *a, struct pending **at)
{
    struct pending *p = *at;
    *at = p->next;
    if (a->last == &p->next)
        a->last = at;
    a->n_pending--;
    pending_free(p);
}

static void reply_proof(struct appender *a, struct pending *p)
{
    BUF_AUTO proof = BUF_INIT;
    struct err e = published_prove(&proof, a->c.published, a->c.log, p->index);
    if (is_err(e))
        request_refuse(p->x, e);
    else
        http_reply(p->x, 200, "text/plain; charset=utf-8", buf_bytes(&proof));
}

/* Whether the statement's sender need not wait any longer. */
static bool answer(struct appender *a, struct pending *p, uint64_t now)
{
    const struct published *shown = a->c.published;
    if (a->failed && p->x != NULL)
        http_reply_error(p->x, 503, NULL, "failed",
                         "The log could not take the statement; it starts anew: send it again.");
    if (a->failed)
        return true;
    if (!p->appended)
        return false;
    if (p->x == NULL)
        return true;
    if (shown->there && p->index < shown->checkpoint.size) {
        reply_proof(a, p);
        return true;
    }
    if (now < p->until_ms)
        return false;
    http_reply_error(p->x, 503, NULL, "no-quorum",
                     "The statement is entry %llu of the log, but witnesses have not cosigned it "
                     "yet: send the same statement again for its proof.",
                     (unsigned long long)p->index);
    return true;
}

static void answer_all(struct appender *a)
{
    uint64_t now = now_ms();
    for (struct pending **at = &a->first; *at != NULL;) {
        if (answer(a, *at, now))
            unlink_pending(a, at);
        else
            at = &(*at)->next;
    }
    if (a->first == NULL)
        event_del(a->tick);
}

struct batch {
    struct pending *of[APPENDER_BATCH_MAX];
    struct store_entry entries[APPENDER_BATCH_MAX];
    struct bytes blobs[APPENDER_BATCH_MAX]; /* views, those of one entry side by side */
    size_t n, n_blobs;
};

static bool batch_add(struct batch *b, struct pending *p)
{
    size_t n_blobs = p->blobs != NULL ? p->blobs->n : 0;
    if (b->n == APPENDER_BATCH_MAX || b->n_blobs + n_blobs > APPENDER_BATCH_MAX)
        return false;
    struct store_entry *entry = &b->entries[b->n];
    *entry = (struct store_entry){buf_bytes(&p->statement), b->blobs + b->n_blobs, n_blobs};
    for (size_t i = 0; i < n_blobs; i++)
        b->blobs[b->n_blobs++] = buf_bytes(&p->blobs->blobs[i]);
    b->of[b->n++] = p;
    return true;
}

/* Appends the next batch; *more tells whether there is another. */
static struct err append_batch(struct appender *a, bool *more)
{
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(ERR_MEMORY, "out of memory for a batch");
    *more = false;
    for (struct pending *p = a->first; p != NULL && !*more; p = p->next)
        if (!p->appended)
            *more = !batch_add(b, p);
    uint64_t first = 0;
    struct err e = b->n > 0 ? store_append(a->c.log, &first, b->entries, b->n) : err_ok();
    for (size_t i = 0; i < b->n && !is_err(e); i++) {
        b->of[i]->appended = true;
        b->of[i]->index = first + i;
        remember(a, &b->of[i]->leaf, first + i);
        request_blobs_free(b->of[i]->blobs); /* they are on the disk */
        b->of[i]->blobs = NULL;
        a->n_queued--;
    }
    free(b);
    return e;
}

static void flush(struct appender *a)
{
    bool more = a->n_queued > 0, grown = more;
    struct err e = err_ok();
    while (more && !is_err(e))
        e = append_batch(a, &more);
    a->failed = is_err(e);
    if (is_err(e))
        a->c.failed(a->c.context);
    else if (grown)
        a->c.grown(a->c.context);
    answer_all(a);
}

static void on_gathered(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    flush(context);
}

static void on_tick(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    answer_all(context);
}

struct err appender_new(struct appender **out, const struct appender_config *config)
{
    struct appender *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(ERR_MEMORY, "out of memory for the log's queue");
    a->c = *config;
    a->last = &a->first;
    a->gather = event_new(config->base, -1, 0, on_gathered, a);
    a->tick = event_new(config->base, -1, EV_PERSIST, on_tick, a);
    struct err e = a->gather != NULL && a->tick != NULL
                       ? load_recent(a)
                       : err_set(ERR_MEMORY, "out of memory for the log's queue");
    if (is_err(e)) {
        appender_free(a);
        return e;
    }
    *out = a;
    return err_ok();
}

void appender_free(struct appender *a)
{
    if (a == NULL)
        return;
    while (a->first != NULL)
        unlink_pending(a, &a->first);
    if (a->gather != NULL)
        event_free(a->gather);
    if (a->tick != NULL)
        event_free(a->tick);
    free(a);
}

static struct pending *find_queued(struct appender *a, const struct merkle_hash *leaf)
{
    for (struct pending *p = a->first; p != NULL; p = p->next)
        if (!p->appended && merkle_equal(&p->leaf, leaf))
            return p;
    return NULL;
}

bool appender_knows(struct appender *a, struct bytes statement)
{
    struct merkle_hash leaf = merkle_leaf(statement);
    return find_recent(a, &leaf) != NULL || find_queued(a, &leaf) != NULL;
}

static void enqueue(struct appender *a, struct pending *p)
{
    const struct timeval second = {1, 0}, gather = {0, APPENDER_GATHER_MS * 1000};
    if (a->first == NULL)
        event_add(a->tick, &second);
    *a->last = p;
    a->last = &p->next;
    a->n_pending++;
    if (!p->appended && a->n_queued++ == 0)
        event_add(a->gather, &gather);
}

void appender_take(struct appender *a, struct http_exchange *x, struct bytes statement,
                   struct request_blobs *takes)
{
    struct pending *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    *p = (struct pending){.a = a,
                          .x = x,
                          .blobs = takes,
                          .leaf = merkle_leaf(statement),
                          .until_ms = now_ms() + (uint64_t)a->c.quorum_wait_s * 1000};
    buf_append_bytes(&p->statement, statement);
    if (find_queued(a, &p->leaf) != NULL)
        flush(a); /* then it is among the recent */
    const struct recent *known = find_recent(a, &p->leaf);
    p->appended = known != NULL;
    p->index = known != NULL ? known->index : 0;
    if (a->n_pending >= APPENDER_PENDING_MAX && !p->appended) {
        http_reply_error(x, 503, NULL, "busy", "Too many statements wait: try again in a minute.");
        pending_free(p);
        return;
    }
    if (answer(a, p, now_ms())) {
        pending_free(p);
        return;
    }
    http_on_leave(x, client_left, p);
    enqueue(a, p);
}

void appender_published(struct appender *a)
{
    answer_all(a);
}
