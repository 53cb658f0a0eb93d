#include "client/api.h"

#include "client/terminal.h"

void json_free(json_t **value)
{
    json_decref(*value);
}

struct err api_parse(json_t **out, struct bytes text)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL || !json_is_object(root)) {
        json_decref(root);
        return err_set(ERR_MALFORMED, "the host's answer is not a JSON object");
    }
    *out = root;
    return err_ok();
}

const char *api_error_message(struct buf *out, const json_t *root)
{
    const json_t *message = json_object_get(json_object_get(root, "error"), "message");
    if (!json_is_string(message))
        return NULL;
    terminal_clean(out, bytes_of(json_string_value(message), json_string_length(message)));
    return buf_str(out);
}

static enum err_code code_of(int status)
{
    if (status == 400)
        return ERR_UNTRUE;
    return status == 429 || status == 503 ? ERR_BUSY : ERR_IO;
}

struct err api_status(const struct answer *a, const char *what)
{
    if (a->status == 200)
        return err_ok();
    if (a->status >= 300 && a->status < 400)
        return err_set(ERR_IO,
                       "%s: the host answers with a redirect (%d), which is not followed: "
                       "give the URL of the host itself",
                       what, a->status);
    JSON_AUTO *root = NULL;
    BUF_AUTO text = BUF_INIT;
    const char *message = NULL;
    if (a->body.len > 0 && !is_err(api_parse(&root, buf_bytes(&a->body))))
        message = api_error_message(&text, root);
    return err_set(code_of(a->status), "%s: the host answers %d%s%.500s", what, a->status,
                   message != NULL ? ": " : "", message != NULL ? message : "");
}
