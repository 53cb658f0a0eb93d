#include "server/front_handover.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct handover {
    pthread_mutex_t lock;
    struct handover_item *first, **last;
    int fd;
    struct event *readable;
};

static void take_all(evutil_socket_t fd, short events, void *context)
{
    (void)events;
    struct handover *h = context;
    eventfd_t count;
    if (eventfd_read(fd, &count) != 0)
        return;
    for (;;) {
        handover_lock(h);
        struct handover_item *item = h->first;
        if (item != NULL) {
            h->first = item->next;
            if (h->first == NULL)
                h->last = &h->first;
            item->queued = false;
        }
        handover_unlock(h);
        if (item == NULL)
            return;
        item->deliver(item); /* may free it */
    }
}

struct err handover_new(struct handover **out, struct event_base *base)
{
    struct handover *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_set(ERR_MEMORY, "no memory for the queue of answers");
    pthread_mutex_init(&h->lock, NULL);
    h->last = &h->first;
    h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->fd >= 0)
        h->readable = event_new(base, h->fd, EV_READ | EV_PERSIST, take_all, h);
    if (h->readable == NULL || event_add(h->readable, NULL) != 0) {
        struct err e = err_errno("cannot make the queue of answers");
        handover_free(h);
        return e;
    }
    *out = h;
    return err_ok();
}

void handover_free(struct handover *h)
{
    if (h == NULL)
        return;
    if (h->readable != NULL)
        event_free(h->readable);
    if (h->fd >= 0)
        close(h->fd);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void handover_lock(struct handover *h)
{
    pthread_mutex_lock(&h->lock);
}

void handover_unlock(struct handover *h)
{
    pthread_mutex_unlock(&h->lock);
}

void handover_push(struct handover *h, struct handover_item *item)
{
    if (item->queued)
        return;
    item->queued = true;
    item->next = NULL;
    *h->last = item;
    h->last = &item->next;
    eventfd_write(h->fd, 1);
}

void handover_remove(struct handover *h, struct handover_item *item)
{
    handover_lock(h);
    struct handover_item **at = &h->first;
    while (*at != NULL && *at != item)
        at = &(*at)->next;
    if (*at == item) {
        *at = item->next;
        if (item->next == NULL)
            h->last = at;
        item->queued = false;
    }
    handover_unlock(h);
}
