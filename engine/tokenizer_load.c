/*
 * Loading the vocabulary, the added tokens and the merges of a tokenizer.json. Vocabulary entries
 * are written in the byte-level alphabet; they are kept as the bytes that they stand for.
 */
#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "common/text.h"

enum { CONTENT_MAX = 1024 }; /* bytes of an added token */

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

/* Appends the bytes that `content` stands for; false where it leaves the alphabet. */
static bool append_decoded(struct buf *out, struct bytes content)
{
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
    if (!append_decoded(&decoded, content) ||
        !bytes_map_get(&t->by_bytes, buf_bytes(&decoded), &id))
        return NO_TOKEN;
    return id;
}

static struct err read_id(uint32_t *out, const json_t *value, const char *content)
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
        TRY(read_id(&id, value, content));
        max = id > max ? id : max;
    }
    json_array_foreach(added, i, value)
    {
        TRY(read_id(&id, json_object_get(value, "id"), "an added token"));
        max = id > max ? id : max;
    }
    t->n_tokens = max + 1;
    t->tokens = calloc(t->n_tokens, sizeof *t->tokens);
    if (t->tokens == NULL)
        return err_set(ERR_MEMORY, "no memory for %u tokens", t->n_tokens);
    return err_ok();
}

static void set_decoded(struct tokenizer *t, uint32_t id, struct bytes bytes)
{
    t->tokens[id].offset = (uint32_t)t->decoded.len;
    t->tokens[id].len = (uint32_t)bytes.len;
    t->tokens[id].present = true;
    buf_append_bytes(&t->decoded, bytes);
}

static struct err load_entry(struct tokenizer *t, struct bytes content, uint32_t id)
{
    char shown[84];
    if (t->tokens[id].present)
        return err_set(ERR_MALFORMED, "tokenizer.json: two tokens have the id %u", id);
    if (content.len == 0)
        return err_set(ERR_MALFORMED, "tokenizer.json: token %u is empty", id);
    BUF_AUTO decoded = BUF_INIT;
    bool in_alphabet = append_decoded(&decoded, content);
    struct bytes bytes = in_alphabet ? buf_bytes(&decoded) : content;
    struct err put = bytes_map_put(in_alphabet ? &t->by_bytes : &t->by_content, bytes, id);
    if (is_err(put))
        return err_context(put, "tokenizer.json: \"%s\"", printable(shown, content));
    set_decoded(t, id, bytes);
    if (in_alphabet && bytes.len == 1)
        t->byte_ids[bytes.data[0]] = id;
    return err_ok();
}

static struct err load_vocab(struct tokenizer *t, json_t *vocab)
{
    for (void *i = json_object_iter(vocab); i != NULL; i = json_object_iter_next(vocab, i)) {
        uint32_t id = 0;
        TRY(read_id(&id, json_object_iter_value(i), json_object_iter_key(i)));
        TRY(load_entry(t, bytes_of(json_object_iter_key(i), json_object_iter_key_len(i)), id));
    }
    return err_ok();
}

/* The content as it is searched for: normalized with the text, or as it is. */
static struct err enter_trie(struct tokenizer *t, struct bytes content, bool normalized,
                             size_t index)
{
    BUF_AUTO nfc = BUF_INIT;
    if (normalized && t->nfc) {
        TRY(normalize_nfc(&nfc, NULL, content, NULL, 0));
        content = buf_bytes(&nfc);
    }
    t->added[index].len = (uint32_t)content.len;
    return added_trie_put(normalized ? &t->normalized : &t->raw, content, index);
}

static struct err claim_id(struct tokenizer *t, uint32_t id, struct bytes content, bool special)
{
    char shown[84];
    uint32_t known = tokenizer_find(t, content);
    if (known == NO_TOKEN && t->tokens[id].present)
        return err_set(ERR_MALFORMED, "tokenizer.json: two tokens have the id %u", id);
    if (known != NO_TOKEN && known != id)
        return err_set(ERR_MALFORMED, "tokenizer.json: \"%s\" has the ids %u and %u",
                       printable(shown, content), known, id);
    if (special && known != NO_TOKEN && t->tokens[id].len == 1)
        return err_set(ERR_UNSUPPORTED,
                       "tokenizer.json: special token \"%s\" is also the token of a single byte",
                       printable(shown, content));
    if (t->tokens[id].added)
        return err_set(ERR_MALFORMED, "tokenizer.json: added token %u is there twice", id);
    uint32_t unused = 0;
    if (!bytes_map_get(&t->by_content, content, &unused))
        TRY(bytes_map_put(&t->by_content, content, id));
    set_decoded(t, id, content);
    t->tokens[id].added = true;
    t->tokens[id].special = special;
    return err_ok();
}

static struct err load_added(struct tokenizer *t, const json_t *entry)
{
    const json_t *content = json_object_get(entry, "content");
    if (!json_is_string(content))
        return err_set(ERR_MALFORMED, "tokenizer.json: an added token without content");
    if (json_string_length(content) == 0)
        return err_ok(); /* never found in any text */
    if (json_string_length(content) > CONTENT_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: an added token of %zu bytes, at most %d",
                       json_string_length(content), CONTENT_MAX);
    struct added_token *a = &t->added[t->n_added];
    bool normalized = false;
    TRY(read_id(&a->id, json_object_get(entry, "id"), json_string_value(content)));
    TRY(json_flag(&a->special, entry, "special", false));
    TRY(json_flag(&a->lstrip, entry, "lstrip", false));
    TRY(json_flag(&a->rstrip, entry, "rstrip", false));
    TRY(json_flag(&a->single_word, entry, "single_word", false));
    TRY(json_flag(&normalized, entry, "normalized", !a->special));
    TRY(claim_id(t, a->id, json_bytes(content), a->special));
    TRY(enter_trie(t, json_bytes(content), normalized, t->n_added));
    t->n_added++;
    return err_ok();
}

static struct err load_all_added(struct tokenizer *t, const json_t *added)
{
    if (added != NULL && !json_is_null(added) && !json_is_array(added))
        return err_set(ERR_MALFORMED, "tokenizer.json: added_tokens is not a list");
    t->added = calloc(json_array_size(added) + 1, sizeof *t->added);
    if (t->added == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu added tokens", json_array_size(added));
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(added, i, entry) TRY(load_added(t, entry));
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
    return u64_map_put(&t->merges, (uint64_t)left << 32 | right, (uint64_t)rank << 32 | merged);
}

static struct err load_merges(struct tokenizer *t, const json_t *merges)
{
    if (!json_is_array(merges))
        return err_set(ERR_MALFORMED, "tokenizer.json: model.merges is not a list");
    size_t rank = 0;
    json_t *merge = NULL;
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
    bool byte_fallback = false;
    TRY(json_flag(&byte_fallback, model, "byte_fallback", false));
    if (byte_fallback)
        return refuse("model.byte_fallback", json_object_get(model, "byte_fallback"));
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
    TRY(check_model(t, model));
    TRY(make_table(t, json_object_get(model, "vocab"), added));
    TRY(load_vocab(t, json_object_get(model, "vocab")));
    t->nfc = json_is(json_object_get(json_object_get(root, "normalizer"), "type"), "NFC");
    TRY(load_all_added(t, added));
    TRY(load_unk(t, json_object_get(model, "unk_token")));
    TRY(load_merges(t, json_object_get(model, "merges")));
    return tokenizer_load_stages(t, root);
}
