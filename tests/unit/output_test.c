/* Stop strings never show, not even in part, wherever the text is split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/output.h"

/* Feeds `text` in pieces of the given length. Returns whether a stop string ended it; what was
 * shown is in `shown`. */
static bool feed(const char *const *stops, size_t n_stops, const char *text, size_t piece,
                 struct buf *shown)
{
    struct output o;
    bool stopped = false;
    assert_false(is_err(output_init(&o, stops, n_stops)));
    for (size_t at = 0; at < strlen(text) && !stopped; at += piece) {
        size_t len = strlen(text) - at < piece ? strlen(text) - at : piece;
        stopped = output_push(&o, bytes_of(text + at, len), shown);
    }
    if (!stopped)
        output_finish(&o, shown);
    output_cleanup(&o);
    return stopped;
}

static void assert_shown(const char *const *stops, size_t n_stops, const char *text,
                         const char *want, bool want_stopped)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        BUF_AUTO shown = BUF_INIT;
        assert_int_equal(feed(stops, n_stops, text, piece, &shown), want_stopped);
        assert_string_equal(buf_str(&shown), want);
    }
}

static void stops_before_the_string_wherever_it_is_split(void **state)
{
    (void)state;
    const char *one[] = {"STOP"};
    assert_shown(one, 1, "one two STOP three", "one two ", true);
    assert_shown(one, 1, "STOP", "", true);
    assert_shown(one, 1, "SSTSTOSTOP", "SSTSTO", true);
    assert_shown(one, 1, "STO", "STO", false);
    assert_shown(one, 1, "STO STO", "STO STO", false);
    const char *overlapping[] = {"aab"};
    assert_shown(overlapping, 1, "aaaab!", "aa", true);
}

static void the_first_to_be_complete_wins_then_the_longest(void **state)
{
    (void)state;
    const char *stops[] = {"bcd", "ab", "xab", "\n\n"};
    assert_shown(stops, 4, "1abcd", "1", true);
    assert_shown(stops, 4, "1xabcd", "1", true);
    assert_shown(stops, 4, "1bcd", "1", true);
    assert_shown(stops, 4, "line\n\nmore", "line", true);
    assert_shown(stops, 4, "line\nmore a b", "line\nmore a b", false);
}

static void holds_back_only_what_may_become_a_stop_string(void **state)
{
    (void)state;
    const char *stops[] = {"</end>"};
    struct output o;
    BUF_AUTO shown = BUF_INIT;
    assert_false(is_err(output_init(&o, stops, 1)));
    assert_false(output_push(&o, bytes_of_str("abc</e"), &shown));
    assert_string_equal(buf_str(&shown), "abc");
    assert_false(output_push(&o, bytes_of_str("x"), &shown));
    assert_string_equal(buf_str(&shown), "abc</ex");
    assert_false(output_push(&o, bytes_of_str(" </end"), &shown));
    assert_string_equal(buf_str(&shown), "abc</ex ");
    assert_true(output_push(&o, bytes_of_str("> tail"), &shown));
    assert_string_equal(buf_str(&shown), "abc</ex ");
    output_cleanup(&o);
}

static void without_stop_strings_everything_shows_at_once(void **state)
{
    (void)state;
    assert_shown(NULL, 0, "plain text", "plain text", false);
}

static void refuses_stop_strings_that_make_no_sense(void **state)
{
    (void)state;
    struct output o;
    char longest[258];
    memset(longest, 'a', 257);
    longest[257] = 0;
    const char *empty[] = {"ok", ""}, *too_long[] = {longest}, *not_text[] = {"\xff"};
    const char *many[17];
    for (size_t i = 0; i < 17; i++)
        many[i] = "x";
    assert_int_equal(output_init(&o, empty, 2).code, ERR_USAGE);
    assert_int_equal(output_init(&o, too_long, 1).code, ERR_USAGE);
    assert_int_equal(output_init(&o, not_text, 1).code, ERR_USAGE);
    assert_int_equal(output_init(&o, many, 17).code, ERR_USAGE);
    longest[256] = 0;
    assert_false(is_err(output_init(&o, too_long, 1)));
    output_cleanup(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_before_the_string_wherever_it_is_split),
        cmocka_unit_test(the_first_to_be_complete_wins_then_the_longest),
        cmocka_unit_test(holds_back_only_what_may_become_a_stop_string),
        cmocka_unit_test(without_stop_strings_everything_shows_at_once),
        cmocka_unit_test(refuses_stop_strings_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
