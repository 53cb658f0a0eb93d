#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>

struct err sched_init(struct sched *s, struct kv *kv, size_t max_running)
{
    *s = (struct sched){.kv = kv, .max_running = max_running};
    s->running = calloc(max_running, sizeof(struct request *));
    s->items = calloc(max_running, sizeof *s->items);
    bool ok = s->running != NULL && s->items != NULL;
    for (size_t i = 0; i < SCHED_FLIGHTS_MAX; i++) {
        s->flights[i].items = calloc(max_running, sizeof *s->items);
        ok = ok && s->flights[i].items != NULL;
    }
    if (!ok) {
        sched_cleanup(s);
        return err_set(ERR_MEMORY, "no memory for %zu running requests", max_running);
    }
    return err_ok();
}

static struct request_queue *queue_of(struct sched *s, const struct request *r)
{
    return &s->waiting[r->params.priority];
}

void sched_add(struct sched *s, struct request_queue *incoming)
{
    while (incoming->first != NULL) {
        struct request *r = queue_pop(incoming);
        queue_insert(queue_of(s, r), r);
    }
}

size_t sched_n_waiting(const struct sched *s)
{
    size_t n = 0;
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++)
        n += s->waiting[i].n;
    return n;
}

/* What a plan has left to give. */
struct plan {
    size_t budget; /* rows */
    /* Nobody of this class or below it is admitted: one of the class had to give up its pages in
     * this plan, or waits for some. */
    unsigned closed;
};

static size_t rows_left(const struct request *r)
{
    return r->n_tokens + r->n_ahead - r->n_computed;
}

static void drop_item(struct sched *s, const struct request *r, struct plan *plan)
{
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].request != r)
            continue;
        plan->budget += s->items[i].n_rows;
        memmove(&s->items[i], &s->items[i + 1], (s->n_items - i - 1) * sizeof *s->items);
        s->n_items--;
        return;
    }
}

static void close_class(struct plan *plan, unsigned priority)
{
    if (priority < plan->closed)
        plan->closed = priority;
}

/* The last running request waits again, and starts over from its tokens. */
static void preempt_last(struct sched *s, struct plan *plan)
{
    struct request *r = s->running[--s->n_running];
    drop_item(s, r, plan);
    kv_release(s->kv, &r->pages);
    r->n_computed = r->n_published = 0;
    queue_insert(queue_of(s, r), r);
    close_class(plan, r->params.priority);
    s->n_preempted++;
}

static void add_item(struct sched *s, struct request *r, struct plan *plan)
{
    size_t left = rows_left(r), n = left < plan->budget ? left : plan->budget;
    s->items[s->n_items++] = (struct sched_item){r, n, n == left};
    plan->budget -= n;
}

/* Plans rows of running[i]. Only later requests make room. */
static void plan_rows(struct sched *s, size_t i, struct plan *plan)
{
    struct request *r = s->running[i];
    size_t left = rows_left(r), n = left < plan->budget ? left : plan->budget;
    while (!kv_reserve(s->kv, &r->pages, r->n_computed + n)) {
        if (s->n_running == i + 1)
            return;
        preempt_last(s, plan);
    }
    add_item(s, r, plan);
}

static void plan_running(struct sched *s, unsigned priority, bool decoding, struct plan *plan)
{
    for (size_t i = 0; i < s->n_running && plan->budget > 0; i++) {
        const struct request *r = s->running[i];
        if (r->params.priority == priority && (rows_left(r) == 1) == decoding && request_goes_on(r))
            plan_rows(s, i, plan);
    }
}

/* A running choice of the same request; NULL if there is none. */
static const struct request *running_sibling(const struct sched *s, const struct request *r)
{
    for (size_t i = 0; r->group->n_members > 1 && i < s->n_running; i++)
        if (s->running[i]->group == r->group)
            return s->running[i];
    return NULL;
}

/* The first request that may run. A choice whose prompt a sibling is computing waits for it. */
static struct request *next_waiting(const struct sched *s, unsigned priority)
{
    struct request *r = s->waiting[priority].first;
    for (; r != NULL; r = r->next) {
        const struct request *sibling = running_sibling(s, r);
        if (sibling == NULL || sibling->n_computed >= r->n_prompt)
            break;
    }
    return r;
}

/* Copies what a running sibling has of the prompt's last page. */
static void copy_from_sibling(struct sched *s, struct request *r)
{
    const struct request *sibling = running_sibling(s, r);
    size_t page = r->n_computed / KV_PAGE_TOKENS, last = r->n_prompt - 1;
    if (sibling == NULL || r->n_computed == last || page != last / KV_PAGE_TOKENS)
        return;
    kv_copy(s->kv, r->pages.pages[page], sibling->pages.pages[page], last % KV_PAGE_TOKENS);
    r->n_computed = last;
}

static void count_prefix(struct sched *s, struct request *r, size_t n_found)
{
    if (r->admitted)
        return;
    r->admitted = true;
    if (!r->group->keeps_pages)
        return;
    r->n_cached = n_found;
    s->n_prefix_queries += r->n_prompt;
    s->n_prefix_hits += n_found;
}

/* Takes pages for the tokens so far and one more, so that no later request can be admitted on the
 * same ones. If `whole` holds the known page that the tokens end with, all but its last position is
 * copied: the last token is always computed, for the logits, and nobody writes to a shared page. */
static bool reserve_for(struct sched *s, struct request *r, struct page_list *whole)
{
    size_t n_known = r->pages.n;
    bool ok = kv_reserve(s->kv, &r->pages, r->n_tokens < r->n_max ? r->n_tokens + 1 : r->n_tokens);
    r->n_computed = n_known * KV_PAGE_TOKENS;
    if (ok && whole->n > 0) {
        kv_copy(s->kv, r->pages.pages[n_known], whole->pages[0], KV_PAGE_TOKENS - 1);
        r->n_computed += KV_PAGE_TOKENS - 1;
    }
    kv_release(s->kv, whole);
    return ok;
}

