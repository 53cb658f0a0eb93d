/* Frames from the other side of the channel: decoding consumes what it says, and re-encodes equal.
 */
#include <stdlib.h>
#include <string.h>

#include "server/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (;;) {
        struct channel_frame f;
        size_t used;
        if (is_err(channel_decode(&f, &used, bytes_of(data, size))) || used == 0)
            return 0;
        BUF_AUTO again = BUF_INIT;
        channel_encode(&again, f.type, f.id, f.payload);
        if (used > size || !bytes_equal(buf_bytes(&again), bytes_of(data, used)))
            abort();
        if (f.type == CHANNEL_ERROR && !is_err(channel_error_decode(f.payload)))
            abort();
        struct publishing p;
        if (f.type == CHANNEL_PUBLISHING && !is_err(publishing_decode(&p, f.payload)) &&
            memchr(p.trouble, 0, sizeof p.trouble) == NULL)
            abort();
        data += used;
        size -= used;
    }
}
