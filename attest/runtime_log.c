#include "attest/runtime_log.h"

#include <stdlib.h>
#include <string.h>

#include "attest/key_lines.h"
#include "common/text.h"

static const char header[] = "blindllama-runtime-log/v1";

enum { HEADER_LEN = sizeof header }; /* its newline in place of the NUL */

void runtime_log_cleanup(struct runtime_log *log)
{
    for (size_t i = 0; i < log->n_records; i++)
        buf_cleanup(&log->memory[i]);
    free(log->memory);
    free(log->records);
    *log = RUNTIME_LOG_INIT;
}

void runtime_log_format_header(struct buf *out)
{
    buf_printf(out, "%s\n", header);
}

void runtime_log_format_record(struct buf *out, unsigned pcr, const char *kind, struct bytes data)
{
    buf_printf(out, "%u %s ", pcr, kind);
    if (data.len > 0)
        buf_append_base64(out, data);
    else
        buf_append_str(out, "-");
    buf_append_str(out, "\n");
}

/* Lower-case letters, digits and '-': all kinds of section 1 are such words. */
static bool kind_valid(struct bytes kind)
{
    if (kind.len == 0 || kind.len > RUNTIME_KIND_MAX)
        return false;
    for (size_t i = 0; i < kind.len; i++) {
        uint8_t c = kind.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

static struct err grow(struct runtime_log *log)
{
    struct runtime_record *records = realloc(log->records, (log->n_records + 1) * sizeof *records);
    if (records == NULL)
        return err_set(ERR_MEMORY, "out of memory for the runtime log");
    log->records = records;
    struct buf *memory = realloc(log->memory, (log->n_records + 1) * sizeof *memory);
    if (memory == NULL)
        return err_set(ERR_MEMORY, "out of memory for the runtime log");
    log->memory = memory;
    return err_ok();
}

static size_t record_text_len(size_t kind_len, size_t data_len)
{
    size_t coded = data_len == 0 ? 1 : (data_len + 2) / 3 * 4;
    return 2 + 1 + kind_len + 1 + coded + 1;
}

struct err runtime_log_append(struct runtime_log *log, unsigned pcr, const char *kind,
                              struct bytes data)
{
    char shown[84];
    struct bytes kind_bytes = bytes_of_str(kind);
    if (pcr < PCR_MODEL || pcr > PCR_IDENTITY)
        return err_set(ERR_USAGE, "runtime log: PCR %u, not 13, 14 or 15", pcr);
    if (!kind_valid(kind_bytes))
        return err_set(ERR_USAGE, "runtime log: '%s' is not a kind: 1 to %d of a-z, 0-9 and -",
                       printable(shown, kind_bytes), RUNTIME_KIND_MAX);
    if (data.len > RUNTIME_DATA_MAX)
        return err_set(ERR_USAGE, "runtime log: %zu bytes of data, over %d", data.len,
                       RUNTIME_DATA_MAX);
    size_t text_len = record_text_len(kind_bytes.len, data.len);
    if (log->n_records == RUNTIME_RECORDS_MAX)
        return err_set(ERR_LIMIT, "runtime log: over %d records", RUNTIME_RECORDS_MAX);
    if (HEADER_LEN + log->text_len + text_len > RUNTIME_LOG_MAX)
        return err_set(ERR_LIMIT, "runtime log: over %d bytes", RUNTIME_LOG_MAX);
    TRY(grow(log));
    struct buf *memory = &log->memory[log->n_records];
    *memory = BUF_INIT;
    buf_append_bytes(memory, data);
    struct runtime_record *record = &log->records[log->n_records];
    *record = (struct runtime_record){.pcr = pcr, .data = buf_bytes(memory)};
    memcpy(record->kind, kind, kind_bytes.len);
    log->n_records++;
    log->text_len += text_len;
    return err_ok();
}

/* "<pcr> <kind> <base64 of data>" */
static struct err parse_record(struct runtime_log *log, struct bytes line)
{
    struct reader r = reader_of(line);
    unsigned pcr = read_u8(&r) == '1' ? 10u + read_u8(&r) - '0' : 0;
    if (!read_literal(&r, " ") || pcr < PCR_MODEL || pcr > PCR_IDENTITY)
        return err_set(ERR_MALFORMED, "a record begins with PCR 13, 14 or 15 and a space");
    struct bytes rest = bytes_of(r.at, reader_left(&r));
    const uint8_t *space = rest.len > 0 ? memchr(rest.data, ' ', rest.len) : NULL;
    if (space == NULL)
        return err_set(ERR_MALFORMED, "a record is '<pcr> <kind> <base64>'");
    struct bytes kind = bytes_of(rest.data, (size_t)(space - rest.data));
    struct bytes coded = bytes_of(space + 1, rest.len - kind.len - 1);
    if (!kind_valid(kind) || coded.len == 0)
        return err_set(ERR_MALFORMED, "a record is '<pcr> <kind> <base64>'");
    BUF_AUTO data = BUF_INIT;
    if (!bytes_equal(coded, bytes_of_str("-")))
        TRY(base64_decode(&data, coded, RUNTIME_DATA_MAX));
    char name[RUNTIME_KIND_MAX + 1] = {0};
    memcpy(name, kind.data, kind.len);
    return runtime_log_append(log, pcr, name, buf_bytes(&data));
}

static struct err parse(struct runtime_log *log, struct bytes text)
{
    struct key_lines l = key_lines_of(text);
    TRY(line_literal(&l, header, ERR_MALFORMED));
    while (!lines_at_end(&l)) {
        struct bytes line = read_line(&l.r);
        l.line++;
        if (l.r.failed)
            return err_set(ERR_MALFORMED, "line %zu: the line does not end in a newline", l.line);
        struct err e = parse_record(log, line);
        if (is_err(e))
            return err_context(e, "line %zu", l.line);
    }
    return err_ok();
}

struct err runtime_log_parse(struct runtime_log *out, struct bytes text)
{
    if (text.len > RUNTIME_LOG_MAX)
        return err_set(ERR_LIMIT, "a runtime log of %zu bytes, over %d", text.len, RUNTIME_LOG_MAX);
    struct runtime_log log = RUNTIME_LOG_INIT;
    struct err e = parse(&log, text);
    if (is_err(e)) {
        runtime_log_cleanup(&log);
        return err_context(e, "runtime log");
    }
    *out = log;
    return err_ok();
}

void runtime_event_digest(uint8_t *out, const EVP_MD *md, const char *kind, struct bytes data)
{
    BUF_AUTO text = BUF_INIT;
    size_t kind_len = strlen(kind);
    buf_append_str(&text, "blindllama-event/v1\n");
    buf_append_u32be(&text, (uint32_t)kind_len);
    buf_append(&text, kind, kind_len);
    buf_append_u32be(&text, (uint32_t)data.len);
    buf_append_bytes(&text, data);
    unsigned len = 0;
    if (EVP_Digest(text.data, text.len, out, &len, md, NULL) != 1)
        abort(); /* as common/hash.h: a hash that cannot be computed ends the process */
}

void runtime_log_replay(uint8_t out[3][SHA256_LEN], const struct runtime_log *log, size_t n)
{
    memset(out, 0, 3 * SHA256_LEN);
    for (size_t i = 0; i < n && i < log->n_records; i++) {
        const struct runtime_record *record = &log->records[i];
        uint8_t digest[SHA256_LEN], *pcr = out[record->pcr - PCR_MODEL];
        runtime_event_digest(digest, EVP_sha256(), record->kind, record->data);
        sha256_3(pcr, bytes_of(pcr, SHA256_LEN), bytes_of(digest, SHA256_LEN), (struct bytes){0});
    }
}
