/* Threads: every item once, rest when idle. And which kernel set is taken. */
#include <time.h>

#include "tests/unit/kernels_fixture.h"

static void count_items(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    unsigned char *counts = context;
    for (size_t i = begin; i < end; i++)
        counts[i]++;
}

static void the_pool_does_every_item_once(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        for (size_t n = 0; n < 300; n++) {
            unsigned char counts[300] = {0};
            pool_run(pool, n, 1 + n % 7, count_items, counts);
            for (size_t i = 0; i < 300; i++)
                assert_int_equal(counts[i], i < n);
        }
        pool_free(pool);
    }
}

static void refuses_an_empty_pool(void **state)
{
    (void)state;
    struct pool *p = NULL;
    assert_int_equal(pool_new(&p, 0).code, ERR_USAGE);
    assert_null(p);
}

/* The first of all, but avx512bf16 only for a model that it computes otherwise. */
static void the_default_backend_suits_the_weights(void **state)
{
    (void)state;
    const struct backend *all[BACKENDS_MAX], *with = NULL, *without = NULL;
    size_t n = backend_all(all);
    bool has_bf16 = strcmp(all[0]->name, "avx512bf16") == 0;
    assert_false(is_err(backend_get(&with, NULL, true)));
    assert_false(is_err(backend_get(&without, NULL, false)));
    assert_ptr_equal(with, all[0]);
    assert_ptr_equal(without, all[has_bf16 ? 1 : 0]);
    assert_true(!has_bf16 || n == BACKENDS_MAX); /* it needs what the others need */
}

static void every_backend_has_a_name_and_numerics_of_its_own(void **state)
{
    (void)state;
    const struct backend *all[BACKENDS_MAX], *named = NULL;
    size_t n = backend_all(all);
    assert_true(n >= 1 && n <= BACKENDS_MAX);
    assert_string_equal(all[n - 1]->name, "ref");
    for (size_t i = 0; i < n; i++) {
        assert_false(is_err(backend_get(&named, all[i]->name, i % 2 == 0)));
        assert_ptr_equal(named, all[i]);
        for (size_t j = 0; j < i; j++) /* no two of them are promised to agree */
            assert_string_not_equal(all[i]->numerics, all[j]->numerics);
    }
    assert_int_equal(backend_get(&named, "abacus", true).code, ERR_NOT_FOUND);
    for (size_t i = 0; i < n; i++)
        assert_non_null(strstr(err_message(), all[i]->name));
}

/* Many small jobs one after the other, as a decode step is, some of them after a rest. */
static void jobs_follow_each_other(void **state)
{
    (void)state;
    for (unsigned n_threads = 2; n_threads <= 4; n_threads++) {
        struct pool *pool = pool_of(n_threads);
        unsigned char counts[64] = {0};
        for (unsigned i = 1; i <= 200; i++) {
            pool_run(pool, 64, 1, count_items, counts);
            for (size_t j = 0; j < 64; j++)
                assert_int_equal(counts[j], (unsigned char)i);
            if (i % 50 == 0)
                nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
        pool_free(pool);
    }
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Threads look for work for well under a millisecond each; in 200 they would burn 600. */
static void an_idle_pool_uses_no_processor_time(void **state)
{
    (void)state;
    struct pool *pool = pool_of(4);
    unsigned char counts[64] = {0};
    pool_run(pool, 64, 1, count_items, counts);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    double start = cpu_s();
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    assert_true(cpu_s() - start < 0.02);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pool_does_every_item_once),
        cmocka_unit_test(jobs_follow_each_other),
        cmocka_unit_test(an_idle_pool_uses_no_processor_time),
        cmocka_unit_test(refuses_an_empty_pool),
        cmocka_unit_test(the_default_backend_suits_the_weights),
        cmocka_unit_test(every_backend_has_a_name_and_numerics_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
