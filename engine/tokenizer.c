#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static struct err parse_json(json_t **out, struct bytes json)
{
    if (json.len > TOKENIZER_JSON_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json of %zu bytes where at most %d are allowed",
                       json.len, TOKENIZER_JSON_MAX);
    if (json.len == 0)
        return err_set(ERR_MALFORMED, "tokenizer.json is empty");
    json_error_t error = {0};
    *out = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, &error);
    if (*out == NULL)
        return err_set(ERR_MALFORMED, "tokenizer.json: %s (line %d, column %d)", error.text,
                       error.line, error.column);
    return err_ok();
}

struct err tokenizer_new(struct tokenizer **out, struct bytes json)
{
    json_t *root = NULL;
    TRY(parse_json(&root, json));
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        json_decref(root);
        return err_set(ERR_MEMORY, "no memory for a tokenizer");
    }
    t->unk_id = NO_TOKEN;
    memset(t->byte_ids, 0xff, sizeof t->byte_ids);
    struct err loaded = tokenizer_load(t, root);
    json_decref(root);
    if (is_err(loaded)) {
        tokenizer_free(t);
        return loaded;
    }
    *out = t;
    return err_ok();
}

void tokenizer_free(struct tokenizer *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n_stages; i++)
        regex_free(t->stages[i].regex);
    added_trie_cleanup(&t->raw);
    added_trie_cleanup(&t->normalized);
    bytes_map_cleanup(&t->by_bytes);
    bytes_map_cleanup(&t->by_content);
    u64_map_cleanup(&t->char_ids);
    u64_map_cleanup(&t->joints);
    u64_map_cleanup(&t->merges);
    free(t->merged);
    tokenizer_free_normalizer(t);
    buf_cleanup(&t->decoded);
    free(t->added);
    free(t->tokens);
    free(t);
}

unsigned tokenizer_n_tokens(const struct tokenizer *t)
{
    return t->n_tokens;
}

bool tokenizer_has(const struct tokenizer *t, uint32_t id)
{
    return id < t->n_tokens && t->tokens[id].present;
}

struct err tokenizer_id(const struct tokenizer *t, const char *content, uint32_t *id)
{
    uint32_t found = tokenizer_find(t, bytes_of_str(content));
    if (found == NO_TOKEN)
        return err_set(ERR_NOT_FOUND, "the tokenizer has no token \"%.80s\"", content);
    *id = found;
    return err_ok();
}

bool tokenizer_is_special(const struct tokenizer *t, uint32_t id)
{
    return id < t->n_tokens && t->tokens[id].special;
}
