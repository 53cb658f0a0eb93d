/*
 * Loading the parts of a tokenizer.json around the model: pre-tokenizer and post-processor. What is
 * not known here is refused by name.
 */
#include "engine/tokenizer_internal.h"

#include <stdio.h>
#include <string.h>

/* The split of GPT-2, which ByteLevel makes with use_regex. */
#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static struct err add_stage(struct tokenizer *t, enum stage_kind kind, struct bytes pattern,
                            bool literal)
{
    if (t->n_stages == N_STAGES_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: more than %d pre-tokenizers", N_STAGES_MAX);
    struct stage stage = {kind, NULL};
    if (kind != STAGE_PREFIX_SPACE && kind != STAGE_METASPACE)
        TRY(regex_compile(&stage.regex, pattern, literal));
    t->stages[t->n_stages++] = stage;
    return err_ok();
}

static struct err load_split(struct tokenizer *t, const json_t *split)
{
    const json_t *pattern = json_object_get(split, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *text = json_object_get(pattern, "String");
    const json_t *behavior = json_object_get(split, "behavior");
    bool invert = false;
    TRY(json_flag(&invert, split, "invert", false));
    if (!json_is_string(regex) && !json_is_string(text))
        return refuse("pre_tokenizer Split.pattern", pattern);
    enum stage_kind kind = STAGE_ISOLATE;
    if (json_is(behavior, "Removed"))
        kind = invert ? STAGE_KEEP_MATCHES : STAGE_DROP_MATCHES;
    else if (!json_is(behavior, "Isolated"))
        return refuse("pre_tokenizer Split.behavior", behavior);
    bool literal = json_is_string(text);
    return add_stage(t, kind, json_bytes(literal ? text : regex), literal);
}

static struct err load_byte_level(struct tokenizer *t, const json_t *byte_level)
{
    bool prefix_space = true, use_regex = true;
    TRY(json_flag(&prefix_space, byte_level, "add_prefix_space", true));
    TRY(json_flag(&use_regex, byte_level, "use_regex", true));
    if (prefix_space)
        TRY(add_stage(t, STAGE_PREFIX_SPACE, (struct bytes){NULL, 0}, false));
    if (use_regex)
        TRY(add_stage(t, STAGE_ISOLATE, bytes_of_str(GPT2_PATTERN), false));
    return err_ok();
}

static struct err load_pre_tokenizer(struct tokenizer *t, const json_t *pre, bool *byte_level)
{
    const json_t *type = json_object_get(pre, "type");
    if (*byte_level)
        return refuse("pre_tokenizer behind ByteLevel", pre);
    if (json_is(type, "ByteLevel")) {
        *byte_level = true;
        return load_byte_level(t, pre);
    }
    if (json_is(type, "Split"))
        return load_split(t, pre);
    if (json_is(type, "Digits")) {
        bool individual = false;
        TRY(json_flag(&individual, pre, "individual_digits", false));
        return add_stage(t, STAGE_ISOLATE, bytes_of_str(individual ? "\\p{N}" : "\\p{N}+"), false);
    }
    return refuse("pre_tokenizer.type", type != NULL ? type : pre);
}

bool tokenizer_names_byte_level(const json_t *pre)
{
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(json_object_get(pre, "pretokenizers"), i,
                       entry) if (json_is(json_object_get(entry, "type"), "ByteLevel")) return true;
    return json_is(json_object_get(pre, "type"), "ByteLevel");
}

struct err tokenizer_metaspace(enum prepend_scheme *out, const json_t *metaspace, const char *where)
{
    static const char *const schemes[] = {"always", "first", "never"}; /* enum prepend_scheme */
    const json_t *scheme = json_object_get(metaspace, "prepend_scheme");
    char name[64];
    snprintf(name, sizeof name, "%s Metaspace.replacement", where);
    if (!json_is(json_object_get(metaspace, "replacement"), METASPACE))
        return refuse(name, json_object_get(metaspace, "replacement"));
    size_t i = 0;
    while (scheme != NULL && i < 3 && !json_is(scheme, schemes[i]))
        i++;
    snprintf(name, sizeof name, "%s Metaspace.prepend_scheme", where);
    if (i == 3)
        return refuse(name, scheme);
    bool prefix_space = true; /* older files have this alone, and mean "always" by true */
    TRY(json_flag(&prefix_space, metaspace, "add_prefix_space", true));
    if (!prefix_space && scheme != NULL && i != PREPEND_NEVER)
        return err_set(ERR_MALFORMED,
                       "tokenizer.json: %s Metaspace has prepend_scheme \"%s\" and no prefix space",
                       where, schemes[i]);
    *out = prefix_space ? (enum prepend_scheme)i : PREPEND_NEVER;
    return err_ok();
}

/* Characters as symbols: no pre-tokenizer, or a Metaspace. */
static struct err load_char_level(struct tokenizer *t, const json_t *pre)
{
    if (pre == NULL || json_is_null(pre))
        return err_ok();
    const json_t *list = json_object_get(pre, "pretokenizers");
    if (json_is(json_object_get(pre, "type"), "Sequence") && json_array_size(list) == 1)
        pre = json_array_get(list, 0);
    if (!json_is(json_object_get(pre, "type"), "Metaspace"))
        return refuse("pre_tokenizer without ByteLevel", pre);
    TRY(tokenizer_metaspace(&t->prepend, pre, "pre_tokenizer"));
    TRY(json_flag(&t->split, pre, "split", true));
    return add_stage(t, STAGE_METASPACE, (struct bytes){NULL, 0}, false);
}

static struct err load_pre_tokenizers(struct tokenizer *t, const json_t *pre)
{
    if (!t->byte_level)
        return load_char_level(t, pre);
    bool byte_level = false;
    const json_t *list = json_object_get(pre, "pretokenizers");
    size_t i = 0;
    json_t *entry = NULL;
    if (!json_is(json_object_get(pre, "type"), "Sequence"))
        TRY(load_pre_tokenizer(t, pre, &byte_level));
    else
        json_array_foreach(list, i, entry) TRY(load_pre_tokenizer(t, entry, &byte_level));
    return byte_level ? err_ok() : refuse("pre_tokenizer without ByteLevel", pre);
}

/* A special token of a TemplateProcessing: its ids go before or behind the sequence. */
static struct err add_post(struct tokenizer *t, const json_t *post, const json_t *name, bool before,
                           uint32_t *ids, size_t *n_ids)
{
    if (!json_is_string(name))
        return err_set(ERR_MALFORMED, "tokenizer.json: post_processor: a SpecialToken without id");
    const json_t *tokens = json_object_get(post, "special_tokens");
    const json_t *list = json_object_get(json_object_get(tokens, json_string_value(name)), "ids");
    size_t i = 0;
    json_t *id = NULL;
    if (!json_is_array(list))
        return err_set(ERR_MALFORMED, "tokenizer.json: post_processor: no ids for \"%.80s\"",
                       json_string_value(name));
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= t->n_tokens || !t->tokens[json_integer_value(id)].present)
            return err_set(ERR_MALFORMED,
                           "tokenizer.json: post_processor: unknown id for \"%.80s\"",
                           json_string_value(name));
        if (*n_ids == N_POST_MAX)
            return err_set(ERR_LIMIT, "tokenizer.json: post_processor adds more than %d tokens %s",
                           N_POST_MAX, before ? "before" : "behind");
        ids[(*n_ids)++] = (uint32_t)json_integer_value(id);
    }
    return err_ok();
}

