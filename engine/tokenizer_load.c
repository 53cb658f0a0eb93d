/*
 * Loading the vocabulary and the merges of a tokenizer.json. Vocabulary entries that are written in
 * the byte-level alphabet are kept as the bytes that they stand for, others as they are.
 */
#include "engine/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "common/text.h"

struct err refuse(const char *key, const json_t *value)
{
    char shown[84];
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    printable(shown, bytes_of_str(text != NULL ? text : "(nothing)"));
    free(text);
    return err_set(ERR_UNSUPPORTED, "tokenizer.json: %s is %s, which is not supported", key, shown);
}

struct err json_flag(bool *out, const json_t *object, const char *key, bool absent)
{
    const json_t *value = json_object_get(object, key);
    if (value != NULL && !json_is_null(value) && !json_is_boolean(value))
        return err_set(ERR_MALFORMED, "tokenizer.json: %s is neither true nor false", key);
    *out = json_is_boolean(value) ? json_is_true(value) : absent;
    return err_ok();
}

bool json_is(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

struct bytes json_bytes(const json_t *string)
{
    return bytes_of(json_string_value(string), json_string_length(string));
}

/* The alphabet of GPT-2: printable bytes stand for themselves, the other 68 are U+0100 and up. */
int byte_of_char(int32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return c;
    if (c >= 0x100 && c <= 0x120)
        return c - 0x100; /* 0x00 to 0x20 */
    if (c >= 0x121 && c <= 0x142)
        return c - 0x121 + 0x7f; /* 0x7f to 0xa0 */
    return c == 0x143 ? 0xad : -1;
}

int32_t first_char(struct bytes text, size_t *len)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate(text.data, (utf8proc_ssize_t)text.len, &c);
    *len = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : -1;
}

int32_t last_char(struct bytes text)
{
    size_t start = text.len - 1, len = 0;
    while (start > 0 && (text.data[start] & 0xc0) == 0x80)
        start--;
    return first_char(bytes_of(text.data + start, text.len - start), &len);
}

/* Appends the bytes that `content` stands for; false where it leaves the alphabet. */
static bool append_decoded(const struct tokenizer *t, struct buf *out, struct bytes content)
{
    if (!t->byte_level)
        buf_append_bytes(out, content);
    if (!t->byte_level)
        return true;
    for (size_t i = 0; i < content.len;) {
        utf8proc_int32_t c = 0;
        utf8proc_ssize_t n =
            utf8proc_iterate(content.data + i, (utf8proc_ssize_t)(content.len - i), &c);
        int byte = n > 0 ? byte_of_char(c) : -1;
        if (byte < 0)
            return false;
        buf_append_u8(out, (uint8_t)byte);
        i += (size_t)n;
    }
    return true;
}

uint32_t tokenizer_find(const struct tokenizer *t, struct bytes content)
{
    uint32_t id = NO_TOKEN;
    BUF_AUTO decoded = BUF_INIT;
    if (bytes_map_get(&t->by_content, content, &id))
        return id;
    if (!append_decoded(t, &decoded, content) ||
        !bytes_map_get(&t->by_bytes, buf_bytes(&decoded), &id))
        return NO_TOKEN;
    return id;
}

struct err read_token_id(uint32_t *out, const json_t *value, const char *content)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(ERR_MALFORMED, "tokenizer.json: the id of \"%s\" is not a number", content);
    if (json_integer_value(value) > TOKENIZER_ID_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: id %lld where at most %d is allowed",
                       (long long)json_integer_value(value), TOKENIZER_ID_MAX);
    *out = (uint32_t)json_integer_value(value);
    return err_ok();
}

/* Room for every id of the vocabulary and the added tokens. */
static struct err make_table(struct tokenizer *t, json_t *vocab, const json_t *added)
{
    const char *content = NULL;
    json_t *value = NULL;
    size_t i = 0;
    uint32_t id = 0, max = 0;
    json_object_foreach(vocab, content, value)
    {
        TRY(read_token_id(&id, value, content));
        max = id > max ? id : max;
    }
    json_array_foreach(added, i, value)
    {
        TRY(read_token_id(&id, json_object_get(value, "id"), "an added token"));
        max = id > max ? id : max;
    }
    t->n_tokens = max + 1;
    t->tokens = calloc(t->n_tokens, sizeof *t->tokens);
    if (t->tokens == NULL)
        return err_set(ERR_MEMORY, "no memory for %u tokens", t->n_tokens);
    return err_ok();
}

