#include "server/queue_file.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

static const char first_line[] = "blindllama-queue/v1";

static void append_line(struct buf *out, const char *word, uint64_t number, const uint8_t *sha256)
{
    buf_printf(out, "%s %llu ", word, (unsigned long long)number);
    buf_append_hex(out, bytes_of(sha256, SHA256_LEN));
    buf_append_str(out, "\n");
}

void queue_file_format(struct buf *out, const struct queue_file *q)
{
    buf_printf(out, "%s\nlog %s\n", first_line, q->vkey);
    for (size_t i = 0; i < q->n_logged; i++)
        append_line(out, "logged", q->logged[i].index, q->logged[i].sha256);
    for (size_t i = 0; i < q->n_waiting; i++)
        append_line(out, "waiting", q->waiting[i].since_s, q->waiting[i].sha256);
}

/* "<number> <hash>" */
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
    return hex_decode(sha256, SHA256_LEN, read_bytes(line, reader_left(line)));
}

static struct err parse_line(struct queue_file *q, struct bytes text)
{
    struct reader r = reader_of(text), again = r;
    if (read_literal(&r, "logged ")) {
        struct queue_logged *l = &q->logged[q->n_logged];
        if (q->n_logged == QUEUE_LOGGED_MAX || q->n_waiting > 0)
            return err_set(ERR_MALFORMED, "a line too many, or out of order");
        q->n_logged++;
        return parse_entry(&l->index, l->sha256, &r);
    }
    if (!read_literal(&again, "waiting "))
        return err_set(ERR_MALFORMED, "neither 'logged' nor 'waiting'");
    if (q->n_waiting == QUEUE_WAITING_MAX)
        return err_set(ERR_LIMIT, "more than %d statements wait", QUEUE_WAITING_MAX);
    struct queue_waiting *w = &q->waiting[q->n_waiting++];
    return parse_entry(&w->since_s, w->sha256, &again);
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
