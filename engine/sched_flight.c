/* Plans on their way: from their launch until their tokens have been read. */
#include <string.h>

#include "engine/sched.h"

/* Full pages all of whose tokens are known can be found. */
static void publish(struct sched *s, struct request *r)
{
    size_t n_known = r->n_computed < r->n_tokens ? r->n_computed : r->n_tokens;
    request_make_keys(r, n_known / KV_PAGE_TOKENS);
    for (; r->n_published < n_known / KV_PAGE_TOKENS; r->n_published++)
        kv_publish(s->kv, r->pages.pages[r->n_published], r->keys[r->n_published]);
}

void sched_launch(struct sched *s)
{
    struct sched_flight *f = &s->flights[s->n_flights++];
    f->n_items = s->n_items;
    memcpy(f->items, s->items, s->n_items * sizeof *f->items);
    for (size_t i = 0; i < f->n_items; i++) {
        struct request *r = f->items[i].request;
        r->n_computed += f->items[i].n_rows;
        r->n_ahead += f->items[i].chooses ? 1 : 0;
        publish(s, r);
    }
}

/* Before the token is known: a page that ends with it is whole only if it is computed, too. */
void sched_read(struct sched *s, struct request *r)
{
    r->n_ahead--;
    publish(s, r);
}

void sched_land(struct sched *s)
{
    struct sched_flight first = s->flights[0];
    s->n_flights--;
    memmove(s->flights, s->flights + 1, (SCHED_FLIGHTS_MAX - 1) * sizeof first);
    first.n_items = 0;
    s->flights[SCHED_FLIGHTS_MAX - 1] = first;
}

void sched_lose_flights(struct sched *s)
{
    s->n_flights = 0;
    for (size_t i = 0; i < s->n_running; i++)
        s->running[i]->n_ahead = 0;
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++)
        for (struct request *r = s->waiting[i].first; r != NULL; r = r->next)
            r->n_ahead = 0;
}
