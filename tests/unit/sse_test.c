/* Server-sent events come whole, however the stream was cut, and within a bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/sse.h"

static struct err note_event(void *context, struct bytes data)
{
    struct buf *seen = context;
    buf_append_str(seen, "<");
    buf_append_bytes(seen, data);
    buf_append_str(seen, ">");
    return data.len == 4 && memcmp(data.data, "stop", 4) == 0 ? err_set(ERR_USAGE, "stop")
                                                              : err_ok();
}

static const char stream[] = "data: one\n\n"
                             ": a comment\n"
                             "event: x\n"
                             "data:two\r\n\r\n"
                             "data:  three \n\n"
                             "data:\n"
                             "datax: no\n"
                             "data: [DONE]\n\n"
                             "data: unfinished";

static void events_do_not_depend_on_where_the_stream_is_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step < sizeof stream; step++) {
        BUF_AUTO seen = BUF_INIT;
        struct sse s = SSE_INIT(note_event, &seen);
        for (size_t i = 0; i < sizeof stream - 1; i += step) {
            size_t n = sizeof stream - 1 - i < step ? sizeof stream - 1 - i : step;
            assert_false(is_err(sse_take(&s, bytes_of(stream + i, n))));
        }
        assert_string_equal(buf_str(&seen), "<one><two>< three ><><[DONE]>");
        sse_cleanup(&s);
    }
}

static void an_events_error_ends_the_stream(void **state)
{
    (void)state;
    BUF_AUTO seen = BUF_INIT;
    struct sse s = SSE_INIT(note_event, &seen);
    assert_int_equal(sse_take(&s, bytes_of_str("data: stop\ndata: more\n")).code, ERR_USAGE);
    assert_string_equal(buf_str(&seen), "<stop>");
    sse_cleanup(&s);
}

static void a_line_without_end_is_refused(void **state)
{
    (void)state;
    BUF_AUTO seen = BUF_INIT;
    struct sse s = SSE_INIT(note_event, &seen);
    uint8_t *piece = malloc(65536);
    memset(piece, 'x', 65536);
    for (size_t i = 0; i < SSE_LINE_MAX / 65536; i++)
        assert_false(is_err(sse_take(&s, bytes_of(piece, 65536))));
    assert_int_equal(sse_take(&s, bytes_of(piece, 1)).code, ERR_LIMIT);
    free(piece);
    sse_cleanup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_do_not_depend_on_where_the_stream_is_cut),
        cmocka_unit_test(an_events_error_ends_the_stream),
        cmocka_unit_test(a_line_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