void set_decoded(struct tokenizer *t, uint32_t id, struct bytes bytes)
{
    t->tokens[id].offset = (uint32_t)t->decoded.len;
    t->tokens[id].len = (uint32_t)bytes.len;
    t->tokens[id].present = true;
    buf_append_bytes(&t->decoded, bytes);
}

/* An entry of a vocabulary of characters. */
static struct err enter_char_entry(struct tokenizer *t, struct bytes content, uint32_t id)
{
    char upper[16];
    BUF_AUTO decoded = BUF_INIT;
    int byte = byte_of_token(content);
    size_t len = 0;
    int32_t c = first_char(content, &len);
    tokenizer_decode_content(t, &decoded, content);
    set_decoded(t, id, buf_bytes(&decoded));
    if (byte >= 0) { /* with small letters it decodes to the byte, but is not made from it */
        snprintf(upper, sizeof upper, "<0x%02X>", (unsigned)byte);
        if (memcmp(upper, content.data, content.len) == 0)
            t->byte_ids[byte] = id;
    }
    return len == content.len ? u64_map_put(&t->char_ids, (uint32_t)c, id) : err_ok();
}

static struct err load_entry(struct tokenizer *t, struct bytes content, uint32_t id)
{
    char shown[84];
    if (t->tokens[id].present)
        return err_set(ERR_MALFORMED, "tokenizer.json: two tokens have the id %u", id);
    if (content.len == 0)
        return err_set(ERR_MALFORMED, "tokenizer.json: token %u is empty", id);
    BUF_AUTO decoded = BUF_INIT;
    bool in_alphabet = append_decoded(t, &decoded, content);
    struct bytes bytes = in_alphabet ? buf_bytes(&decoded) : content;
    struct err put = bytes_map_put(in_alphabet ? &t->by_bytes : &t->by_content, bytes, id);
    if (is_err(put))
        return err_context(put, "tokenizer.json: \"%s\"", printable(shown, content));
    if (!t->byte_level)
        return enter_char_entry(t, content, id);
    set_decoded(t, id, bytes);
    if (in_alphabet && bytes.len == 1)
        t->byte_ids[bytes.data[0]] = id;
    return err_ok();
}

static struct err load_vocab(struct tokenizer *t, json_t *vocab)
{
    for (void *i = json_object_iter(vocab); i != NULL; i = json_object_iter_next(vocab, i)) {
        uint32_t id = 0;
        TRY(read_token_id(&id, json_object_iter_value(i), json_object_iter_key(i)));
        TRY(load_entry(t, bytes_of(json_object_iter_key(i), json_object_iter_key_len(i)), id));
    }
    return err_ok();
}

/* One merge: two strings, or one with a single space between them. */
static struct err split_merge(struct bytes part[2], const json_t *merge, size_t rank)
{
    if (json_is_array(merge) && json_array_size(merge) == 2 &&
        json_is_string(json_array_get(merge, 0)) && json_is_string(json_array_get(merge, 1))) {
        part[0] = json_bytes(json_array_get(merge, 0));
        part[1] = json_bytes(json_array_get(merge, 1));
        return err_ok();
    }
    if (json_is_string(merge)) {
        struct bytes all = json_bytes(merge);
        const uint8_t *space = memchr(all.data, ' ', all.len);
        if (space != NULL) {
            part[0] = bytes_of(all.data, (size_t)(space - all.data));
            part[1] = bytes_of(space + 1, all.len - part[0].len - 1);
            if (memchr(part[1].data, ' ', part[1].len) == NULL)
                return err_ok();
        }
    }
    return err_set(ERR_MALFORMED, "tokenizer.json: merge %zu is not a pair", rank);
}

/* What stands for a character that is no token: bytes, or the unknown token. */
static bool is_substitute(const struct tokenizer *t, uint32_t id, struct bytes content)
{
    int byte = byte_of_token(content);
    return id == t->unk_id || (t->byte_fallback && byte >= 0 && t->byte_ids[byte] == id);
}

/* Where symbols are characters, a text may be cut between two that meet in no merge. */
static struct err enter_joint(struct tokenizer *t, const struct bytes part[2], uint32_t left,
                              uint32_t right)
{
    char shown[84];
    size_t len = 0;
    for (size_t i = 0; i < 2; i++)
        if (is_substitute(t, i == 0 ? left : right, part[i]))
            return err_set(ERR_UNSUPPORTED,
                           "tokenizer.json: a merge of \"%s\", a byte's or the unknown token",
                           printable(shown, part[i]));
    return u64_map_put(
        &t->joints,
        (uint64_t)(uint32_t)last_char(part[0]) << 32 | (uint32_t)first_char(part[1], &len), 1);
}

