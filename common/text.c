#include "common/text.h"

#include <string.h>

#include <openssl/evp.h>

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

struct err hex_decode(uint8_t *out, size_t len, struct bytes text)
{
    if (text.len != len * 2)
        return err_set(ERR_MALFORMED, "hex of %zu digits where %zu are needed", text.len, len * 2);
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.data[i]) < 0)
            return err_set(ERR_MALFORMED, "not lower-case hex at character %zu", i + 1);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(hex_digit(text.data[2 * i]) << 4 | hex_digit(text.data[2 * i + 1]));
    return err_ok();
}

/* The value of a base64 character, or -1. */
static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The number of decoded bytes of a canonical text, or ERR_MALFORMED. */
static struct err base64_length(size_t *len, struct bytes text)
{
    if (text.len % 4 != 0)
        return err_set(ERR_MALFORMED, "base64 of %zu characters, not a multiple of 4", text.len);
    size_t padding = 0;
    if (text.len > 0 && text.data[text.len - 1] == '=')
        padding = text.data[text.len - 2] == '=' ? 2 : 1;
    for (size_t i = 0; i < text.len - padding; i++)
        if (base64_digit(text.data[i]) < 0)
            return err_set(ERR_MALFORMED, "not base64 at character %zu", i + 1);
    if (padding > 0) {
        int last = base64_digit(text.data[text.len - padding - 1]);
        if ((last & (padding == 2 ? 15 : 3)) != 0)
            return err_set(ERR_MALFORMED, "base64 with unused bits that are not zero");
    }
    *len = text.len / 4 * 3 - padding;
    return err_ok();
}

static void base64_write(uint8_t *out, struct bytes text)
{
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < text.len && text.data[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)base64_digit(text.data[i]);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            *out++ = (uint8_t)(bits >> n_bits);
        }
    }
}

struct err base64_decode(struct buf *out, struct bytes text, size_t max)
{
    size_t len = 0;
    TRY(base64_length(&len, text));
    if (len > max)
        return err_set(ERR_LIMIT, "base64 of %zu bytes where at most %zu are allowed", len, max);
    size_t at = out->len;
    static const uint8_t zeros[64];
    for (size_t left = len; left > 0;) {
        size_t n = left < sizeof zeros ? left : sizeof zeros;
        buf_append(out, zeros, n);
        left -= n;
    }
    if (len > 0)
        base64_write(out->data + at, text);
    return err_ok();
}

struct err base64_decode_exact(uint8_t *out, size_t len, struct bytes text)
{
    size_t actual = 0;
    TRY(base64_length(&actual, text));
    if (actual != len)
        return err_set(ERR_MALFORMED, "base64 of %zu bytes where %zu are needed", actual, len);
    base64_write(out, text);
    return err_ok();
}

/* Where a parser would find an error and stop, what follows is counted all the same. */
size_t json_values_bound(struct bytes json)
{
    size_t n = 1;
    bool in_string = false;
    for (size_t i = 0; i < json.len; i++) {
        uint8_t c = json.data[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\')
            i++; /* what it escapes ends no string */
        else if (!in_string)
            n += c == ',' || c == '[' || c == '{';
    }
    return n;
}

struct err decimal_decode(uint64_t *out, struct bytes text, uint64_t max)
{
    if (text.len == 0 || (text.len > 1 && text.data[0] == '0'))
        return err_set(ERR_MALFORMED, "not a decimal number without leading zeros");
    uint64_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return err_set(ERR_MALFORMED, "not a decimal number");
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return err_set(ERR_LIMIT, "a number over 64 bits");
        v = v * 10 + digit;
    }
    if (v > max)
        return err_set(ERR_LIMIT, "%llu where at most %llu is allowed", (unsigned long long)v,
                       (unsigned long long)max);
    *out = v;
    return err_ok();
}

/* The length of the UTF-8 sequence at p (left > 0), or 0 if it is not valid. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                 : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool utf8_valid(struct bytes text)
{
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_sequence(text.data + i, text.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

const char *printable(char out[84], struct bytes text)
{
    size_t n = text.len < 80 ? text.len : 80;
    for (size_t i = 0; i < n; i++)
        out[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    strcpy(out + n, n < text.len ? "..." : "");
    return out;
}
