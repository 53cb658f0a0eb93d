/*
 * Text lists: each line is turned back into the bytes that were hashed, so that the template hash
 * decides whether it was read right.
 */
#include "attest/ima_ascii.h"

#include <string.h>

#include "common/text.h"

enum { LEGACY_PATH_MAX = 255, ALG_MAX = 32 };

static struct err malformed(void)
{
    return err_set(ERR_MALFORMED,
                   "a line is '<pcr> <template hash> <template> <digest> <path>', as Linux "
                   "writes it");
}

/* Up to the next space, which is taken too; false without one. */
static bool read_word(struct bytes *out, struct bytes *rest)
{
    const uint8_t *space = rest->len > 0 ? memchr(rest->data, ' ', rest->len) : NULL;
    if (space == NULL)
        return false;
    *out = bytes_of(rest->data, (size_t)(space - rest->data));
    *rest = bytes_of(space + 1, rest->len - out->len - 1);
    return true;
}

/* What follows the last of `c`, and what is before it; false without one. */
static bool split_last(struct bytes *before, struct bytes *after, struct bytes text, uint8_t c)
{
    for (size_t i = text.len; i > 0; i--)
        if (text.data[i - 1] == c) {
            *before = bytes_of(text.data, i - 1);
            *after = bytes_of(text.data + i, text.len - i);
            return true;
        }
    return false;
}

static void append_u32le(struct buf *out, size_t v)
{
    for (unsigned i = 0; i < 4; i++)
        buf_append_u8(out, (uint8_t)(v >> 8 * i));
}

static struct err append_hex(struct buf *out, struct bytes hex)
{
    BUF_AUTO bytes = BUF_INIT;
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        uint8_t byte;
        TRY(hex_decode(&byte, 1, bytes_of(hex.data + i, 2)));
        buf_append_u8(&bytes, byte);
    }
    if (hex.len % 2 != 0)
        return malformed();
    buf_append_bytes(out, buf_bytes(&bytes));
    return err_ok();
}

/* "<algorithm>:<hex>" as the field "<algorithm>:", NUL, digest. */
static struct err append_digest(struct buf *out, struct bytes word)
{
    struct bytes alg, hex;
    if (!split_last(&alg, &hex, word, ':') || alg.len == 0 || alg.len > ALG_MAX || hex.len == 0 ||
        hex.len > 2 * PCR_DIGEST_MAX)
        return malformed();
    append_u32le(out, alg.len + 2 + hex.len / 2);
    buf_append_bytes(out, alg);
    buf_append(out, ":", 2); /* with the NUL */
    return append_hex(out, hex);
}

static void append_path(struct buf *out, struct bytes path)
{
    append_u32le(out, path.len + 1);
    buf_append_bytes(out, path);
    buf_append_u8(out, 0);
}

/* The data of ima-ng and its kin. A path may hold spaces; what follows it holds none, and stands
 * behind a space even where it is empty. */
static struct err rebuild(struct buf *out, bool extra, struct bytes rest)
{
    struct bytes digest, path, hex = {0};
    if (!read_word(&digest, &rest))
        return malformed();
    path = rest;
    if (extra && !split_last(&path, &hex, rest, ' '))
        return malformed();
    TRY(append_digest(out, digest));
    append_path(out, path);
    if (extra) {
        append_u32le(out, hex.len / 2);
        TRY(append_hex(out, hex));
    }
    return err_ok();
}

/* The template `ima`: "<hex SHA-1> <path>". */
static struct err rebuild_legacy(struct ima_list *list, struct ima_entry *e, struct bytes rest)
{
    struct bytes hex;
    uint8_t digest[IMA_SHA1_LEN];
    if (!read_word(&hex, &rest) || rest.len > LEGACY_PATH_MAX)
        return malformed();
    TRY(hex_decode(digest, sizeof digest, hex));
    ima_legacy_data(list, e, bytes_of(digest, sizeof digest), rest);
    return err_ok();
}

static struct err read_fields(struct ima_list *list, struct ima_entry *e, struct bytes rest)
{
    if (strcmp(e->template_name, "ima") == 0)
        return rebuild_legacy(list, e, rest);
    bool extra = ima_template_has_extra(e->template_name);
    if (!extra && !ima_template_has_two(e->template_name))
        return err_set(ERR_UNSUPPORTED,
                       "the text form of template '%s' does not show all that was hashed; take "
                       "the binary list",
                       e->template_name);
    buf_clear(&list->data);
    TRY(rebuild(&list->data, extra, rest));
    e->measured = buf_bytes(&list->data);
    return ima_fields_read(e);
}

struct err ima_ascii_read(struct ima_list *list, struct ima_entry *e, uint64_t *pcr)
{
    struct bytes rest = read_line(&list->r), word;
    if (list->r.failed)
        return err_set(ERR_MALFORMED, "truncated: the line does not end in a newline");
    if (rest.len > IMA_ENTRY_MAX)
        return err_set(ERR_LIMIT, "a line of %zu bytes, over %d", rest.len, IMA_ENTRY_MAX);
    if (memchr(rest.data, '\0', rest.len) != NULL || !read_word(&word, &rest))
        return malformed();
    TRY(decimal_decode(pcr, word, UINT32_MAX));
    if (!read_word(&word, &rest))
        return malformed();
    TRY(hex_decode(e->template_hash, IMA_SHA1_LEN, word));
    if (!read_word(&word, &rest))
        return malformed();
    TRY(ima_name_set(e, word));
    return read_fields(list, e, rest);
}
