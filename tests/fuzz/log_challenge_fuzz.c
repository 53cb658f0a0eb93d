/* A log service's answer to a host that asks for a challenge. */
#include <stdlib.h>
#include <string.h>

#include "publish/log_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_challenge c = {0};
    struct err e = log_challenge_parse(&c, bytes_of(data, size));
    bool empty = c.credential.len + c.secret.len == 0;
    if (is_err(e) ? !empty || c.session[0] != 0
                  : strlen(c.session) != 64 || (c.certified && !empty))
        abort();
    log_challenge_cleanup(&c);
    return 0;
}
