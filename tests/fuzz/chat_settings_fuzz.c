/* Any bytes as tokenizer_config.json: refused, or at most two templates and some texts. */
#include <stdlib.h>

#include "engine/engine_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return 0;
    e->special_tokens = json_object();
    struct err err = engine_parse_chat_settings(e, bytes_of(data, len), len % 2 == 1);
    if (!is_err(err) && len % 2 == 1 && (e->template != NULL || e->tool_template != NULL))
        abort();
    const char *key;
    json_t *value;
    json_object_foreach(e->special_tokens, key, value) if (!json_is_string(value)) abort();
    chat_template_free(e->template);
    chat_template_free(e->tool_template);
    json_decref(e->special_tokens);
    free(e);
    return 0;
}
