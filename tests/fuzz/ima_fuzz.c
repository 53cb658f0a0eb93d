/* Any bytes as an IMA list, in either form: read to its end or refused, by entry and by replay
 * alike. */
#include <stdlib.h>

#include "attest/ima.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Whether every entry was read. */
static bool read_all(struct bytes data, uint64_t *n)
{
    struct ima_list list;
    struct ima_entry e;
    if (is_err(ima_list_init(&list, data)))
        return false;
    bool good = true;
    while (good && !ima_list_at_end(&list))
        good = !is_err(ima_next(&list, &e));
    *n = list.n;
    ima_list_cleanup(&list);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t n = 0;
    struct ima_result result;
    bool good = read_all(bytes_of(data, len), &n);
    struct err e = ima_replay(&result, bytes_of(data, len), pcr_bank_of(TPM_ALG_SHA256_ID), NULL);
    if (good == is_err(e) || (good && result.n_entries != n))
        abort();
    return 0;
}
