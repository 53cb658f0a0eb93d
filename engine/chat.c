/* From messages to tokens: the model's template over checked messages, then one tokenization of the
 * whole text in which special tokens count only where the template wrote them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/text.h"
#include "engine/engine_internal.h"
#include "engine/tokenizer.h"

/* The text of an array of text parts, one a line. */
static struct err join_parts(const json_t *parts, size_t message, json_t **out)
{
    struct buf text __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *value = json_object_get(part, "text");
        char shown[84];
        if (type == NULL || strcmp(type, "text") != 0)
            return err_set(ERR_USAGE,
                           "messages[%zu].content[%zu] is of type \"%s\"; only \"text\" is "
                           "supported",
                           message, i, printable(shown, bytes_of_str(type != NULL ? type : "")));
        if (!json_is_string(value))
            return err_set(ERR_USAGE, "messages[%zu].content[%zu].text is not a string", message,
                           i);
        if (i > 0)
            buf_append_str(&text, "\n");
        buf_append(&text, json_string_value(value), json_string_length(value));
    }
    *out = json_stringn(text.data != NULL ? (const char *)text.data : "", text.len);
    return *out != NULL ? err_ok() : err_set(ERR_USAGE, "messages[%zu] is not UTF-8", message);
}

static struct err copy_message(const json_t *message, size_t i, json_t **out)
{
    const json_t *content = json_object_get(message, "content");
    bool calls_tools = json_array_size(json_object_get(message, "tool_calls")) > 0;
    if (!json_is_object(message))
        return err_set(ERR_USAGE, "messages[%zu] is not an object", i);
    if (json_string_length(json_object_get(message, "role")) == 0)
        return err_set(ERR_USAGE, "messages[%zu].role is not a string", i);
    bool absent = content == NULL || json_is_null(content);
    if (!json_is_string(content) && !json_is_array(content) && !(absent && calls_tools))
        return err_set(ERR_USAGE,
                       "messages[%zu].content is neither a string nor an array of text parts", i);
    json_t *joined = NULL;
    if (json_is_array(content))
        TRY(join_parts(content, i, &joined));
    *out = json_copy((json_t *)(uintptr_t)message);
    if (*out == NULL || (joined != NULL && json_object_set_new(*out, "content", joined) != 0))
        return err_set(ERR_MEMORY, "no memory for messages[%zu]", i);
    return err_ok();
}

static struct err copy_messages(const json_t *messages, json_t *out)
{
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return err_set(ERR_USAGE, "messages is not an array with at least one message");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *copy = NULL;
        struct err err = copy_message(json_array_get(messages, i), i, &copy);
        if (is_err(err)) {
            json_decref(copy);
            return err;
        }
        json_array_append_new(out, copy);
    }
    return err_ok();
}

static struct err encode_rendered(const struct engine *e, const struct rendered *r, struct buf *out)
{
    struct text_span *spans = calloc(r->n_segments + 1, sizeof *spans);
    if (spans == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu segments", r->n_segments);
    size_t n = 0;
    for (size_t i = 0; i < r->n_segments; i++) {
        const struct template_segment *s = &r->segments[i];
        if (!s->trusted)
            continue;
        if (n > 0 && spans[n - 1].offset + spans[n - 1].len == s->offset)
            spans[n - 1].len += s->len; /* one text to the template's author */
        else
            spans[n++] = (struct text_span){s->offset, s->len};
    }
    struct err err = tokenizer_encode_spans(e->tokenizer, out, buf_bytes(&r->text), spans, n);
    free(spans);
    return err;
}

static struct err render_and_encode(const struct engine *e, const struct chat_template *template,
                                    const json_t *variables, struct buf *out)
{
    struct rendered r __attribute__((cleanup(rendered_cleanup))) = {0};
    TRY(chat_template_render(template, &r, variables, (int64_t)time(NULL)));
    return encode_rendered(e, &r, out);
}

/* What a caller may give the template besides messages. */
static struct err copy_variables(const json_t *chat, json_t *out)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)chat, name, value)
    {
        char shown[84];
        bool list = strcmp(name, "tools") == 0 || strcmp(name, "documents") == 0;
        bool flag = strcmp(name, "add_generation_prompt") == 0;
        if (strcmp(name, "messages") == 0 || ((list || flag) && json_is_null(value)))
            continue;
        if (!list && !flag)
            return err_set(ERR_USAGE,
                           "\"%s\" is no part of a chat; messages, tools, documents and "
                           "add_generation_prompt are",
                           printable(shown, bytes_of_str(name)));
        if (list ? !json_is_array(value) : !json_is_boolean(value))
            return err_set(ERR_USAGE, "%s is not %s", name, list ? "an array" : "true or false");
        json_object_set(out, name, value);
    }
    return err_ok();
}

struct err engine_chat_tokens(const struct engine *e, const json_t *chat, struct buf *out)
{
    const json_t *messages = json_is_object(chat) ? json_object_get(chat, "messages") : chat;
    const struct chat_template *template = NULL;
    bool has_tools =
        json_array_size(json_is_object(chat) ? json_object_get(chat, "tools") : NULL) > 0;
    TRY(engine_find_template(e, has_tools, &template));
    json_t *copies = json_array(), *variables = json_copy(e->special_tokens);
    struct err err = copy_messages(messages, copies);
    json_object_set_new(variables, "messages", copies);
    json_object_set_new(variables, "add_generation_prompt", json_true());
    if (!is_err(err) && json_is_object(chat))
        err = copy_variables(chat, variables);
    if (!is_err(err))
        err = render_and_encode(e, template, variables, out);
    json_decref(variables);
    return err;
}

struct err engine_text_tokens(const struct engine *e, struct bytes text, struct buf *out)
{
    return tokenizer_encode(e->tokenizer, out, text, false, true);
}

struct err engine_token_bytes(const struct engine *e, uint32_t id, struct buf *out)
{
    return tokenizer_token_bytes(e->tokenizer, id, out);
}
