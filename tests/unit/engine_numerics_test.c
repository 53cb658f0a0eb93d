/* The engine's logits on a tiny random model, on every kernel set that the machine has: near double
 * precision, and the same bits prefilled or decoded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine_fixture.h"

static double worst_difference(const struct tiny_spec *spec)
{
    enum { TOKENS = 90 };
    struct tiny_model m;
    uint32_t tokens[TOKENS];
    size_t n = (size_t)TOKENS * spec->vocab_size;
    float *got = calloc(n, sizeof *got);
    double *want = calloc(n, sizeof *want), worst = 0;
    tiny_write(&m, spec);
    random_tokens(tokens, TOKENS, 3);
    struct engine *e = open_with(&m, options(2, 1, 37));
    assert_false(is_err(engine_logits(e, tokens, TOKENS, got)));
    tiny_forward(&m, tokens, TOKENS, want);
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)got[i] - want[i]));
    engine_free(e);
    tiny_remove(&m);
    free(got);
    free(want);
    return worst;
}

/* Logits here are up to 14; float carries 24 bits through two layers, rows of bf16 carry 8. */
static void logits_are_near_a_double_precision_forward(void **state)
{
    (void)state;
    struct tiny_spec s = tiny_default;
    bool rounds_rows = s.type == TINY_BF16 && strcmp(engine_tested, "avx512bf16") == 0;
    double worst = worst_difference(&s);
    print_message("BF16: largest difference of a logit %.2g\n", worst);
    assert_true(worst < (rounds_rows ? 0.3 : 2e-5));
    s.type = TINY_F32;
    s.tied = 0;
    s.llama3 = 1;
    s.head_dim = 16;
    assert_true(worst_difference(&s) < 2e-5);
    s.type = TINY_F16;
    s.n_kv_heads = 4;
    s.hidden = 64;
    assert_true(worst_difference(&s) < 2e-5);
    s.n_kv_heads = 1;
    s.rope_theta = 500000;
    assert_true(worst_difference(&s) < 2e-5);
}

/* What is chosen where nothing is named: avx512bf16 only for BF16 matrices. */
static const struct backend *default_backend(enum tiny_type type)
{
    const struct backend *b = NULL;
    assert_false(is_err(backend_get(&b, NULL, type == TINY_BF16)));
    return b;
}

static void the_default_backend_suits_the_weights(void **state)
{
    (void)state;
    for (int type = TINY_F32; type <= TINY_BF16; type++) {
        struct tiny_spec s = tiny_default;
        struct tiny_model m;
        s.type = (enum tiny_type)type;
        tiny_write(&m, &s);
        struct engine_options o = options(1, 1, 16);
        o.backend = NULL;
        struct engine *e = open_with(&m, o);
        assert_string_equal(engine_info(e)->numerics, default_backend(s.type)->numerics);
        engine_free(e);
        tiny_remove(&m);
    }
}

static void the_backend_can_be_chosen(void **state)
{
    const struct tiny_model *m = *state;
    const struct backend *all[BACKENDS_MAX];
    size_t n = backend_all(all);
    for (size_t i = 0; i < n; i++) {
        struct engine_options o = options(1, 1, 16);
        o.backend = all[i]->name;
        struct engine *e = open_with(m, o);
        assert_string_equal(engine_info(e)->numerics, all[i]->numerics);
        engine_free(e);
    }
    struct engine_options o = options(1, 1, 16);
    struct engine *e = NULL;
    o.backend = "abacus";
    assert_int_equal(engine_open(&e, m->dir, &o).code, ERR_NOT_FOUND);
    assert_null(e);
}

static void prefill_equals_decode_bit_for_bit(void **state)
{
    const struct tiny_model *m = *state;
    enum { TOKENS = 150 };
    static const unsigned budgets[] = {512, 1, 7, 64, 65}, threads[] = {1, 1, 2, 3, 4};
    uint32_t tokens[TOKENS];
    size_t n = (size_t)TOKENS * tiny_default.vocab_size;
    float *first = calloc(n, sizeof *first), *next = calloc(n, sizeof *next);
    random_tokens(tokens, TOKENS, 4);
    for (size_t i = 0; i < 5; i++) {
        struct engine *e = open_with(m, options(threads[i], 1, budgets[i]));
        assert_false(is_err(engine_logits(e, tokens, TOKENS, i == 0 ? first : next)));
        if (i > 0)
            assert_memory_equal(first, next, n * sizeof *first);
        engine_free(e);
    }
    free(first);
    free(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {ENGINE_CASE(the_backend_can_be_chosen),
                                       cmocka_unit_test(the_default_backend_suits_the_weights)};
    const struct CMUnitTest numerics[] = {
        cmocka_unit_test(logits_are_near_a_double_precision_forward),
        ENGINE_CASE(prefill_equals_decode_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) +
           engine_run_on_all_backends(numerics, sizeof numerics / sizeof numerics[0]);
}