/* Known pages as far as they reach, then fresh ones. */
static bool take_pages(struct sched *s, struct request *r)
{
    size_t n = 0, n_shared = (r->n_tokens - 1) / KV_PAGE_TOKENS;
    struct page_list whole = {0};
    request_make_keys(r, r->n_tokens / KV_PAGE_TOKENS);
    while (n < n_shared && kv_share(s->kv, &r->pages, r->keys[n]))
        n++;
    if (n == n_shared && n < r->n_tokens / KV_PAGE_TOKENS)
        (void)kv_share(s->kv, &whole, r->keys[n]);
    /* Without holding that page once more: it may be the one that is needed. */
    if (!reserve_for(s, r, &whole) && !reserve_for(s, r, &whole)) {
        kv_release(s->kv, &r->pages);
        r->n_computed = 0;
        return false;
    }
    count_prefix(s, r, r->n_computed);
    copy_from_sibling(s, r);
    return true;
}

/* Lower classes make room for a request that wants to run. */
static bool make_room(struct sched *s, unsigned priority, struct plan *plan)
{
    if (s->n_running == 0 || s->running[s->n_running - 1]->params.priority <= priority)
        return false;
    preempt_last(s, plan);
    return true;
}

static void insert_running(struct sched *s, struct request *r)
{
    size_t i = s->n_running++;
    for (; i > 0; i--) {
        const struct request *other = s->running[i - 1];
        if (other->params.priority < r->params.priority ||
            (other->params.priority == r->params.priority && other->number < r->number))
            break;
        s->running[i] = s->running[i - 1];
    }
    s->running[i] = r;
}

/* Out of its queue before it grows: there its size is counted. */
static bool leave_queue(struct sched *s, struct request *r)
{
    queue_remove(queue_of(s, r), r);
    if (!is_err(request_make_room(r)))
        return true;
    kv_release(s->kv, &r->pages);
    r->n_computed = 0;
    queue_insert(queue_of(s, r), r);
    if (s->refused == NULL)
        s->refused = r;
    return false;
}

static bool admit(struct sched *s, struct request *r, struct plan *plan)
{
    while (s->n_running == s->max_running)
        if (!make_room(s, r->params.priority, plan))
            return false;
    while (!take_pages(s, r))
        if (!make_room(s, r->params.priority, plan))
            return false;
    if (!leave_queue(s, r))
        return false;
    insert_running(s, r);
    add_item(s, r, plan);
    return true;
}

static void plan_waiting(struct sched *s, unsigned priority, struct plan *plan)
{
    while (plan->budget > 0 && plan->closed > priority) {
        struct request *r = next_waiting(s, priority);
        if (r == NULL)
            return;
        if (r->n_ahead > 0 || !admit(s, r, plan))
            close_class(plan, priority);
    }
}

void sched_plan(struct sched *s, size_t budget)
{
    struct plan plan = {.budget = budget, .closed = ENGINE_PRIORITIES};
    s->n_items = 0;
    s->refused = NULL;
    for (unsigned priority = 0; priority < ENGINE_PRIORITIES; priority++) {
        plan_running(s, priority, true, &plan);
        plan_running(s, priority, false, &plan);
        plan_waiting(s, priority, &plan);
    }
}

struct request *sched_find(const struct sched *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_running; i++)
        if (s->running[i]->id == id)
            return s->running[i];
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++)
        for (struct request *r = s->waiting[i].first; r != NULL; r = r->next)
            if (r->id == id)
                return r;
    return NULL;
}

struct request *sched_first_waiting(const struct sched *s)
{
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++)
        if (s->waiting[i].first != NULL)
            return s->waiting[i].first;
    return NULL;
}

/* No key of the pages' can be asked for again: siblings ask for the prompt's only. The last one
 * need not have run itself. */
static void forget_pages(struct sched *s, struct request *r)
{
    size_t n_prompt = r->n_prompt / KV_PAGE_TOKENS, i = r->group->n_members > 1 ? n_prompt : 0;
    request_make_keys(r, n_prompt);
    if (i < r->n_keys)
        kv_forget(s->kv, r->keys[i], r->n_keys - i);
}

static void leave_flights(struct sched *s, const struct request *r)
{
    for (size_t i = 0; i < s->n_flights; i++)
        for (size_t j = 0; j < s->flights[i].n_items; j++)
            if (s->flights[i].items[j].request == r)
                s->flights[i].items[j].request = NULL;
}

void sched_remove(struct sched *s, struct request *r)
{
    size_t i = 0;
    while (i < s->n_running && s->running[i] != r)
        i++;
    if (i < s->n_running) {
        s->n_running--;
        memmove(&s->running[i], &s->running[i + 1], (s->n_running - i) * sizeof(struct request *));
    } else {
        queue_remove(queue_of(s, r), r);
    }
    leave_flights(s, r);
    kv_release(s->kv, &r->pages);
    if (!r->group->keeps_pages)
        forget_pages(s, r);
}

void sched_cleanup(struct sched *s)
{
    while (s->n_running > 0) {
        struct request *r = s->running[s->n_running - 1];
        sched_remove(s, r);
        request_free(r);
    }
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++)
        while (s->waiting[i].first != NULL) {
            struct request *r = s->waiting[i].first;
            sched_remove(s, r);
            request_free(r);
        }
    free(s->running);
    free(s->items);
    for (size_t i = 0; i < SCHED_FLIGHTS_MAX; i++)
        free(s->flights[i].items);
    *s = (struct sched){0};
}
