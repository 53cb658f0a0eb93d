/* How a TPM that failed is tried again; that it works is shown by e2e/server_stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/attester_internal.h"

static void attempts_grow_apart_and_end(void **state)
{
    (void)state;
    unsigned n = 0, last = 0;
    uint64_t total_ms = 0;
    for (unsigned ms; (ms = attester_pause_ms(n)) > 0; n++) {
        assert_true(ms >= last && ms <= 60 * 1000);
        assert_true(n > 5 || ms > last);
        total_ms += last = ms;
        assert_true(n < 1000);
    }
    assert_in_range(total_ms, 30 * 60 * 1000, 120 * 60 * 1000);
    assert_int_equal(attester_pause_ms(n + 1), 0);
    assert_int_equal(attester_pause_ms(UINT32_MAX), 0);
}

static void an_error_that_is_not_the_tpms_ends_it(void **state)
{
    (void)state;
    const struct attester none = {.tpm = NULL};
    assert_true(attester_tpm_is_to_blame(&none, err_set(ERR_IO, "no TPM")));
    assert_false(attester_tpm_is_to_blame(&none, err_set(ERR_UNTRUE, "other PCRs")));
    assert_false(attester_tpm_is_to_blame(&none, err_set(ERR_USAGE, "twice")));
    assert_false(attester_tpm_is_to_blame(&none, err_ok()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_grow_apart_and_end),
        cmocka_unit_test(an_error_that_is_not_the_tpms_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
