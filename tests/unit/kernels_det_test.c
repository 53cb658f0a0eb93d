/* Conversions of weights, and the elementary functions that have the same bits everywhere. */
#include "tests/unit/kernels_fixture.h"

static void widens_every_half_float_exactly(void **state)
{
    (void)state;
    uint16_t *all = malloc(65536 * sizeof *all);
    float *wide = malloc(65536 * sizeof *wide);
    assert_true(all != NULL && wide != NULL);
    for (unsigned i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    const struct lanes *lanes[LANES_VARIANTS_MAX];
    for (size_t v = lanes_all(lanes); v-- > 0;) {
        lanes[v]->widen(wide, all, WEIGHT_F16, 65536);
        for (unsigned i = 0; i < 65536; i++) {
            double want = ldexp_half(all[i]);
            if (isnan(want))
                assert_true(isnan(wide[i]));
            else
                assert_int_equal(det_bits(wide[i]), det_bits((float)want));
        }
        lanes[v]->widen(wide, all, WEIGHT_BF16, 65536);
        for (unsigned i = 0; i < 65536; i++)
            assert_int_equal(det_bits(wide[i]), i << 16);
    }
    free(all);
    free(wide);
}

static void det_exp_is_within_its_bound(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -870000; i <= 887000; i += 7) {
        float x = (float)i * 1e-4f;
        double want = exp((double)x);
        worst = fmax(worst, fabs((double)det_exp(x) - want) / want);
    }
    assert_true(worst < 1.0e-7);
    assert_true(det_exp(0.0f) == 1.0f);
    assert_true(det_exp(-200.0f) == 0.0f && det_exp(-INFINITY) == 0.0f);
    assert_true(isinf(det_exp(200.0f)) && isnan(det_exp(NAN)));
    assert_true(fabs((double)det_exp(-100.0f) - exp(-100.0)) <= 0x1p-149); /* subnormal */
}

static void det_silu_is_within_its_bound(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -800000; i <= 1000000; i += 7) {
        float x = (float)i * 1e-4f;
        double want = (double)x / (1 + exp(-(double)x));
        if (i != 0)
            worst = fmax(worst, fabs((double)det_silu(x) - want) / fabs(want));
    }
    assert_true(worst < 1.2e-4);
    assert_true(det_silu(0.0f) == 0.0f);
    assert_true(fabsf(det_silu(-3e5f)) < 1e-29f); /* 3e5 e^-80 */
    assert_true(isinf(det_silu(INFINITY)) && isnan(det_silu(NAN)));
}

static void the_double_functions_are_within_their_bounds(void **state)
{
    (void)state;
    uint64_t seed = 15;
    for (int i = 0; i < 20000; i++) {
        double u = (double)(tiny_random(&seed) >> 11) * 0x1p-53;
        double x = exp(60 * u - 30), e = 80 * u - 40, s, c;
        assert_true(fabs(det_log64(x) - log(x)) <= 4e-16 * fmax(1, fabs(log(x))));
        assert_true(fabs(det_exp64(e) - exp(e)) <= 6e-16 * exp(e));
        det_sincos64(u * 131072, &s, &c);
        assert_true(fabs(s - sin(u * 131072)) < 3e-16 + 1e-15);
        assert_true(fabs(c - cos(u * 131072)) < 3e-16 + 1e-15);
    }
}

int main(void)
{
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(widens_every_half_float_exactly),
        cmocka_unit_test(det_exp_is_within_its_bound),
        cmocka_unit_test(det_silu_is_within_its_bound),
        cmocka_unit_test(the_double_functions_are_within_their_bounds),
    };
    return cmocka_run_group_tests(shared, NULL, NULL);
}
