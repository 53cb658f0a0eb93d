/*
 * A model's chat templates and the special tokens that they name, read at load: from
 * chat_template.jinja and additional_chat_templates/tool_use.jinja, or, where neither is there,
 * from tokenizer_config.json. As in transformers a template named "tool_use" is for chats with
 * tools, "default" for all others; any other name needs somebody who asks for it, and is not read.
 */
#include <string.h>

#include "common/text.h"
#include "engine/engine_internal.h"
#include "engine/json_fields.h"

#define SETTINGS_NAME "tokenizer_config.json"
#define TEMPLATE_NAME "chat_template.jinja"
#define TOOLS_NAME "additional_chat_templates/tool_use.jinja"

enum { SETTINGS_MAX = 16 << 20, TEMPLATE_MAX = 256 << 10 };

static struct err keep_token(struct engine *e, const char *key, json_t *text)
{
    if (text == NULL || json_object_set_new(e->special_tokens, key, text) != 0)
        return err_set(ERR_MEMORY, "no memory for \"%s\"", key);
    return err_ok();
}

/* A token's text: a string, or an object with "content". Absent or null: none. */
static struct err read_token(struct engine *e, const char *key, const json_t *value)
{
    if (value == NULL || json_is_null(value))
        return err_ok();
    const char *text =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (text == NULL)
        return field_refused(key, value, "it must be a string or an object with \"content\"");
    return keep_token(e, key, json_string(text));
}

/* What templates may name: the usual ones, and those that this model adds by name. */
static struct err read_tokens(struct engine *e, const json_t *root)
{
    static const char *const usual[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        TRY(read_token(e, usual[i], json_object_get(root, usual[i])));
    json_t *more = json_object_get(root, "extra_special_tokens");
    const char *key;
    json_t *value;
    json_object_foreach(more, key, value) TRY(read_token(e, key, value));
    return err_ok();
}

static struct err parse(struct chat_template **out, struct bytes source, const char *where)
{
    struct err err = chat_template_new(out, source);
    return is_err(err) ? err_context(err, "%s", where) : err;
}

/* One of a list of named templates. */
static struct err read_named(struct engine *e, const json_t *item)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *source = json_string_value(json_object_get(item, "template"));
    if (name == NULL || source == NULL)
        return field_refused("chat_template", item, "a list holds objects of name and template");
    bool tools = strcmp(name, "tool_use") == 0;
    if (!tools && strcmp(name, "default") != 0)
        return err_ok();
    struct chat_template **out = tools ? &e->tool_template : &e->template;
    if (*out != NULL)
        return err_set(ERR_MALFORMED, "chat_template holds \"%s\" twice", name);
    return parse(out, bytes_of_str(source), tools ? "chat_template tool_use" : "chat_template");
}

/* "chat_template": a string, or a list of named ones. */
static struct err read_templates(struct engine *e, const json_t *root)
{
    const json_t *value = json_object_get(root, "chat_template");
    if (value == NULL || json_is_null(value))
        return err_ok();
    if (json_is_string(value))
        return parse(&e->template, bytes_of_str(json_string_value(value)), "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++)
        TRY(read_named(e, json_array_get(value, i)));
    if (e->template == NULL && e->tool_template == NULL)
        return field_refused("chat_template", value,
                             "it must be a string, or a list with one named \"default\" or "
                             "\"tool_use\"");
    return err_ok();
}

/* A template in a file of its own: whether there was one. */
static struct err read_file(struct engine *e, const char *name, struct chat_template **out,
                            bool *found)
{
    struct bytes source;
    TRY(model_files_read_optional(&e->files, name, TEMPLATE_MAX, &source));
    if (source.data == NULL)
        return err_ok();
    *found = true;
    struct err err = chat_template_new(out, source);
    return is_err(err) ? err_context(err, "%s/%s", e->files.dir, name) : err;
}

struct err engine_parse_chat_settings(struct engine *e, struct bytes settings, bool has_files)
{
    json_t *root = NULL;
    struct err err = fields_parse_reals(&root, settings);
    if (!is_err(err))
        err = read_tokens(e, root);
    if (!is_err(err) && !has_files)
        err = read_templates(e, root);
    json_decref(root);
    return err;
}

struct err engine_load_chat(struct engine *e)
{
    struct bytes settings;
    bool in_files = false;
    e->special_tokens = json_object();
    TRY(read_file(e, TEMPLATE_NAME, &e->template, &in_files));
    TRY(read_file(e, TOOLS_NAME, &e->tool_template, &in_files));
    TRY(model_files_read_optional(&e->files, SETTINGS_NAME, SETTINGS_MAX, &settings));
    if (settings.data == NULL)
        return err_ok();
    struct err err = engine_parse_chat_settings(e, settings, in_files);
    return is_err(err) ? err_context(err, "%s/" SETTINGS_NAME, e->files.dir) : err;
}

struct err engine_find_template(const struct engine *e, bool has_tools,
                                const struct chat_template **out)
{
    *out = has_tools && e->tool_template != NULL ? e->tool_template : e->template;
    if (*out != NULL)
        return err_ok();
    if (e->tool_template != NULL)
        return err_set(ERR_UNSUPPORTED, "the model has a chat template for chats with tools only");
    return err_set(ERR_UNSUPPORTED,
                   "the model has no chat template (neither " TEMPLATE_NAME
                   " nor \"chat_template\" in " SETTINGS_NAME "); send a plain prompt");
}
