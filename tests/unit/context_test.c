/* The quote context has one form: golden text, and each line's flaws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "attest/context.h"
#include "tests/unit/golden_texts.h"

static void reads_and_writes_the_golden_texts(void **state)
{
    (void)state;
    const char *texts[] = {golden_periodic, golden_demand};
    for (size_t i = 0; i < 2; i++) {
        struct quote_context c;
        struct err e = context_parse(&c, bytes_of_str(texts[i]));
        if (is_err(e))
            fail_msg("%s", err_message());
        BUF_AUTO again = BUF_INIT;
        context_format(&again, &c);
        assert_string_equal(buf_str(&again), texts[i]);
    }
}

static void reads_every_field(void **state)
{
    (void)state;
    struct quote_context c;
    assert_false(is_err(context_parse(&c, bytes_of_str(golden_demand))));
    assert_int_equal(c.kind, QUOTE_DEMAND);
    assert_int_equal(c.ak_name.len, TPM_NAME_SHA256_LEN);
    assert_int_equal(c.boot_id[0], 0x0f);
    assert_string_equal(c.origin, "example.com/log");
    assert_true(c.head_size == 7 && c.has_previous && c.previous_index == 6);
    assert_int_equal(c.head_root.bytes[0], 0x33);
    assert_int_equal(c.head_note[0], 0x44);
    assert_int_equal(c.previous_leaf.bytes[31], 0x55);
    assert_int_equal(c.spki_sha256[0], 0x66);
    assert_true(c.n_nonces == 3 && c.nonce_root.bytes[0] == 0x77);
    assert_true(c.period == 4 && c.time_s == 1750000000);
    assert_false(is_err(context_parse(&c, bytes_of_str(golden_periodic))));
    assert_true(!c.has_previous && c.n_nonces == 0);
}

static void the_hash_is_of_the_whole_text(void **state)
{
    (void)state;
    uint8_t a[SHA256_LEN], b[SHA256_LEN];
    context_hash(a, bytes_of_str(golden_demand));
    sha256(b, bytes_of_str(golden_demand));
    assert_memory_equal(a, b, SHA256_LEN);
}

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    static const struct flaw flaws[] = {
        {"context/v1", "context/v2", "line 1"},
        {"kind demand", "kind Demand", "line 2"},
        {"kind demand", "kind periodic", "line 10"},
        {"kind demand", "kind stop", "line 10"},
        {"ak-name 000b", "ak-name 000c", "line 3"},
        {"boot-id 0f", "boot-id f", "line 4"},
        {"boot-id 0f", "boot-id 0F", "line 4"},
        {"origin example", "origin +example", "line 5"},
        {"origin example.com/log", "origin ", "line 5"},
        {"head 7 ", "head 07 ", "line 6"},
        {"head 7 ", "head 7  ", "line 6"},
        {"head 7 ", "head 4611686018427387905 ", "line 6"},
        {"head-note", "note", "line 7"},
        {"previous 6 5555", "previous 6 none", "line 8"},
        {"previous 6", "previous -6", "line 8"},
        {"previous 6 ", "previous none ", "line 8"},
        {"spki-sha256 66", "spki-sha256 6", "line 9"},
        {"nonces 3 ", "nonces 0 ", "line 10"},
        {"nonces 3 ", "nonces 16385 ", "line 10"},
        {"period 4", "period +4", "line 11"},
        {"time 1750000000", "time 18446744073709551616", "line 12"},
        {"time 1750000000\n", "time 1750000000", "line 12"},
        {"time 1750000000\n", "time 1750000000\nmore 1\n", "line 13"},
        {"period", "time 1\nperiod", "line 11"},
        {"kind demand\n", "kind demand\r\n", "line 2"},
        {"kind demand\n", "", "line 2"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        BUF_AUTO text = BUF_INIT;
        replace_once(&text, golden_demand, &flaws[i]);
        struct quote_context c;
        assert_int_equal(context_parse(&c, buf_bytes(&text)).code, ERR_MALFORMED);
        if (strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("'%s' does not say '%s'", err_message(), flaws[i].reason);
    }
}

static void refuses_every_truncation_and_oversize(void **state)
{
    (void)state;
    struct quote_context c = {.period = 99};
    for (size_t len = 0; len < strlen(golden_demand); len++)
        assert_int_equal(context_parse(&c, bytes_of(golden_demand, len)).code, ERR_MALFORMED);
    static const uint8_t large[CONTEXT_MAX + 1];
    assert_int_equal(context_parse(&c, bytes_of(large, sizeof large)).code, ERR_MALFORMED);
    assert_true(c.period == 99); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_the_golden_texts),
        cmocka_unit_test(reads_every_field),
        cmocka_unit_test(the_hash_is_of_the_whole_text),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(refuses_every_truncation_and_oversize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
