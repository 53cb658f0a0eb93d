/* Any bytes as a checkpoint: what is read and has no extension is written back the same. */
#include <stdlib.h>
#include <string.h>

#include "transparency/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint c;
    if (is_err(checkpoint_parse(&c, bytes_of(data, size))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    checkpoint_format(&again, &c);
    if (again.len > size || memcmp(again.data, data, again.len) != 0)
        abort();
    return 0;
}
