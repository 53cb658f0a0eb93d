#include "server/queue_file.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

static const char first_line[] = "blindllama-queue/v1";

static void append_entry(struct buf *out, const char *word, uint64_t number, const uint8_t *sha256)
{
    buf_printf(out, "%s %llu ", word, (unsigned long long)number);
    buf_append_hex(out, bytes_of(sha256, SHA256_LEN));
}

static void append_line(struct buf *out, const char *word, uint64_t number, const uint8_t *sha256)
{
    append_entry(out, word, number, sha256);
    buf_append_str(out, "\n");
}

void queue_file_format(struct buf *out, const struct queue_file *q)
{
    buf_printf(out, "%s\nlog %s\n", first_line, q->vkey);
    for (size_t i = 0; i < q->n_logged; i++)
        append_line(out, "logged", q->logged[i].index, q->logged[i].sha256);
    for (size_t i = 0; i < q->n_refused; i++) {
        append_entry(out, "refused", q->refused[i].since_s, q->refused[i].sha256);
        buf_printf(out, " %s\n", q->refused[i].reason);
    }
    for (size_t i = 0; i < q->n_waiting; i++)
        append_line(out, "waiting", q->waiting[i].since_s, q->waiting[i].sha256);
}

/* "<number> <hash>"; what is behind it is left. */
static struct err parse_entry(uint64_t *number, uint8_t sha256[SHA256_LEN], struct reader *line)
{
    const uint8_t *at = line->at;
    size_t len = reader_left(line), digits = 0;
    while (digits < len && at[digits] != ' ')
        digits++;
    struct bytes decimal = read_bytes(line, digits);
    if (!read_literal(line, " "))
        return err_set(ERR_MALFORMED, "no hash");
    TRY(decimal_decode(number, decimal, INT64_MAX));
    struct bytes hex = read_bytes(line, (size_t)2 * SHA256_LEN);
    return line->failed ? err_set(ERR_MALFORMED, "no hash") : hex_decode(sha256, SHA256_LEN, hex);
}

static struct err parse_end(const struct reader *line)
{
    return reader_left(line) == 0 ? err_ok() : err_set(ERR_MALFORMED, "more than a hash");
}

static struct err parse_logged(struct queue_file *q, struct reader *r)
{
    if (q->n_logged == QUEUE_LOGGED_MAX || q->n_refused > 0 || q->n_waiting > 0)
        return err_set(ERR_MALFORMED, "a line too many, or out of order");
    struct queue_logged *l = &q->logged[q->n_logged++];
    TRY(parse_entry(&l->index, l->sha256, r));
    return parse_end(r);
}

static struct err parse_reason(char out[QUEUE_REASON_MAX + 1], struct reader *r)
{
    if (!read_literal(r, " "))
        return err_set(ERR_MALFORMED, "no reason");
    struct bytes reason = read_bytes(r, reader_left(r));
    if (reason.len == 0 || reason.len > QUEUE_REASON_MAX)
        return err_set(ERR_MALFORMED, "the reason has 1 to %d bytes", QUEUE_REASON_MAX);
    for (size_t i = 0; i < reason.len; i++)
        if (reason.data[i] < 0x20 || reason.data[i] > 0x7e)
            return err_set(ERR_MALFORMED, "the reason is printable ASCII");
    memcpy(out, reason.data, reason.len);
    return err_ok();
}

static struct err parse_refused(struct queue_file *q, struct reader *r)
{
    if (q->n_refused == QUEUE_REFUSED_MAX || q->n_waiting > 0)
        return err_set(ERR_MALFORMED, "a line too many, or out of order");
    struct queue_refused *w = &q->refused[q->n_refused++];
    TRY(parse_entry(&w->since_s, w->sha256, r));
    return parse_reason(w->reason, r);
}

static struct err parse_waiting(struct queue_file *q, struct reader *r)
{
    if (q->n_waiting == QUEUE_WAITING_MAX)
        return err_set(ERR_LIMIT, "more than %d statements wait", QUEUE_WAITING_MAX);
    struct queue_waiting *w = &q->waiting[q->n_waiting++];
    TRY(parse_entry(&w->since_s, w->sha256, r));
    return parse_end(r);
}

static struct err parse_line(struct queue_file *q, struct bytes text)
{
    static const struct {
        const char *word;
        struct err (*parse)(struct queue_file *q, struct reader *r);
    } kinds[] = {
        {"logged ", parse_logged}, {"refused ", parse_refused}, {"waiting ", parse_waiting}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct reader r = reader_of(text);
        if (read_literal(&r, kinds[i].word))
            return kinds[i].parse(q, &r);
    }
    return err_set(ERR_MALFORMED, "none of 'logged', 'refused' and 'waiting'");
}

static struct err parse_head(struct queue_file *q, struct reader *r)
{
    if (!bytes_equal(read_line(r), bytes_of_str(first_line)))
        return err_set(ERR_MALFORMED, "line 1: not '%s'", first_line);
    if (!read_literal(r, "log "))
        return err_set(ERR_MALFORMED, "line 2: not the log's key");
    struct bytes vkey = read_line(r);
    if (r->failed || vkey.len == 0 || vkey.len >= sizeof q->vkey ||
        memchr(vkey.data, 0, vkey.len) != NULL)
        return err_set(ERR_MALFORMED, "line 2: not the log's key");
    memcpy(q->vkey, vkey.data, vkey.len);
    return err_ok();
}

struct err queue_file_parse(struct queue_file *out, struct bytes text)
{
    struct queue_file q = {0};
    struct reader r = reader_of(text);
    if (text.len > QUEUE_FILE_MAX)
        return err_set(ERR_LIMIT, "more than %d bytes", QUEUE_FILE_MAX);
    TRY(parse_head(&q, &r));
    for (size_t number = 3; reader_left(&r) > 0; number++) {
        struct bytes line = read_line(&r);
        if (r.failed)
            return err_set(ERR_MALFORMED, "line %zu: it does not end in a newline", number);
        TRY(err_context(parse_line(&q, line), "line %zu", number));
    }
    *out = q;
    return err_ok();
}
