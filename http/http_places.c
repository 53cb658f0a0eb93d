#include "http/http_places.h"

/* One more or one less of the place's address; how many there are now. */
static size_t recount(struct http_places *all, const struct http_place *place)
{
    size_t n = 0;
    for (struct http_place *p = all->first; p != NULL; p = p->next)
        n += http_address_equal(&p->address, &place->address);
    for (struct http_place *p = all->first; p != NULL; p = p->next)
        if (http_address_equal(&p->address, &place->address))
            p->n_same = n;
    return n;
}

/* Of the address that has more; there, who waits before who still reads, and the oldest first. */
static bool goes_before(const struct http_place *a, const struct http_place *b)
{
    if (b == NULL || a->n_same != b->n_same)
        return b == NULL || a->n_same > b->n_same;
    return a->state != b->state ? a->state < b->state : a->since < b->since;
}

/* Whom nothing is lost with, and whose address has no fewer places than the newcomer's. */
static struct http_place *find(const struct http_places *all, const struct http_place *newcomer,
                               bool of_its_address)
{
    struct http_place *found = NULL;
    for (struct http_place *p = all->first; p != NULL; p = p->next)
        if (p != newcomer && p->state != HTTP_PLACE_WORKING && p->n_same >= newcomer->n_same &&
            (!of_its_address || http_address_equal(&p->address, &newcomer->address)) &&
            goes_before(p, found))
            found = p;
    return found;
}

struct http_place *http_places_admit(struct http_places *all, struct http_place *newcomer)
{
    newcomer->next = all->first;
    newcomer->previous = &all->first;
    if (newcomer->next != NULL)
        newcomer->next->previous = &newcomer->next;
    all->first = newcomer;
    all->n++;
    bool too_many = recount(all, newcomer) > all->n_address;
    if (!too_many && all->n <= all->n_max)
        return NULL;
    struct http_place *other = find(all, newcomer, too_many);
    if (other == NULL && (too_many || newcomer->n_same > 1))
        return newcomer;
    return other;
}

void http_places_remove(struct http_places *all, struct http_place *place)
{
    if (place->previous == NULL)
        return;
    *place->previous = place->next;
    if (place->next != NULL)
        place->next->previous = place->previous;
    place->previous = NULL;
    all->n--;
    recount(all, place);
}
