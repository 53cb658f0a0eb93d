/* Any text as an activation statement: what is accepted is written back as it was. */
#include <stdlib.h>

#include "attest/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct activation a;
    if (is_err(activation_parse(&a, bytes_of(data, len))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    activation_format(&again, &a);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, len)))
        abort();
    return 0;
}
