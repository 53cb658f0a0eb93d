/* The codings are strict, the reader is bounded, errors keep their code and context. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/sign.h"
#include "common/text.h"

static void a_failed_reader_stays_failed(void **state)
{
    (void)state;
    const uint8_t data[] = {0, 5, 'a', 'b'};
    struct reader r = reader_of(bytes_of(data, sizeof data));
    struct bytes v = read_prefixed_u16be(&r);
    assert_true(r.failed);
    assert_int_equal(v.len, 0);
    assert_int_equal(read_u8(&r), 0);
    assert_false(reader_done(&r));
}

static void the_reader_reads_both_byte_orders(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 'x', '\n'};
    struct reader r = reader_of(bytes_of(data, sizeof data));
    assert_int_equal(read_u32be(&r), 0x01020304);
    assert_int_equal(read_u32le(&r), 0x04030201);
    assert_int_equal(read_u16le(&r), 0x0201);
    assert_true(bytes_equal(read_line(&r), bytes_of_str("x")));
    assert_true(reader_done(&r));
}

static void an_empty_view_reads_as_an_end(void **state)
{
    (void)state;
    struct reader r = reader_of((struct bytes){NULL, 0});
    assert_true(reader_done(&r));
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.failed);
}

static void base64_has_one_text_for_given_bytes(void **state)
{
    (void)state;
    const char *good[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="};
    const char *plain[] = {"", "f", "fo", "foo", "foob"}; /* RFC 4648 section 10 */
    for (size_t i = 0; i < 5; i++) {
        BUF_AUTO out = BUF_INIT;
        assert_false(is_err(base64_decode(&out, bytes_of_str(good[i]), 100)));
        assert_true(bytes_equal(buf_bytes(&out), bytes_of_str(plain[i])));
        BUF_AUTO back = BUF_INIT;
        buf_append_base64(&back, buf_bytes(&out));
        assert_string_equal(buf_str(&back), good[i]);
    }
    const char *bad[] = {"Zg", "Zh==", "Zm9=", "Z===", "Zg==Zg==", "Zg=\n", "=m9v", "Zm 9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        BUF_AUTO out = BUF_INIT;
        assert_int_equal(base64_decode(&out, bytes_of_str(bad[i]), 100).code, ERR_MALFORMED);
        assert_int_equal(out.len, 0);
    }
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(base64_decode(&out, bytes_of_str("Zm9v"), 2).code, ERR_LIMIT);
}