static struct err load_merge(struct tokenizer *t, const json_t *merge, size_t rank)
{
    struct bytes part[2];
    TRY(split_merge(part, merge, rank));
    BUF_AUTO whole = BUF_INIT;
    buf_append_bytes(&whole, part[0]);
    buf_append_bytes(&whole, part[1]);
    uint32_t left = tokenizer_find(t, part[0]), right = tokenizer_find(t, part[1]);
    uint32_t merged = tokenizer_find(t, buf_bytes(&whole));
    char shown[84];
    if (left == NO_TOKEN || right == NO_TOKEN || merged == NO_TOKEN)
        return err_set(ERR_MALFORMED, "tokenizer.json: merge %zu (\"%s\") is not in the vocabulary",
                       rank, printable(shown, buf_bytes(&whole)));
    if (t->tokens[merged].special)
        return err_ok(); /* special tokens come from added_tokens alone */
    if (!t->byte_level)
        TRY(enter_joint(t, part, left, right));
    t->merged[rank] = merged;
    return u64_map_put(&t->merges, (uint64_t)left << 32 | right, rank);
}

static struct err load_merges(struct tokenizer *t, const json_t *merges)
{
    if (!json_is_array(merges))
        return err_set(ERR_MALFORMED, "tokenizer.json: model.merges is not a list");
    size_t rank = 0;
    json_t *merge = NULL;
    t->merged = calloc(json_array_size(merges) + 1, sizeof *t->merged);
    if (t->merged == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu merges", json_array_size(merges));
    json_array_foreach(merges, rank, merge) TRY(load_merge(t, merge, rank));
    return err_ok();
}

static struct err check_keys(const json_t *object, const char *where, const char *const *known)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] == NULL && !json_is_null(value)) {
            char name[120];
            snprintf(name, sizeof name, "%s%.80s", where, key);
            return refuse(name, value);
        }
    }
    return err_ok();
}

/* Settings that would change the result and that we don't do. */
static struct err check_model(struct tokenizer *t, const json_t *model)
{
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    if (!json_is(json_object_get(model, "type"), "BPE"))
        return refuse("model.type", json_object_get(model, "type"));
    TRY(check_keys(model, "model.", known));
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return refuse("model.dropout", dropout);
    for (size_t i = 3; i <= 4; i++) {
        const json_t *affix = json_object_get(model, known[i]);
        if (affix != NULL && !json_is_null(affix) && !json_is(affix, ""))
            return refuse(known[i], affix);
    }
    TRY(json_flag(&t->byte_fallback, model, "byte_fallback", false));
    if (t->byte_fallback && t->byte_level)
        return refuse("model.byte_fallback with ByteLevel",
                      json_object_get(model, "byte_fallback"));
    TRY(json_flag(&t->ignore_merges, model, "ignore_merges", false));
    TRY(json_flag(&t->fuse_unk, model, "fuse_unk", false));
    if (!json_is_object(json_object_get(model, "vocab")))
        return err_set(ERR_MALFORMED, "tokenizer.json: model.vocab is not an object");
    return err_ok();
}

static struct err load_unk(struct tokenizer *t, const json_t *unk)
{
    if (unk == NULL || json_is_null(unk))
        return err_ok();
    if (json_is_string(unk))
        t->unk_id = tokenizer_find(t, json_bytes(unk));
    if (t->unk_id == NO_TOKEN)
        return err_set(ERR_MALFORMED, "tokenizer.json: model.unk_token is not in the vocabulary");
    return err_ok();
}

struct err tokenizer_load(struct tokenizer *t, const json_t *root)
{
    static const char *const known[] = {
        "version", "added_tokens",   "normalizer", "pre_tokenizer",
        "model",   "post_processor", "decoder",    NULL}; /* truncation and padding: null */
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");
    if (!json_is_object(root) || !json_is_object(model))
        return err_set(ERR_MALFORMED, "tokenizer.json: no object with a model");
    TRY(check_keys(root, "", known));
    t->byte_level = tokenizer_names_byte_level(json_object_get(root, "pre_tokenizer"));
    TRY(check_model(t, model));
    TRY(tokenizer_load_normalizer(t, json_object_get(root, "normalizer")));
    TRY(tokenizer_load_decoder(t, json_object_get(root, "decoder")));
    TRY(make_table(t, json_object_get(model, "vocab"), added));
    TRY(load_vocab(t, json_object_get(model, "vocab")));
    TRY(tokenizer_load_added(t, added));
    TRY(load_unk(t, json_object_get(model, "unk_token")));
    TRY(load_merges(t, json_object_get(model, "merges")));
    TRY(bpe_find_whole(t));
    return tokenizer_load_stages(t, root);
}
