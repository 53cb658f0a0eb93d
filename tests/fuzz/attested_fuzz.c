/* Any bytes as a TPMS_ATTEST: what is accepted borrows from the input only. */
#include <stdlib.h>

#include "attest/attested.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_inside(struct bytes field, const uint8_t *data, size_t len)
{
    if (field.len > 0 && (field.data < data || field.data + field.len > data + len))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct attested a;
    if (is_err(attested_parse(&a, bytes_of(data, len))))
        return 0;
    check_inside(a.signer, data, len);
    check_inside(a.extra_data, data, len);
    check_inside(a.pcr_digest, data, len);
    check_inside(a.nv_name, data, len);
    check_inside(a.nv_contents, data, len);
    struct tpm_public ak = {.scheme_hash = TPM_ALG_SHA256_ID};
    static const struct pcr_values zeros;
    struct err e = attested_check_quote(&a, &ak, &zeros, zeros.values[0]);
    (void)e;
    return 0;
}
