/* The first five bytes choose bank and selection, the rest is a file of PCR values: as many values
 * as are selected, or none. */
#include <stdlib.h>
#include <string.h>

#include "attest/pcr_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 5)
        return 0;
    const struct pcr_bank *bank = pcr_bank_of((uint16_t)(data[0] << 8 | data[1]));
    uint8_t select[PCR_SELECT_LEN];
    memcpy(select, data + 2, sizeof select);
    if (bank == NULL)
        bank = pcr_bank_of(TPM_ALG_SHA256_ID);
    BUF_AUTO values = BUF_INIT;
    struct err e = pcr_file_parse(&values, bytes_of(data + 5, len - 5), bank, select);
    if (values.len != (is_err(e) ? 0 : pcr_select_count(select) * bank->len))
        abort();
    return 0;
}
