#include "attest/key_lines.h"

#include <string.h>

#include "common/text.h"
#include "transparency/note.h"

struct key_lines key_lines_of(struct bytes text)
{
    return (struct key_lines){.r = reader_of(text)};
}

struct err line_context(const struct key_lines *l, struct err e)
{
    if (e.code == ERR_LIMIT)
        e.code = ERR_MALFORMED;
    return is_err(e) ? err_context(e, "line %zu", l->line) : e;
}

static struct err next_line(struct key_lines *l, struct bytes *line, const char *wanted)
{
    bool at_end = lines_at_end(l);
    l->line++;
    *line = read_line(&l->r);
    if (!l->r.failed)
        return err_ok();
    if (at_end)
        return err_set(ERR_MALFORMED, "line %zu: the text ends where '%s' is expected", l->line,
                       wanted);
    return err_set(ERR_MALFORMED, "line %zu: the line does not end in a newline", l->line);
}

struct err line_literal(struct key_lines *l, const char *literal, enum err_code code)
{
    struct bytes line;
    TRY(next_line(l, &line, literal));
    char shown[84];
    if (!bytes_equal(line, bytes_of_str(literal)))
        return err_set(code, "line %zu: '%s' where '%s' is expected", l->line,
                       printable(shown, line), literal);
    return err_ok();
}

/* The value behind `key` and a space, if `line` begins so. */
static bool split_key(struct bytes *value, struct bytes line, const char *key)
{
    struct reader r = reader_of(line);
    if (!read_literal(&r, key) || !read_literal(&r, " "))
        return false;
    *value = read_bytes(&r, reader_left(&r));
    return true;
}

struct err line_value(struct key_lines *l, struct bytes *value, const char *key)
{
    struct bytes line;
    TRY(next_line(l, &line, key));
    char shown[84];
    if (!split_key(value, line, key))
        return err_set(ERR_MALFORMED, "line %zu: '%s' where '%s' and a value are expected", l->line,
                       printable(shown, line), key);
    return err_ok();
}

bool line_is_next(const struct key_lines *l, const char *key)
{
    struct reader peek = l->r;
    return read_literal(&peek, key) && read_literal(&peek, " ");
}

bool lines_at_end(const struct key_lines *l)
{
    return reader_done(&l->r);
}

struct err lines_done(const struct key_lines *l)
{
    if (lines_at_end(l))
        return err_ok();
    return err_set(ERR_MALFORMED, "line %zu: there is more text than the format has lines",
                   l->line + 1);
}

struct err line_hex(struct key_lines *l, uint8_t *out, size_t len, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    return line_context(l, hex_decode(out, len, value));
}

struct err line_decimal(struct key_lines *l, uint64_t *out, uint64_t max, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    return line_context(l, decimal_decode(out, value, max));
}

struct err line_base64(struct key_lines *l, uint8_t *out, size_t *len, size_t max, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    BUF_AUTO decoded = BUF_INIT;
    TRY(line_context(l, base64_decode(&decoded, value, max)));
    if (decoded.len == 0)
        return err_set(ERR_MALFORMED, "line %zu: '%s' is empty", l->line, key);
    memcpy(out, decoded.data, decoded.len);
    *len = decoded.len;
    return err_ok();
}

struct err line_tpm_name(struct key_lines *l, struct tpm_name *out, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    struct tpm_name name = {.len = value.len / 2};
    if (name.len < 2 || name.len > TPM_NAME_MAX)
        return err_set(ERR_MALFORMED, "line %zu: a TPM name of %zu hex digits", l->line, value.len);
    TRY(line_context(l, hex_decode(name.bytes, name.len, value)));
    struct reader r = reader_of(bytes_of(name.bytes, name.len));
    const EVP_MD *md = tpm_hash(read_u16be(&r));
    if (md == NULL || reader_left(&r) != (size_t)EVP_MD_get_size(md))
        return err_set(
            ERR_MALFORMED,
            "line %zu: not a TPM name: it is 000b, 000c or 000d and a digest of that hash",
            l->line);
    *out = name;
    return err_ok();
}

struct err line_note_name(struct key_lines *l, char *out, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    if (value.len > NOTE_NAME_MAX || !note_name_valid(value))
        return err_set(ERR_MALFORMED, "line %zu: '%s' is not a log's name", l->line, key);
    memcpy(out, value.data, value.len);
    memset(out + value.len, 0, NOTE_NAME_MAX + 1 - value.len);
    return err_ok();
}

struct err line_pair(struct key_lines *l, struct bytes *first, struct bytes *rest, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    const uint8_t *space = value.len > 0 ? memchr(value.data, ' ', value.len) : NULL;
    if (space == NULL)
        return err_set(ERR_MALFORMED, "line %zu: '%s' has two values", l->line, key);
    size_t at = (size_t)(space - value.data);
    *first = bytes_of(value.data, at);
    *rest = bytes_of(space + 1, value.len - at - 1);
    return err_ok();
}

bool plain_name_valid(struct bytes name)
{
    if (name.len == 0 || name.len > 255 || !utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        /* C1 controls are c2 80 to c2 9f. */
        bool c1 = name.data[i] == 0xc2 && name.data[i + 1] < 0xa0;
        if (name.data[i] < 0x20 || name.data[i] == 0x7f || c1)
            return false;
    }
    return true;
}
