#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "server/front_handover.h"

enum { PUSHES = 20000 };

struct thing {
    struct handover_item item; /* first */
    struct handover *handover;
    struct event_base *base;
    unsigned n_pushed; /* under the lock */
    unsigned n_delivered;
    unsigned n_seen;
};

static void deliver(struct handover_item *item)
{
    struct thing *t = (struct thing *)item;
    handover_lock(t->handover);
    t->n_seen = t->n_pushed;
    handover_unlock(t->handover);
    t->n_delivered++;
    if (t->n_seen == PUSHES)
        event_base_loopbreak(t->base);
}

static void push(struct thing *t)
{
    handover_lock(t->handover);
    t->n_pushed++;
    handover_push(t->handover, &t->item);
    handover_unlock(t->handover);
}

static int set_up(void **state)
{
    static struct thing t;
    t = (struct thing){.item.deliver = deliver, .base = event_base_new()};
    *state = &t;
    return is_err(handover_new(&t.handover, t.base));
}

static int tear_down(void **state)
{
    struct thing *t = *state;
    handover_free(t->handover);
    event_base_free(t->base);
    return 0;
}

static void *push_many(void *context)
{
    for (unsigned i = 0; i < PUSHES; i++)
        push(context);
    return NULL;
}

static void everything_pushed_by_another_thread_arrives(void **state)
{
    struct thing *t = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push_many, t), 0);
    event_base_dispatch(t->base);
    pthread_join(thread, NULL);
    assert_int_equal(t->n_seen, PUSHES);
    assert_in_range(t->n_delivered, 1, PUSHES);
}

static void what_was_pushed_twice_is_delivered_once(void **state)
{
    struct thing *t = *state;
    push(t);
    push(t);
    event_base_loop(t->base, EVLOOP_NONBLOCK);
    assert_int_equal(t->n_delivered, 1);
    assert_int_equal(t->n_seen, 2);
}

static void a_removed_item_is_not_delivered(void **state)
{
    struct thing *t = *state;
    struct thing other = {.item.deliver = deliver, .handover = t->handover, .base = t->base};
    push(t);
    push(&other);
    handover_remove(t->handover, &other.item);
    handover_remove(t->handover, &other.item);
    push(&other);
    handover_remove(t->handover, &t->item);
    push(t);
    event_base_loop(t->base, EVLOOP_NONBLOCK);
    assert_int_equal(t->n_delivered, 1);
    assert_int_equal(other.n_delivered, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_pushed_by_another_thread_arrives, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_pushed_twice_is_delivered_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removed_item_is_not_delivered, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
