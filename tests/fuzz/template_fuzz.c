/* Any bytes as a chat template over fixed variables: refused, or rendered within the bounds into
 * segments that cover the text. */
#include <stdlib.h>

#include "engine/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":"
    "\" hi <|x|> \\u00e9\\ud83d\\ude42 \",\"n\":[1,2.5,null,true]},{\"role\":\"assistant\","
    "\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":"
    "{\"b\":\"c\",\"a\":{}}}}]}],\"tools\":[{\"type\":\"function\"}],\"bos_token\":\"<s>\","
    "\"add_generation_prompt\":true,\"x\":7}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *v;
    struct chat_template *t = NULL;
    if (v == NULL)
        v = json_loads(variables, 0, NULL);
    if (is_err(chat_template_new(&t, bytes_of(data, size))))
        return 0;
    struct rendered r = {0};
    if (!is_err(chat_template_render(t, &r, v, 1763800245))) {
        size_t at = 0;
        for (size_t i = 0; i < r.n_segments; i++) {
            if (r.segments[i].offset != at || r.segments[i].len == 0)
                abort();
            at += r.segments[i].len;
        }
        if (at != r.text.len)
            abort();
    }
    rendered_cleanup(&r);
    chat_template_free(t);
    return 0;
}
