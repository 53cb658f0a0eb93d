/* Whose place a newcomer takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "http/http_places.h"

enum { N = 8, OF_ONE = 4 };

struct scene {
    struct http_places all;
    struct http_place place[4 * N];
    size_t n;
};

static struct http_address v4(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, text, &a.sin_addr), 1);
    return http_address_of((struct sockaddr *)&a);
}

static struct http_address v6(const char *text)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6};
    assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
    return http_address_of((struct sockaddr *)&a);
}

static void begin(struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->all.n_max = N;
    s->all.n_address = OF_ONE;
}

/* The index of whoever went, -1 for nobody. */
static int come(struct scene *s, const char *address, enum http_place_state state)
{
    struct http_place *p = &s->place[s->n];
    *p = (struct http_place){.address = v4(address), .since = s->n++};
    struct http_place *goes = http_places_admit(&s->all, p);
    p->state = state;
    if (goes == NULL)
        return -1;
    http_places_remove(&s->all, goes);
    http_places_remove(&s->all, goes); /* twice is once */
    return (int)(goes - s->place);
}

static void one_address_is_bounded_and_its_own_oldest_idle_goes(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WORKING), -1);
    for (int i = 1; i < OF_ONE; i++)
        assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WAITING), -1);
    assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WAITING), 1);
    assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WAITING), 2);
    assert_int_equal(s.all.n, OF_ONE);
}

static void an_address_with_all_its_places_at_work_gets_no_more(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    for (int i = 0; i < OF_ONE; i++)
        assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WORKING), -1);
    assert_int_equal(come(&s, "10.0.0.1", HTTP_PLACE_WAITING), OF_ONE);
    assert_int_equal(come(&s, "10.0.0.2", HTTP_PLACE_WAITING), -1);
}

static void fill(struct scene *s, const char *address, int n, enum http_place_state state)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(come(s, address, state), -1);
}

static void a_newcomer_takes_from_the_address_that_has_most(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    fill(&s, "10.0.0.1", 1, HTTP_PLACE_WAITING); /* 0: the oldest of all, and alone */
    fill(&s, "10.0.0.2", 3, HTTP_PLACE_WAITING); /* 1 to 3 */
    fill(&s, "10.0.0.3", 4, HTTP_PLACE_WAITING); /* 4 to 7 */
    assert_int_equal(come(&s, "10.0.0.4", HTTP_PLACE_WAITING), 4);
    assert_int_equal(come(&s, "10.0.0.4", HTTP_PLACE_WAITING), 1); /* three each: the oldest */
}

static void who_still_reads_goes_after_who_waits(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    fill(&s, "10.0.0.1", 3, HTTP_PLACE_LEAVING);
    fill(&s, "10.0.0.1", 1, HTTP_PLACE_WAITING);
    fill(&s, "10.0.0.2", 4, HTTP_PLACE_WORKING);
    assert_int_equal(come(&s, "10.0.0.3", HTTP_PLACE_WAITING), 3);
    assert_int_equal(come(&s, "10.0.0.4", HTTP_PLACE_WAITING), 0);
}

static void work_in_hand_is_never_ended_and_the_rest_is_for_the_first_of_an_address(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    fill(&s, "10.0.0.1", 4, HTTP_PLACE_WORKING);
    fill(&s, "10.0.0.2", 4, HTTP_PLACE_WORKING);
    fill(&s, "10.0.0.3", 1, HTTP_PLACE_WORKING);
    assert_int_equal(come(&s, "10.0.0.3", HTTP_PLACE_WAITING), 9);
    fill(&s, "10.0.0.4", 1, HTTP_PLACE_WAITING);
    /* who has more takes nothing from who has less */
    assert_int_equal(come(&s, "10.0.0.3", HTTP_PLACE_WAITING), 11);
}

static void an_ipv6_network_is_one_address(void **state)
{
    (void)state;
    struct http_address a = v6("2001:db8:1:2::1"), b = v6("2001:db8:1:2:ffff::9");
    struct http_address c = v6("2001:db8:1:3::1"), d = v6("::ffff:10.0.0.1"), e = v4("10.0.0.1");
    struct http_address f = v6("::ffff:10.0.0.2");
    assert_true(http_address_equal(&a, &b));
    assert_false(http_address_equal(&a, &c));
    assert_true(http_address_equal(&d, &e));
    assert_false(http_address_equal(&d, &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_bounded_and_its_own_oldest_idle_goes),
        cmocka_unit_test(an_address_with_all_its_places_at_work_gets_no_more),
        cmocka_unit_test(a_newcomer_takes_from_the_address_that_has_most),
        cmocka_unit_test(who_still_reads_goes_after_who_waits),
        cmocka_unit_test(work_in_hand_is_never_ended_and_the_rest_is_for_the_first_of_an_address),
        cmocka_unit_test(an_ipv6_network_is_one_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
