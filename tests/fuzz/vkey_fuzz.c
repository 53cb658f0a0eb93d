/* Any bytes as a verifier key or a private key: what is read is written back the same. */
#include <stdlib.h>

#include "transparency/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct note_key key;
    struct note_signer signer;
    struct bytes text = bytes_of(data, size);
    if (!is_err(note_vkey_parse(&key, text))) {
        BUF_AUTO again = BUF_INIT;
        note_vkey_format(&again, &key);
        if (!bytes_equal(buf_bytes(&again), text))
            abort();
    }
    if (!is_err(note_skey_parse(&signer, text))) {
        BUF_AUTO again = BUF_INIT;
        note_skey_format(&again, &signer);
        if (!bytes_equal(buf_bytes(&again), text))
            abort();
    }
    return 0;
}
