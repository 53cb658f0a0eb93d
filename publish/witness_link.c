#include "publish/witness_link.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "http/connection.h"

enum { CONNECT_S = 5, ANSWER_S = 10, WAIT_FIRST_S = 1, WAIT_MOST_S = 60 };

/* What one witness is asked with. Certificates are not believed: an answer counts by its signature,
 * and a request holds nothing that is secret. */
struct asker {
    const struct tlog_policy_witness *witness;
    struct url url;
    char path[URL_PREFIX_MAX + 32];
    struct store *log;
    struct connection *connection; /* NULL: to be made anew */
    struct witness_client client;
};

struct witness_link {
    struct asker asker;
    witness_link_take *take;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t wanted; /* size; under the lock */
    bool stop;       /* under the lock */
    bool started;
};

static struct err asker_init(struct asker *a, const char *db,
                             const struct tlog_policy_witness *witness)
{
    *a = (struct asker){.witness = witness, .client = {.witness = witness}};
    char prefix[URL_PREFIX_MAX + 1];
    if (witness->url == NULL)
        return err_set(ERR_USAGE, "witness '%s' has no URL in the policy, so it cannot be asked",
                       witness->name);
    TRY(err_context(url_parse_prefix(&a->url, prefix, witness->url), "witness '%s'",
                    witness->name));
    snprintf(a->path, sizeof a->path, "%s/add-checkpoint", prefix);
    TRY(store_open_readonly(&a->log, db));
    a->client.log = a->log;
    return err_ok();
}

static void asker_cleanup(struct asker *a)
{
    connection_close(a->connection);
    store_close(a->log);
}

static struct err post(void *context, int *status, struct buf *answer, struct bytes body)
{
    struct asker *a = context;
    const struct connection_limits limits = {CONNECT_S, ANSWER_S, ANSWER_S};
    const struct request request = {.path = a->path,
                                    .content_type = "text/plain; charset=utf-8",
                                    .body = body,
                                    .max = WITNESS_ANSWER_MAX};
    if (a->connection == NULL)
        TRY(connection_open(&a->connection, &a->url, &limits));
    ANSWER_AUTO got = ANSWER_INIT;
    TRY(connection_request(a->connection, &got, &request));
    *status = got.status;
    buf_append_bytes(answer, buf_bytes(&got.body));
    return err_ok();
}

static struct err ask(struct asker *a, struct witness_line *out)
{
    bool reused = a->connection != NULL;
    struct err e = witness_client_ask(&a->client, out, post, a);
    if (reused && e.code == ERR_IO) { /* an idle connection may have been closed meanwhile */
        connection_close(a->connection);
        a->connection = NULL;
        e = witness_client_ask(&a->client, out, post, a);
    }
    if (is_err(e)) {
        connection_close(a->connection);
        a->connection = NULL;
    }
    return err_context(e, "witness '%s'", a->witness->name);
}

struct err witness_link_ask_once(struct witness_line *out, const char *db,
                                 const struct tlog_policy_witness *witness)
{
    __attribute__((cleanup(asker_cleanup))) struct asker a;
    TRY(asker_init(&a, db, witness));
    return ask(&a, out);
}

/* Waits until the log is larger than `done`, or for `seconds` if they are not 0; false to stop. */
static bool wait_for_work(struct witness_link *l, uint64_t done, unsigned seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    pthread_mutex_lock(&l->lock);
    int code = 0;
    while (!l->stop && code != ETIMEDOUT && (seconds > 0 || l->wanted <= done))
        code = seconds > 0 ? pthread_cond_timedwait(&l->changed, &l->lock, &until)
                           : pthread_cond_wait(&l->changed, &l->lock);
    bool stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return !stop;
}

static void *run(void *context)
{
    struct witness_link *l = context;
    uint64_t done = 0;
    for (unsigned pause = 0; wait_for_work(l, done, pause);) {
        struct witness_result r = {.witness = l->asker.witness};
        r.e = ask(&l->asker, &r.line);
        if (is_err(r.e))
            snprintf(r.message, sizeof r.message, "%s", err_message());
        else
            done = r.line.size;
        pause = !is_err(r.e) ? 0 : pause == 0 ? WAIT_FIRST_S : 2 * pause;
        if (pause > WAIT_MOST_S)
            pause = WAIT_MOST_S;
        bool alarm = r.e.code == ERR_UNTRUE;
        l->take(l->context, &r);
        if (alarm)
            break;
    }
    return NULL;
}

struct err witness_link_open(struct witness_link **out, const char *db,
                             const struct tlog_policy_witness *witness, witness_link_take *take,
                             void *context)
{
    struct witness_link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(ERR_MEMORY, "out of memory for a witness");
    struct err e = asker_init(&l->asker, db, witness);
    if (is_err(e)) {
        free(l);
        return e;
    }
    l->take = take;
    l->context = context;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    *out = l;
    return err_ok();
}

struct err witness_link_start(struct witness_link *l)
{
    if (pthread_create(&l->thread, NULL, run, l) != 0)
        return err_set(ERR_IO, "cannot start a thread for a witness");
    l->started = true;
    return err_ok();
}

void witness_link_wake(struct witness_link *l, uint64_t size)
{
    pthread_mutex_lock(&l->lock);
    if (size > l->wanted)
        l->wanted = size;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void witness_link_stop(struct witness_link *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (l->started)
        pthread_join(l->thread, NULL);
    asker_cleanup(&l->asker);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l);
}
