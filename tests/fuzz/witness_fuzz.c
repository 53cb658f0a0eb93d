/* Any bytes as a request to a witness: what is read is written back as it was; nothing that a key
 * which nobody has would have to sign is taken. */
#include <stdlib.h>

#include "transparency/witness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public_key[ED25519_PUBLIC_LEN] = {1};
    struct witness_log log = {.origin = "n"};
    if (is_err(note_key_init(&log.key, "n", NOTE_ED25519, public_key)))
        abort();
    struct bytes body = bytes_of(data, size);
    struct witness_request q;
    if (!is_err(witness_request_parse(&q, body))) {
        BUF_AUTO again = BUF_INIT;
        witness_request_format(&again, &q);
        if (!bytes_equal(buf_bytes(&again), body))
            abort();
    }
    struct checkpoint c;
    const struct witness_log *found;
    if (witness_take(&q, &c, &found, &log, 1, body) == WITNESS_OK)
        abort();
    return 0;
}
