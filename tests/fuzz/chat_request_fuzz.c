/* The body of a chat request: any bytes end in a request within its limits, or in an error. */
#include <stdlib.h>

#include "server/api_chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct engine_params defaults = {
        .temperature = 1, .top_p = 1, .repetition_penalty = 1};
    struct chat_request r;
    const char *param;
    if (is_err(chat_request_parse(&r, &param, bytes_of(data, len), &defaults)))
        return 0;
    const struct engine_params *p = &r.params;
    if (!json_is_array(r.messages) || r.n_choices < 1 || r.n_choices > CHAT_CHOICES_MAX ||
        p->n_stop > CHAT_STOPS_MAX || p->n_logprobs > 20 || !(p->temperature >= 0) ||
        !(p->top_p > 0 && p->top_p <= 1) || !(p->repetition_penalty > 0))
        abort();
    chat_request_cleanup(&r);
    return 0;
}
