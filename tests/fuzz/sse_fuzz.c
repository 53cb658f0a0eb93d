/* Any bytes as a stream, cut after each 0xff: what comes out of terminal_clean is harmless. */
#include <stdlib.h>
#include <string.h>

#include "client/sse.h"
#include "client/terminal.h"
#include "common/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct err check_event(void *context, struct bytes data)
{
    (void)context;
    BUF_AUTO out = BUF_INIT;
    terminal_clean(&out, data);
    if (!utf8_valid(buf_bytes(&out)))
        abort();
    for (size_t i = 0; i < out.len; i++)
        if ((out.data[i] < 0x20 && out.data[i] != '\t') || out.data[i] == 0x7f)
            abort(); /* a line holds no newline */
    return err_ok();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sse s = SSE_INIT(check_event, NULL);
    while (len > 0) {
        const uint8_t *cut = memchr(data, 0xff, len);
        size_t n = cut != NULL ? (size_t)(cut - data) + 1 : len;
        if (is_err(sse_take(&s, bytes_of(data, n))))
            break;
        data += n;
        len -= n;
    }
    sse_cleanup(&s);
    return 0;
}
