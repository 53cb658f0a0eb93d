#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>

struct err sched_init(struct sched *s, struct kv *kv, size_t max_running)
{
    *s = (struct sched){.kv = kv, .max_running = max_running};
    s->running = calloc(max_running, sizeof(struct request *));
    s->items = calloc(max_running, sizeof *s->items);
    if (s->running == NULL || s->items == NULL) {
        sched_cleanup(s);
        return err_set(ERR_MEMORY, "no memory for %zu running requests", max_running);
    }
    return err_ok();
}

void sched_cleanup(struct sched *s)
{
    for (size_t i = 0; i < s->n_running; i++) {
        kv_release(s->kv, &s->running[i]->pages);
        request_free(s->running[i]);
    }
    while (s->waiting.first != NULL)
        request_free(queue_pop(&s->waiting));
    free(s->running);
    free(s->items);
    *s = (struct sched){0};
}

static size_t rows_left(const struct request *r)
{
    return r->n_tokens - r->n_computed;
}

static void drop_item(struct sched *s, const struct request *r, size_t *budget)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].request != r)
            continue;
        *budget += s->items[i].n_rows;
        memmove(&s->items[i], &s->items[i + 1], (s->n_items - i - 1) * sizeof *s->items);
        s->n_items--;
        return;
    }
}

/* The youngest running request starts over from its tokens: it waits before all others. */
static void preempt_youngest(struct sched *s, size_t *budget)
{
    struct request *r = s->running[--s->n_running];
    drop_item(s, r, budget);
    kv_release(s->kv, &r->pages);
    r->n_computed = 0;
    queue_push_front(&s->waiting, r);
    s->n_preempted++;
}

/* Plans n rows of running[i]. Only younger requests make room; false when they cannot. */
static bool plan_rows(struct sched *s, size_t i, size_t n, size_t *budget)
{
    struct request *r = s->running[i];
    while (!kv_reserve(s->kv, &r->pages, r->n_computed + n)) {
        if (s->n_running == i + 1)
            return false;
        preempt_youngest(s, budget);
    }
    s->items[s->n_items++] = (struct sched_item){r, n};
    *budget -= n;
    return true;
}

static void plan_running(struct sched *s, size_t *budget, bool decoding)
{
    for (size_t i = 0; i<s->n_running && * budget> 0; i++) {
        size_t left = rows_left(s->running[i]);
        if ((left == 1) != decoding)
            continue;
        (void)plan_rows(s, i, left < *budget ? left : *budget, budget);
    }
}

/* Admits a request only with pages for its tokens so far and one more: no later one can be admitted
 * on the same pages. */
static void plan_waiting(struct sched *s, size_t *budget)
{
    while (*budget > 0 && s->n_running < s->max_running && s->waiting.first != NULL) {
        size_t n_tokens = s->waiting.first->n_tokens;
        size_t wanted = n_tokens < s->waiting.first->n_max ? n_tokens + 1 : n_tokens;
        if (!kv_reserve(s->kv, &s->waiting.first->pages, wanted))
            return;
        struct request *r = queue_pop(&s->waiting);
        s->running[s->n_running++] = r;
        size_t left = rows_left(r);
        (void)plan_rows(s, s->n_running - 1, left < *budget ? left : *budget, budget);
    }
}

void sched_plan(struct sched *s, size_t budget)
{
    uint64_t n_preempted = s->n_preempted;
    s->n_items = 0;
    plan_running(s, &budget, true);
    plan_running(s, &budget, false);
    if (s->n_preempted == n_preempted)
        plan_waiting(s, &budget);
}

struct request *sched_remove(struct sched *s, uint64_t id)
{
    struct request *r = queue_remove(&s->waiting, id);
    if (r != NULL)
        return r;
    for (size_t i = 0; i < s->n_running; i++) {
        if (s->running[i]->id != id)
            continue;
        r = s->running[i];
        memmove(&s->running[i], &s->running[i + 1],
                (s->n_running - i - 1) * sizeof(struct request *));
        s->n_running--;
        kv_release(s->kv, &r->pages);
        return r;
    }
    return NULL;
}