static void decimals_have_no_leading_zero_sign_or_overflow(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_false(is_err(decimal_decode(&v, bytes_of_str("18446744073709551615"), UINT64_MAX)));
    assert_true(v == UINT64_MAX);
    const char *bad[] = {"", "00", "01", "-1", "+1", " 1", "1 ", "18446744073709551616", "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(is_err(decimal_decode(&v, bytes_of_str(bad[i]), UINT64_MAX)));
    const char *large[] = {"18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) /* their size is at fault */
        assert_int_equal(decimal_decode(&v, bytes_of_str(large[i]), UINT64_MAX).code, ERR_LIMIT);
    assert_true(v == UINT64_MAX);
}

static void hex_is_lower_case_and_exact(void **state)
{
    (void)state;
    uint8_t out[2] = {9, 9};
    assert_true(is_err(hex_decode(out, 2, bytes_of_str("00FF"))));
    assert_true(is_err(hex_decode(out, 2, bytes_of_str("00f"))));
    assert_int_equal(out[0], 9);
    assert_false(is_err(hex_decode(out, 2, bytes_of_str("00ff"))));
    assert_int_equal(out[1], 255);
}

static void utf8_refuses_surrogates_and_long_forms(void **state)
{
    (void)state;
    assert_true(utf8_valid(bytes_of_str("gr\xc3\xbc\xc3\x9f \xf0\x9f\xa6\x99")));
    const char *bad[] = {"\xed\xa0\x80",     "\xc0\x80", "\xe0\x80\x80",
                         "\xf4\x90\x80\x80", "\xff",     "\xc3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(utf8_valid(bytes_of_str(bad[i])));
}

static void context_keeps_the_code_and_the_reason(void **state)
{
    (void)state;
    struct err e = err_context(err_set(ERR_UNTRUE, "inner %d", 7), "outer");
    assert_int_equal(e.code, ERR_UNTRUE);
    assert_string_equal(err_message(), "outer: inner 7");
}

static void files_are_written_whole_and_read_with_a_limit(void **state)
{
    (void)state;
    char dir[] = "/tmp/blindllama-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    BUF_AUTO path = BUF_INIT;
    path_join(&path, dir, "file");
    assert_false(is_err(file_write_durable(buf_str(&path), bytes_of_str("hello"), 0600)));
    BUF_AUTO back = BUF_INIT;
    assert_int_equal(file_read(&back, buf_str(&path), 4).code, ERR_LIMIT);
    assert_int_equal(back.len, 0);
    assert_false(is_err(file_read(&back, buf_str(&path), 5)));
    assert_string_equal(buf_str(&back), "hello");
    unlink(buf_str(&path));
    assert_int_equal(file_read(&back, buf_str(&path), 5).code, ERR_NOT_FOUND);
    rmdir(dir);
}

/* RFC 8032 section 7.1, test 2. */
static void ed25519_agrees_with_the_rfc(void **state)
{
    (void)state;
    uint8_t seed[32], want[32], got[32], signature[64];
    struct err e = hex_decode(
        seed, 32, bytes_of_str("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    assert_false(is_err(e));
    e = hex_decode(
        want, 32, bytes_of_str("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
    assert_false(is_err(e));
    ed25519_public(got, seed);
    assert_memory_equal(got, want, 32);
    ed25519_sign(signature, seed, bytes_of("\x72", 1));
    assert_int_equal(signature[0], 0x92);
    assert_int_equal(signature[63], 0x00);
    assert_false(is_err(ed25519_verify(want, signature, bytes_of("\x72", 1))));
    assert_int_equal(ed25519_verify(want, signature, bytes_of("\x73", 1)).code, ERR_UNTRUE);
    signature[10] ^= 1;
    assert_int_equal(ed25519_verify(want, signature, bytes_of("\x72", 1)).code, ERR_UNTRUE);
}

static void values_of_json_are_counted_outside_of_strings(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t at_least, at_most;
    } cases[] = {
        {"", 0, 1},
        {"1", 1, 1},
        {"[]", 1, 2},
        {"[[],[],[]]", 4, 7},
        {"{\"a\":[1,2,3],\"b\":{}}", 6, 8},
        {"[\",,,,[[[[\"]", 2, 2},
        {"[\"\\\",,,,\",1]", 3, 3}, /* an escaped quote ends nothing */
        {"[\"\\\\\",1,2]", 4, 4},   /* an escaped backslash escapes nothing */
        {"\"", 0, 1},
        {"\"\\", 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = json_values_bound(bytes_of_str(cases[i].json));
        if (n < cases[i].at_least || n > cases[i].at_most)
            fail_msg("%s: %zu", cases[i].json, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_reader_stays_failed),
        cmocka_unit_test(the_reader_reads_both_byte_orders),
        cmocka_unit_test(an_empty_view_reads_as_an_end),
        cmocka_unit_test(base64_has_one_text_for_given_bytes),
        cmocka_unit_test(decimals_have_no_leading_zero_sign_or_overflow),
        cmocka_unit_test(hex_is_lower_case_and_exact),
        cmocka_unit_test(utf8_refuses_surrogates_and_long_forms),
        cmocka_unit_test(values_of_json_are_counted_outside_of_strings),
        cmocka_unit_test(context_keeps_the_code_and_the_reason),
        cmocka_unit_test(files_are_written_whole_and_read_with_a_limit),
        cmocka_unit_test(ed25519_agrees_with_the_rfc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
