/* Any text over a small tokenizer with NFC, added tokens of every kind and trusted spans: a special
 * token never comes from outside a trusted span, and NFC text without specials round-trips. */
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* clang-format off */
static const char head[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":["
    "{\"id\":1000,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false},"
    "{\"id\":1001,\"content\":\"<y>\",\"special\":true,\"normalized\":true,\"rstrip\":true},"
    "{\"id\":1002,\"content\":\"wd\",\"single_word\":true,\"normalized\":false},"
    "{\"id\":1003,\"content\":\" l \",\"lstrip\":true,\"normalized\":false}],"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\""
    "(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
    "|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"merges\":[\"a b\"],\"vocab\":{\"ab\":999";
/* clang-format on */

static struct tokenizer *make(void)
{
    struct tokenizer *t = NULL;
    BUF_AUTO json = BUF_INIT;
    buf_append_str(&json, head);
    for (unsigned c = 0x21; c <= 0x143; c++) {
        if ((c >= 0x7f && c <= 0xa0) || c == 0xad)
            continue;
        buf_printf(&json, ",\"\\u%04x\":%u", c, c);
    }
    buf_append_str(&json, "}}}");
    if (is_err(tokenizer_new(&t, buf_bytes(&json))))
        abort();
    return t;
}

static size_t count(const struct buf *ids, uint32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->len / 4; i++)
        n += ((const uint32_t *)(const void *)ids->data)[i] == id;
    return n;
}

static void check_untrusted(const struct tokenizer *t, struct bytes text)
{
    BUF_AUTO ids = BUF_INIT;
    if (is_err(tokenizer_encode(t, &ids, text, false, true)))
        return;
    if (count(&ids, 1000) + count(&ids, 1001) > 0)
        abort();
    BUF_AUTO out = BUF_INIT;
    for (size_t i = 0; i < ids.len / 4; i++)
        if (is_err(tokenizer_token_bytes(t, ((const uint32_t *)(const void *)ids.data)[i], &out)))
            abort();
    if (!utf8_valid(buf_bytes(&out)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    if (t == NULL)
        t = make();
    if (size < 2)
        return 0;
    struct bytes text = bytes_of(data + 2, size - 2);
    check_untrusted(t, text);
    if (data[0] > text.len || data[1] > text.len - data[0])
        return 0;
    struct text_span span = {data[0], data[1]};
    BUF_AUTO ids = BUF_INIT;
    if (is_err(tokenizer_encode_spans(t, &ids, text, &span, 1)))
        return 0;
    if (count(&ids, 1000) * 5 + count(&ids, 1001) * 3 > span.len)
        abort();
    return 0;
}
