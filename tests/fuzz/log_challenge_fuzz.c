/* A log service's answer to a host that asks for a challenge. */
#include <stdlib.h>
#include <string.h>

#include "publish/log_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char session[65];
    BUF_AUTO credential = BUF_INIT;
    BUF_AUTO secret = BUF_INIT;
    struct err e = log_client_parse_challenge(session, &credential, &secret, bytes_of(data, size));
    if (is_err(e) ? credential.len + secret.len > 0 : strlen(session) != 64)
        abort();
    return 0;
}
