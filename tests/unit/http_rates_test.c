/* One address uses up what is its own, never what is everybody's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "http/http_rates.h"

static struct http_address address(unsigned n)
{
    struct http_address a = {{0}};
    memcpy(a.bytes, &n, sizeof n);
    return a;
}

static struct http_rates *rates(void)
{
    struct http_rates *r;
    assert_false(
        is_err(http_rates_new(&r, (struct rate){.per_s = 2, .most = 5}, (struct rate){10, 10})));
    return r;
}

static unsigned count(struct http_rates *r, unsigned from, unsigned n, uint64_t now_ms)
{
    const struct http_address a = address(from);
    unsigned n_well = 0;
    for (unsigned i = 0; i < n; i++)
        n_well += http_rates_count(r, &a, now_ms) == HTTP_RATED_WELL;
    return n_well;
}

static void one_address_uses_up_its_own_alone(void **state)
{
    (void)state;
    struct http_rates *r = rates();
    const struct http_address greedy = address(1);
    assert_int_equal(count(r, 1, 1000, 0), 5);
    assert_int_equal(http_rates_count(r, &greedy, 0), HTTP_RATED_ADDRESS);
    assert_int_equal(count(r, 2, 1, 0), 1);
    for (uint64_t s = 1; s < 100; s++) { /* for as long as it likes */
        assert_int_equal(count(r, 1, 1000, s * 1000), 2);
        assert_int_equal(count(r, 2, 1, s * 1000), 1);
        assert_int_equal(count(r, 3, 2, s * 1000), 2);
    }
    http_rates_free(r);
}

static void all_together_have_a_ceiling(void **state)
{
    (void)state;
    struct http_rates *r = rates();
    unsigned n = 0;
    for (unsigned i = 0; i < 50; i++)
        n += count(r, i, 1, 0);
    assert_int_equal(n, 10);
    const struct http_address late = address(99);
    assert_int_equal(http_rates_count(r, &late, 0), HTTP_RATED_ALL);
    assert_int_equal(http_rates_count(r, &late, 1000), HTTP_RATED_WELL);
    http_rates_free(r);
}

static void more_addresses_than_are_counted_push_out_the_oldest(void **state)
{
    (void)state;
    struct http_rates *r = rates();
    assert_int_equal(count(r, 0, 6, 0), 5);
    for (unsigned i = 1; i < 3 * HTTP_RATES_ADDRESSES_MAX; i++)
        count(r, i, 1, 1 + i);
    assert_int_equal(count(r, 0, 6, 100000), 5); /* forgotten: its bucket had filled by then */
    http_rates_free(r);
}

static void a_bucket_fills_up_to_its_most(void **state)
{
    (void)state;
    struct rate_bucket b = {0, 0};
    const struct rate rate = {.per_s = 4, .most = 8};
    assert_false(rate_take(&b, rate, 1, 0));
    assert_true(rate_take(&b, rate, 1, 250));
    assert_false(rate_take(&b, rate, 0.1, 250));
    assert_true(rate_take(&b, rate, 8, 1000000));
    assert_false(rate_take(&b, rate, 0.1, 1000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_uses_up_its_own_alone),
        cmocka_unit_test(all_together_have_a_ceiling),
        cmocka_unit_test(more_addresses_than_are_counted_push_out_the_oldest),
        cmocka_unit_test(a_bucket_fills_up_to_its_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
