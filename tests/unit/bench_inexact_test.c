/* The kernels that only benchmarks compare with (bench/inexact.cu), on the emulated GPU: near
 * double precision, too, whether splits are shared among blocks or not. Without this, what
 * exactness is said to cost could be the price of computing something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/attention_case.h"
#include "bench/gemm.h"

static void open_rig(struct rig *r)
{
    const struct bench_options o = {.emulated = true, .tiny = true};
    struct results *results = results_new();
    rig_open(r, &o, results);
    results_free(results);
}

static void check_attention(const struct attention_size *size)
{
    struct rig r;
    struct attention_case c;
    char hash[17];
    open_rig(&r);
    r.info.n_multiprocessors = 6; /* long contexts are shared among them */
    attention_case_init(&c, &r, size);
    attention_case_check(&c, RIG_INEXACT, hash);
    if (size->n_new == 1)
        assert_true(c.plan.n_folds > 0);
    attention_case_cleanup(&c);
    rig_close(&r);
}

static void attention_of_a_prefill_is_near_double(void **state)
{
    (void)state;
    check_attention(&(struct attention_size){4, 2, 64, 1, 300, 300, 1});
}

static void attention_of_decoding_is_near_double(void **state)
{
    (void)state;
    check_attention(&(struct attention_size){4, 2, 64, 2, 900, 1, 2});
}

static void products_are_near_double(void **state)
{
    (void)state;
    struct rig r;
    struct gemm g;
    char hash[17];
    open_rig(&r);
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        gemm_init(&g, &r, gemm_shape(i, true), 9, 1);
        gemm_set(&g, gemm_shape(i, true)->kind, 9, 0);
        gemm_check(&g, RIG_INEXACT, hash);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_a_prefill_is_near_double),
        cmocka_unit_test(attention_of_decoding_is_near_double),
        cmocka_unit_test(products_are_near_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
