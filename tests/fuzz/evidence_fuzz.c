/* Any bytes as evidence: what is taken survives the way out and back. */
#include <stdlib.h>

#include "attest/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct evidence e, back;
    if (is_err(evidence_parse(&e, bytes_of(data, size))))
        return 0;
    BUF_AUTO json = BUF_INIT, again = BUF_INIT;
    evidence_format(&json, &e);
    if (is_err(evidence_parse(&back, buf_bytes(&json))))
        abort();
    evidence_format(&again, &back);
    if (!bytes_equal(buf_bytes(&json), buf_bytes(&again)))
        abort();
    evidence_cleanup(&e);
    evidence_cleanup(&back);
    return 0;
}
