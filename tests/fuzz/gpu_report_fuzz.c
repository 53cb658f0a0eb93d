/* Any bytes as a GPU's report: what is read lies within them, and its parts fill them. */
#include <stdlib.h>
#include <string.h>

#include "attest/gpu_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct gpu_report r;
    if (is_err(gpu_report_parse(&r, bytes_of(data, len))))
        return 0;
    if (r.signed_bytes.data != data || r.signed_bytes.len + r.signature.len != len ||
        r.signature.len != GPU_REPORT_SIGNATURE_LEN || r.nonce.data != data + 4 ||
        strlen(r.driver) == 0 || strlen(r.vbios) != 14)
        abort();
    return 0;
}
