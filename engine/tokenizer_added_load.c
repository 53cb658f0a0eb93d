/*
 * Loading the added tokens of a tokenizer.json, behind its vocabulary.
 */
#include "engine/tokenizer_internal.h"

#include <stdlib.h>

#include "common/text.h"

enum { CONTENT_MAX = 1024 }; /* bytes of an added token */

/* The content as it is searched for: normalized with the text, or as it is. */
static struct err enter_trie(struct tokenizer *t, struct bytes content, bool normalized,
                             size_t index)
{
    BUF_AUTO normal = BUF_INIT;
    struct span_list none __attribute__((cleanup(span_list_cleanup))) = {0};
    if (normalized && t->n_normalizers > 0) {
        TRY(tokenizer_normalize(t, &normal, &none, content, NULL, 0));
        content = buf_bytes(&normal);
    }
    if (content.len == 0)
        return err_set(ERR_UNSUPPORTED,
                       "tokenizer.json: an added token of which the normalizer leaves nothing");
    t->added[index].len = (uint32_t)content.len;
    if (!t->byte_level && !t->added[index].special) {
        /* With the marks it is searched for, which the decoder turns to spaces again. */
        BUF_AUTO decoded = BUF_INIT;
        tokenizer_decode_content(t, &decoded, content);
        set_decoded(t, t->added[index].id, buf_bytes(&decoded));
    }
    return added_trie_put(normalized ? &t->normalized : &t->raw, content, index);
}

/* A token of the vocabulary from which merging begins. */
static bool is_symbol(const struct tokenizer *t, struct bytes content, uint32_t id)
{
    size_t len = 0;
    if (t->byte_level)
        return t->tokens[id].len == 1;
    (void)first_char(content, &len);
    return len == content.len;
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
    if (special && known != NO_TOKEN && is_symbol(t, content, id))
        return err_set(ERR_UNSUPPORTED,
                       "tokenizer.json: special token \"%s\" is also the token of a single %s",
                       printable(shown, content), t->byte_level ? "byte" : "character");
    if (!t->byte_level && byte_of_token(content) >= 0)
        return err_set(ERR_UNSUPPORTED, "tokenizer.json: added token \"%s\" stands for a byte",
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
    TRY(read_token_id(&a->id, json_object_get(entry, "id"), json_string_value(content)));
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

struct err tokenizer_load_added(struct tokenizer *t, const json_t *added)
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
