/*
 * Literals: strings with Python's escapes (neighbours are joined), integers and floats.
 */
#include "engine/jinja_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xHH, \uHHHH, \UHHHHHHHH: `n` digits behind text.data[*at]. */
static struct err unescape_hex(struct jinja_parser *p, struct buf *out, struct bytes text,
                               size_t *at, size_t n)
{
    uint32_t c = 0;
    for (size_t i = 1; i <= n; i++) {
        int digit = *at + i < text.len ? hex_value(text.data[*at + i]) : -1;
        if (digit < 0)
            return unexpected(p, "hex digits in an escape");
        c = c << 4 | (uint32_t)digit;
    }
    utf8proc_uint8_t bytes[4];
    if (!utf8proc_codepoint_valid((utf8proc_int32_t)c))
        return unexpected(p, "a character's code in an escape");
    buf_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
    *at += n + 1;
    return err_ok();
}

static void unescape_octal(struct buf *out, struct bytes text, size_t *at)
{
    uint32_t c = 0;
    for (size_t n = 0; n < 3 && *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '7';
         n++)
        c = c << 3 | (uint32_t)(text.data[(*at)++] - '0');
    utf8proc_uint8_t bytes[4];
    buf_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
}

/* text.data[*at] is the character behind a backslash. */
static struct err unescape_one(struct jinja_parser *p, struct buf *out, struct bytes text,
                               size_t *at)
{
    static const char from[] = "nrtabfv\\'\"", to[] = "\n\r\t\a\b\f\v\\'\"";
    uint8_t c = text.data[*at];
    const char *simple = c != 0 ? strchr(from, c) : NULL;
    if (simple != NULL) {
        buf_append_u8(out, (uint8_t)to[simple - from]);
        (*at)++;
    } else if (c == '\n') {
        (*at)++;
    } else if (c >= '0' && c <= '7') {
        unescape_octal(out, text, at);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        return unescape_hex(p, out, text, at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c == 'N') {
        return unsupported(p, "escape", bytes_of(text.data + *at, 1));
    } else {
        buf_append_u8(out, '\\'); /* as Python: an unknown escape stays as it is */
    }
    return err_ok();
}

static struct err unescape(struct jinja_parser *p, struct buf *out, struct bytes quoted)
{
    struct bytes text = bytes_of(quoted.data + 1, quoted.len - 2);
    for (size_t i = 0; i < text.len;) {
        if (text.data[i] != '\\') {
            buf_append_u8(out, text.data[i++]);
            continue;
        }
        i++;
        TRY(unescape_one(p, out, text, &i));
    }
    return err_ok();
}

static struct err parse_strings(struct jinja_parser *p, struct jinja_node *node)
{
    BUF_AUTO text = BUF_INIT;
    for (; p->at->kind == TOKEN_STRING; p->at++)
        TRY(unescape(p, &text, p->at->text));
    char *data = NULL;
    TRY(jinja_alloc(p->arena, &data, text.len));
    if (text.len > 0)
        memcpy(data, text.data, text.len);
    return jinja_string_of(p->arena, &node->value, bytes_of(data, text.len), true);
}

static struct err parse_number(struct jinja_parser *p, struct jinja_node *node)
{
    char digits[64] = "";
    if (p->at->text.len >= sizeof digits)
        return unsupported(p, "number", p->at->text);
    memcpy(digits, p->at->text.data, p->at->text.len);
    errno = 0;
    if (p->at->kind == TOKEN_FLOAT)
        node->value = jinja_float(strtod(digits, NULL));
    else if (digits[0] == '0' && strspn(digits, "0") != strlen(digits))
        return unexpected(p, "a number without leading zeros");
    else
        node->value = jinja_int(strtoll(digits, NULL, 10));
    if (errno == ERANGE && p->at->kind == TOKEN_INTEGER)
        return unsupported(p, "number over 63 bits", p->at->text);
    p->at++;
    return err_ok();
}

struct err parse_literal(struct jinja_parser *p, struct jinja_node **out)
{
    TRY(parser_node(p, out, NODE_CONSTANT));
    return p->at->kind == TOKEN_STRING ? parse_strings(p, *out) : parse_number(p, *out);
}
