#include "engine/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "engine/jinja_eval.h"
#include "engine/jinja_lex.h"

enum { TREE_MEMORY_MAX = 64 << 20 };

struct chat_template {
    struct buf source;
    struct jinja_arena arena;
    struct jinja_node *tree;
};

struct err chat_template_new(struct chat_template **out, struct bytes source)
{
    if (source.len > JINJA_SOURCE_MAX)
        return err_set(ERR_LIMIT, "a chat template of %zu bytes where at most %d are allowed",
                       source.len, JINJA_SOURCE_MAX);
    if (!utf8_valid(source))
        return err_set(ERR_MALFORMED, "the chat template is not UTF-8");
    struct chat_template *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(ERR_MEMORY, "no memory for a chat template");
    t->arena.max = TREE_MEMORY_MAX;
    jinja_normalize_newlines(&t->source, source);
    struct err parsed = jinja_parse(&t->arena, &t->tree, buf_bytes(&t->source));
    if (is_err(parsed)) {
        chat_template_free(t);
        return parsed;
    }
    *out = t;
    return err_ok();
}

void chat_template_free(struct chat_template *t)
{
    if (t == NULL)
        return;
    jinja_arena_cleanup(&t->arena);
    buf_cleanup(&t->source);
    free(t);
}

void rendered_cleanup(struct rendered *r)
{
    buf_cleanup_secret(&r->text);
    free(r->segments);
    *r = (struct rendered){0};
}

static bool is_users(const char *key)
{
    return strcmp(key, "messages") == 0 || strcmp(key, "tools") == 0 ||
           strcmp(key, "documents") == 0;
}

/* A role that every template knows is the server's word; any other is the user's. */
static struct err trust_known_roles(struct jinja *j, struct jinja_value *messages)
{
    static const char *const known[] = {"system", "user", "assistant", "tool", "developer"};
    for (size_t i = 0; messages->kind == JINJA_LIST && i < messages->as.list->n; i++) {
        struct jinja_value *message = &messages->as.list->items[i];
        for (size_t k = 0; message->kind == JINJA_DICT && k < message->as.dict->n; k++) {
            struct jinja_entry *e = &message->as.dict->entries[k];
            if (!jinja_string_is(&e->key, "role") || e->value.kind != JINJA_STRING)
                continue;
            for (size_t r = 0; r < sizeof known / sizeof known[0]; r++)
                if (jinja_string_is(&e->value, known[r]))
                    TRY(jinja_string_of(&j->arena, &e->value, bytes_of_str(known[r]), true));
        }
    }
    return err_ok();
}

static struct err bind_variables(struct jinja *j, const json_t *variables)
{
    json_t *object = (json_t *)(uintptr_t)variables;
    const char *key = NULL;
    json_t *json = NULL;
    json_object_foreach(object, key, json)
    {
        struct jinja_value value;
        TRY(jinja_from_json(&j->arena, &value, json, !is_users(key)));
        if (strcmp(key, "messages") == 0)
            TRY(trust_known_roles(j, &value));
        TRY(jinja_bind(j, bytes_of_str(key), value));
    }
    return err_ok();
}

static struct err run(struct jinja *j, const struct chat_template *t, const json_t *variables)
{
    if (!json_is_object(variables))
        return err_set(ERR_USAGE, "the template's variables are not an object");
    TRY(jinja_frame_push(j)); /* the caller's variables */
    TRY(bind_variables(j, variables));
    TRY(jinja_frame_push(j)); /* what the template sets */
    struct err result = jinja_exec(j, t->tree);
    if (is_err(result) && !j->raised)
        return err_context(result, "chat template, line %u", j->line);
    return result;
}

/* The runs become segments. */
static struct err hand_over(struct jinja_text *text, struct rendered *out)
{
    size_t n = text->runs.len / sizeof(struct jinja_run), at = 0;
    const struct jinja_run *runs = (const struct jinja_run *)(const void *)text->runs.data;
    struct template_segment *segments = calloc(n + 1, sizeof *segments);
    if (segments == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu segments", n);
    for (size_t i = 0; i < n; i++) {
        segments[i] = (struct template_segment){at, runs[i].len, runs[i].trusted};
        at += runs[i].len;
    }
    *out = (struct rendered){text->bytes, segments, n};
    text->bytes = BUF_INIT;
    return err_ok();
}

static void jinja_cleanup(struct jinja *j)
{
    jinja_arena_cleanup(&j->arena);
}

struct err chat_template_render(const struct chat_template *t, struct rendered *out,
                                const json_t *variables, int64_t now)
{
    JINJA_TEXT text = {0};
    struct jinja j __attribute__((cleanup(jinja_cleanup))) = {
        .arena = {.max = JINJA_MEMORY_MAX}, .out = &text, .now = now};
    TRY(run(&j, t, variables));
    return hand_over(&text, out);
}