/* A later template wraps what the earlier ones made. */
static struct err load_template(struct tokenizer *t, const json_t *post)
{
    const json_t *single = json_object_get(post, "single");
    uint32_t before[N_POST_MAX] = {0};
    size_t n_before = 0, n_sequences = 0, i = 0;
    json_t *piece = NULL;
    json_array_foreach(single, i, piece)
    {
        const json_t *special = json_object_get(piece, "SpecialToken");
        const json_t *sequence = json_object_get(piece, "Sequence");
        if (json_is(json_object_get(sequence, "id"), "A"))
            n_sequences++;
        else if (special == NULL)
            return refuse("post_processor.single", piece);
        else
            TRY(add_post(t, post, json_object_get(special, "id"), n_sequences == 0,
                         n_sequences == 0 ? before : t->suffix,
                         n_sequences == 0 ? &n_before : &t->n_suffix));
    }
    if (n_sequences != 1)
        return refuse("post_processor.single", single);
    if (n_before + t->n_prefix > N_POST_MAX)
        return err_set(ERR_LIMIT, "tokenizer.json: post_processor adds more than %d tokens before",
                       N_POST_MAX);
    memmove(t->prefix + n_before, t->prefix, t->n_prefix * sizeof t->prefix[0]);
    memcpy(t->prefix, before, n_before * sizeof before[0]);
    t->n_prefix += n_before;
    return err_ok();
}

static struct err load_post_processor(struct tokenizer *t, const json_t *post)
{
    const json_t *type = json_object_get(post, "type");
    if (json_is(type, "ByteLevel")) /* offsets only, which we don't give */
        return err_ok();
    if (json_is(type, "TemplateProcessing"))
        return load_template(t, post);
    return refuse("post_processor.type", type != NULL ? type : post);
}

static struct err load_post_processors(struct tokenizer *t, const json_t *post)
{
    if (post == NULL || json_is_null(post))
        return err_ok();
    if (!json_is(json_object_get(post, "type"), "Sequence"))
        return load_post_processor(t, post);
    const json_t *list = json_object_get(post, "processors");
    if (!json_is_array(list))
        return refuse("post_processor.processors", list);
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(list, i, entry) TRY(load_post_processor(t, entry));
    return err_ok();
}

struct err tokenizer_load_stages(struct tokenizer *t, const json_t *root)
{
    TRY(load_pre_tokenizers(t, json_object_get(root, "pre_tokenizer")));
    return load_post_processors(t, json_object_get(root, "post_processor"));
}
