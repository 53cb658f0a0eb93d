/*
 * Verifying a signature takes as long as a fast disk's flush, and neither needs the other: so a
 * thread verifies the new checkpoint while COMMIT writes it. Nothing is told before both are done.
 */
#include "transparency/store_db.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/err.h"

enum check_state { IDLE, BEGUN, DONE, ENDING };

struct store_check {
    const struct store *store; /* its key and path, which never change */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum check_state state;
    uint64_t size;
    struct bytes note; /* borrowed while BEGUN or DONE */
    struct err result;
    char message[1024]; /* messages are a thread's own */
    struct checkpoint checkpoint;
};

static void change_state(struct store_check *c, enum check_state state)
{
    c->state = state;
    pthread_cond_broadcast(&c->changed);
}

static void look(struct store_check *c)
{
    struct checkpoint found;
    struct err e = store_check_note(c->store, &found, c->size, c->note);
    pthread_mutex_lock(&c->lock);
    c->result = e;
    if (is_err(e))
        sqlite3_snprintf(sizeof c->message, c->message, "%s", err_message());
    else
        c->checkpoint = found;
    change_state(c, DONE);
    pthread_mutex_unlock(&c->lock);
}

static void *run(void *check)
{
    struct store_check *c = check;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        while (c->state != BEGUN && c->state != ENDING)
            pthread_cond_wait(&c->changed, &c->lock);
        bool ending = c->state == ENDING;
        pthread_mutex_unlock(&c->lock);
        if (ending)
            return NULL;
        look(c);
    }
}

struct err store_check_new(struct store_check **out, const struct store *s)
{
    struct store_check *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(ERR_MEMORY, "out of memory for a thread");
    c->store = s;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    if (pthread_create(&c->thread, NULL, run, c) != 0) {
        free(c);
        return err_set(ERR_MEMORY,
                       "%s: cannot start the thread that verifies checkpoints: allow this process "
                       "one more",
                       s->path);
    }
    *out = c;
    return err_ok();
}

void store_check_free(struct store_check *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    change_state(c, ENDING);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void store_check_begin(struct store_check *c, uint64_t size, struct bytes note)
{
    pthread_mutex_lock(&c->lock);
    c->size = size;
    c->note = note;
    change_state(c, BEGUN);
    pthread_mutex_unlock(&c->lock);
}

void store_check_wait(struct store_check *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->state != DONE)
        pthread_cond_wait(&c->changed, &c->lock);
    change_state(c, IDLE);
    pthread_mutex_unlock(&c->lock);
}

struct err store_check_result(const struct store_check *c, struct checkpoint *out)
{
    if (is_err(c->result))
        return err_set(c->result.code, "%s", c->message);
    *out = c->checkpoint;
    return err_ok();
}
