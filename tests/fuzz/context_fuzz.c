/* Any text as a quote context: what is accepted is written back as it was. */
#include <stdlib.h>

#include "attest/context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct quote_context c;
    if (is_err(context_parse(&c, bytes_of(data, len))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    context_format(&again, &c);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, len)))
        abort();
    return 0;
}
