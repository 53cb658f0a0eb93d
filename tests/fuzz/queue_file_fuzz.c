/* A queue's file that a start finds: what parses is formatted to the same bytes. */
#include <stdlib.h>

#include "server/queue_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct queue_file q;
    BUF_AUTO again = BUF_INIT;
    if (is_err(queue_file_parse(&q, bytes_of(data, size))))
        return 0;
    queue_file_format(&again, &q);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, size)))
        abort();
    return 0;
}
