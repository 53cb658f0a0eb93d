#include "client/sse.h"

#include <string.h>

void sse_cleanup(struct sse *s)
{
    buf_cleanup_secret(&s->line);
}

/* Empty lines, comments and other fields mean nothing here. */
static struct err take_line(struct sse *s)
{
    struct reader r = reader_of(buf_bytes(&s->line));
    if (s->line.len > 0 && s->line.data[s->line.len - 1] == '\r')
        r.end--;
    if (!read_literal(&r, "data:"))
        return err_ok();
    struct reader spaced = r;
    if (read_literal(&spaced, " "))
        r = spaced;
    return s->event(s->context, read_bytes(&r, reader_left(&r)));
}

struct err sse_take(struct sse *s, struct bytes data)
{
    while (data.len > 0) {
        const uint8_t *newline = memchr(data.data, '\n', data.len);
        size_t n = newline != NULL ? (size_t)(newline - data.data) : data.len;
        if (s->line.len + n > SSE_LINE_MAX)
            return err_set(ERR_LIMIT, "a line of the stream is longer than %d bytes", SSE_LINE_MAX);
        buf_append(&s->line, data.data, n);
        if (newline == NULL)
            return err_ok();
        struct err e = take_line(s);
        buf_clear(&s->line);
        TRY(e);
        data = bytes_of(data.data + n + 1, data.len - n - 1);
    }
    return err_ok();
}
