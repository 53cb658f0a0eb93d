#include "client/terminal.h"

#include "common/text.h"

/* The length of the UTF-8 character at the front, or 0 if there is none. */
static size_t character_len(struct bytes text)
{
    for (size_t n = 1; n <= 4 && n <= text.len; n++)
        if (utf8_valid(bytes_of(text.data, n)))
            return n;
    return 0;
}

static bool harmless(const uint8_t *p, size_t len)
{
    if (len == 1)
        return p[0] == '\n' || p[0] == '\t' || (p[0] >= 0x20 && p[0] != 0x7f);
    if (len == 2)
        return p[0] != 0xc2 || p[1] >= 0xa0; /* C1 */
    if (len != 3 || p[0] != 0xe2)
        return true;
    /* U+202A to U+202E and U+2066 to U+2069 reorder what is displayed. */
    return !(p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) &&
           !(p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

void terminal_clean(struct buf *out, struct bytes text)
{
    for (size_t i = 0; i < text.len;) {
        size_t n = character_len(bytes_of(text.data + i, text.len - i));
        if (n > 0 && harmless(text.data + i, n))
            buf_append(out, text.data + i, n);
        else
            buf_append_str(out, "\xef\xbf\xbd");
        i += n > 0 ? n : 1;
    }
}
