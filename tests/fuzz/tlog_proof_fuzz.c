/* Any bytes as a tlog-proof: what is read is written back as it can be read again; nothing is
 * verified under a key that nobody has. */
#include <stdlib.h>
#include <string.h>

#include "transparency/tlog_proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public_key[ED25519_PUBLIC_LEN] = {1};
    static struct tlog_proof p, again;
    struct note_key key;
    if (is_err(note_key_init(&key, "n", NOTE_ED25519, public_key)))
        abort();
    if (is_err(tlog_proof_parse(&p, bytes_of(data, size))))
        return 0;
    BUF_AUTO text = BUF_INIT;
    tlog_proof_format(&text, &p);
    if (is_err(tlog_proof_parse(&again, buf_bytes(&text))) || again.index != p.index ||
        again.proof.n_hashes != p.proof.n_hashes || !bytes_equal(again.checkpoint, p.checkpoint))
        abort();
    struct checkpoint c;
    if (!is_err(tlog_proof_verify(&c, &p, bytes_of_str("entry"), "n", &key)))
        abort();
    return 0;
}
