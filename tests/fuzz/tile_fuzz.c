/* Any bytes as a tile's path: what is read is written back the same, so a tile has one path. */
#include <stdlib.h>

#include "transparency/tiles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tile t;
    if (is_err(tile_parse(&t, bytes_of(data, size))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    tile_format(&again, &t);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, size)))
        abort();
    return 0;
}
