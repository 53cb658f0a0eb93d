/* Any bytes as a note: read without harm, and what is read is within the input. */
#include <stdlib.h>

#include "transparency/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct note note;
    static const uint8_t public_key[ED25519_PUBLIC_LEN] = {1};
    struct note_key key, cosigner;
    if (is_err(note_key_init(&key, "n", NOTE_ED25519, public_key)) ||
        is_err(note_key_init(&cosigner, "n", NOTE_COSIGNATURE, public_key)))
        abort();
    if (is_err(note_parse(&note, bytes_of(data, size))))
        return 0;
    if (note.text.data != data || note.text.len >= size || note.n_signatures == 0 ||
        note.n_signatures > NOTE_SIGNATURES_MAX)
        abort();
    for (size_t i = 0; i < note.n_signatures; i++)
        if (!note_name_valid(note.signatures[i].name) ||
            note.signatures[i].signature_len > sizeof note.signatures[i].signature)
            abort();
    uint64_t time_s;
    if (!is_err(note_verify(&note, &key)) ||
        !is_err(note_verify_cosignature(&note, &cosigner, &time_s)))
        abort(); /* nobody has that key's private half */
    return 0;
}
