/* Any text as a statement: what is accepted is written back as it was. */
#include <stdlib.h>

#include "attest/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct statement s;
    if (is_err(statement_parse(&s, bytes_of(data, len))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    statement_format(&again, &s);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, len)))
        abort();
    return 0;
}
