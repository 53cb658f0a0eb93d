/* What a model or a host writes cannot drive or deceive a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/terminal.h"

#define R "\xef\xbf\xbd"

static void assert_clean(const char *text, const char *wanted)
{
    BUF_AUTO out = BUF_INIT;
    terminal_clean(&out, bytes_of_str(text));
    assert_string_equal(buf_str(&out), wanted);
}

static void text_stays_as_it_is(void **state)
{
    (void)state;
    assert_clean("", "");
    assert_clean("plain\n\ttext ~", "plain\n\ttext ~");
    assert_clean("\xc3\xa9 \xe2\x82\xac \xf0\x9f\xa6\x99 \xc2\xa0",
                 "\xc3\xa9 \xe2\x82\xac \xf0\x9f\xa6\x99 \xc2\xa0");
}

static void controls_are_replaced(void **state)
{
    (void)state;
    assert_clean("\x1b[31mred\x07\r\x7f", R "[31mred" R R R);
    assert_clean("\xc2\x9b"
                 "2J",
                 R "2J");
    assert_clean("a\xe2\x80\xae"
                 "b\xe2\x81\xa6"
                 "c",
                 "a" R "b" R "c");
    assert_clean("\xe2\x80\xa9\xe2\x80\xaf", "\xe2\x80\xa9\xe2\x80\xaf");
}

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
    (void)state;
    assert_clean("\xff\xc3(", R R "(");
    assert_clean("\xe2\x82", R R);
    assert_clean("\xc0\x9b", R R); /* an overlong ESC is no ESC, and no text */
    assert_clean("\xed\xa0\x80", R R R);
    BUF_AUTO out = BUF_INIT;
    terminal_clean(&out, bytes_of("a\0b", 3));
    assert_string_equal(buf_str(&out), "a" R "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_stays_as_it_is),
        cmocka_unit_test(controls_are_replaced),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
