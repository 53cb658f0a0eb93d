/*
 * The decoder of a tokenizer.json: ByteLevel, or what undoes SentencePiece's marks and bytes. What
 * a token decodes to is settled at load; only the start of a text is treated when it is decoded.
 */
#include "engine/tokenizer_internal.h"

#include <string.h>

static bool is_type(const json_t *decoder, const char *type)
{
    return json_is(json_object_get(decoder, "type"), type);
}

static bool is_space_replace(const json_t *decoder)
{
    return is_type(decoder, "Replace") && json_is(json_object_get(decoder, "content"), " ") &&
           json_is(json_object_get(json_object_get(decoder, "pattern"), "String"), METASPACE);
}

/* One space from the start, nothing from the end. */
static bool is_strip_one(const json_t *decoder)
{
    const json_t *start = json_object_get(decoder, "start");
    const json_t *stop = json_object_get(decoder, "stop");
    return is_type(decoder, "Strip") && json_is(json_object_get(decoder, "content"), " ") &&
           json_is_integer(start) && json_integer_value(start) == 1 && json_is_integer(stop) &&
           json_integer_value(stop) == 0;
}

/* Replace, ByteFallback, Fuse, Strip: any but Fuse may be missing, the order is fixed. */
static struct err load_sequence(struct decoder *d, const json_t *decoder)
{
    const json_t *list = json_object_get(decoder, "decoders");
    size_t i = 0;
    d->spaces = is_space_replace(json_array_get(list, i));
    i += d->spaces;
    d->bytes = is_type(json_array_get(list, i), "ByteFallback");
    i += d->bytes;
    if (!is_type(json_array_get(list, i), "Fuse"))
        return refuse("decoder", decoder);
    i++;
    d->strip_one = is_strip_one(json_array_get(list, i));
    i += d->strip_one;
    return i == json_array_size(list) ? err_ok() : refuse("decoder", decoder);
}

static struct err load_byte_level(const json_t *decoder)
{
    const json_t *list = json_object_get(decoder, "decoders");
    if (is_type(decoder, "ByteLevel"))
        return err_ok();
    if (!is_type(decoder, "Sequence") || json_array_size(list) != 1 ||
        !is_type(json_array_get(list, 0), "ByteLevel"))
        return refuse("decoder", decoder);
    return err_ok();
}

struct err tokenizer_load_decoder(struct tokenizer *t, const json_t *decoder)
{
    if (t->byte_level)
        return load_byte_level(decoder);
    if (is_type(decoder, "Sequence"))
        return load_sequence(&t->decoder, decoder);
    if (!is_type(decoder, "Metaspace"))
        return refuse("decoder", decoder);
    enum prepend_scheme scheme = PREPEND_NEVER;
    TRY(tokenizer_metaspace(&scheme, decoder, "decoder"));
    t->decoder.spaces = true;
    t->decoder.strip_mark = scheme != PREPEND_NEVER;
    return err_ok();
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int byte_of_token(struct bytes content)
{
    if (content.len != 6 || memcmp(content.data, "<0x", 3) != 0 || content.data[5] != '>')
        return -1;
    int high = hex_digit(content.data[3]), low = hex_digit(content.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void tokenizer_decode_content(const struct tokenizer *t, struct buf *out, struct bytes content)
{
    int byte = t->decoder.bytes ? byte_of_token(content) : -1;
    if (byte >= 0) {
        buf_append_u8(out, (uint8_t)byte);
        return;
    }
    static const size_t mark_len = sizeof METASPACE - 1;
    for (size_t i = 0; i < content.len; i++)
        if (t->decoder.spaces && content.len - i >= mark_len &&
            memcmp(content.data + i, METASPACE, mark_len) == 0) {
            buf_append_u8(out, ' ');
            i += mark_len - 1;
        } else {
            buf_append_u8(out, content.data[i]);
        }
}
