/* Payloads between attester and publisher, the first byte says which: what decodes encodes equal.
 */
#include <stdlib.h>

#include "server/publish_frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct err recode(struct buf *again, uint8_t which, struct bytes payload)
{
    static struct submit_request r;
    static struct proven p;
    struct wanted w;
    switch (which % 3) {
    case 0:
        TRY(wanted_decode(&w, payload));
        wanted_encode(again, &w);
        return err_ok();
    case 1:
        TRY(submit_request_decode(&r, payload));
        submit_request_encode(again, &r);
        return err_ok();
    default:
        TRY(proven_decode(&p, payload));
        proven_encode(again, &p);
        return err_ok();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BUF_AUTO again = BUF_INIT;
    if (size == 0 || is_err(recode(&again, data[0], bytes_of(data + 1, size - 1))))
        return 0;
    if (!bytes_equal(buf_bytes(&again), bytes_of(data + 1, size - 1)))
        abort();
    return 0;
}
